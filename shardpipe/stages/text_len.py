"""Text length: how many words a caption has, or tokens of a text model's tokenizer."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from shardpipe.core.columns import Columns, int64
from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.core.weights import Weights, WeightsUrl
from shardpipe.models.imports import import_model_library
from shardpipe.models.weights import resolve

WORDS = "words"
UNSPACED = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\U00020000", "\U0003ffff"))  # fmt: skip
"""Thai and Lao, Burmese, Khmer, kana and Chinese characters: scripts that put no spaces between words."""


class TextLen(Stage):
    """Counts the words of a caption, or its tokens as a text model takes them: what it cuts off, and what it has too little of.

    `text_len` int64: 0 for an empty caption, null for a clip without one.

    `tokenizer: words` counts what stands between spaces and has a letter or digit; in scripts without spaces (Chinese, Japanese,
    Thai, Lao, Khmer, Burmese), each letter. Any other value says where a `tokenizer.json` lies, of the tokenizers library, as
    model repositories have it: a path, hf://org/repo/tokenizer.json, or a URL. Its tokens are counted as the model gets them, those
    that it adds at the ends included, and nothing is cut. It needs shardpipe[models].

    Open-Sora's `text_len` is in tokens of T5 (DeepFloyd/t5-v1_1-xxl), a tokenizer of another file format there; give the
    `tokenizer.json` of a T5 that has the same vocabulary.

    Cost: 0.06 CPU-milliseconds a caption of 100 words in words; tokens take as long as their tokenizer, mostly under 1.

    Example rules: `text_len BETWEEN 5 AND 300`, `text_len <= 77`.
    """

    version: ClassVar[int] = 1

    type: Literal["text_len"] = "text_len"
    column: str = Field(default="text", description="column that holds the caption")
    tokenizer: WeightsUrl = Field(default=WORDS, description="`words`, or path or url of a tokenizer.json")

    _tokenizer: Any = PrivateAttr(default=None)

    @property
    def reads(self) -> Sequence[str]:
        """The caption."""
        return (self.column,)

    @property
    def loads(self) -> Sequence[Weights]:
        """The tokenizer's file, where it has one."""
        return () if self.tokenizer == WORDS else (Weights("tokenizer", self.tokenizer),)

    @property
    def uses_device(self) -> bool:
        """It only reads a table."""
        return False

    @property
    def writes(self) -> Columns:
        """The number of words or tokens."""
        return {"text_len": int64}

    def setup(self, device: str) -> None:  # noqa: ARG002  all on the CPU
        """Reads the tokenizer, where it has a file."""
        for weights in self.loads:
            path = resolve(weights)
            tokenizers = import_model_library("tokenizers")
            try:
                self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
            except Exception as error:  # it raises no narrower one
                raise ConfigError(
                    f"{self.tokenizer} is no tokenizer that can be read ({error}): give the tokenizer.json of a model"
                ) from error
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        if self.loads and self._tokenizer is None:
            raise StageError("text_len: process was called before setup")
        return [self._result(view.row[self.column]) for view in batch]

    def _result(self, text: Any) -> Result:  # noqa: ANN401  whatever the column holds
        if text is None:
            return {"text_len": None}
        if not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and text_len reads text")
        if self._tokenizer is None or not text.strip():
            return {"text_len": num_words(text)}
        return {"text_len": len(self._tokenizer.encode(text).ids)}


def num_words(text: str) -> int:
    """How many words a text has; each letter is one in scripts that put no spaces between them."""
    return sum(map(_num_words_of, text.split()))


def _num_words_of(word: str) -> int:
    """Of what stands between spaces: its letters of such scripts, and each run of other ones."""
    if word.isascii():
        return int(any(mark.isalnum() for mark in word))
    count, in_word = 0, False
    for mark in word:
        if not mark.isalnum():
            continue
        is_unspaced = any(first <= mark <= last for first, last in UNSPACED)
        count += is_unspaced or not in_word
        in_word = not is_unspaced
    return count

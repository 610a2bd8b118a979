"""Lang: the language in which a caption is written."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from shardpipe.core.columns import ColumnName, Columns, float32, string
from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.stage import ClipError, ClipView, Result, Stage

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGES = (
    "af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr ht hu hy id ig is it ja"
    " jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn"
    " so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu"
)
"""Codes of what py3langid 0.4 tells apart and ISO 639-1 has a code for."""
NO_LANGUAGE = "zxx"
"""py3langid's code for what is none: names of files, noise."""
LEAST_SCORE = 0.15
"""A likeliest language that is less likely is no answer: about what two words of plain letters give."""


class Lang(Stage):
    """Tells the language of a caption, by the model of py3langid 0.4, which comes with that package.

    `<into>`       string, by default `lang`: the ISO 639-1 code of the likeliest language, `en`, `zh`. Null for a clip without a text,
                   for a text without letters, and where no language is at all likely: mostly too little text (`A dog.`), or no words.
    `<into>_score` float32, 0.15 to 1: how likely that language is among all; a sentence or more gives over 0.8. Null where `<into>` is.

    `languages` restricts the answer to some, which helps with short texts and with neighbours (`hr` and `sr`, `id` and `ms`); then a
    text in another language gets one of them. By default it is one of 114. A text in several languages gets that of most of it.

    Cost: 0.1 CPU-milliseconds a caption of 130 words, 0.6 seconds to start.

    Example rules: `lang = 'en'`, `lang IN ('en', 'zh') AND lang_score >= 0.5`, `lang = 'en' OR lang IS NULL`.
    """

    version: ClassVar[int] = 1

    type: Literal["lang"] = "lang"
    column: str = Field(default="text", description="column that holds the text")
    into: ColumnName = Field(default="lang", description="column for the language")
    languages: list[str] | None = Field(default=None, description="codes of the languages to choose from; null: all")

    _identifier: "LanguageIdentifier | None" = PrivateAttr(default=None)

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: list[str] | None) -> list[str] | None:
        if languages is not None:
            if len(set(languages)) < 2:  # noqa: PLR2004  one is no choice
                raise ValueError("give at least two languages to choose from, or null for all")
            if unknown := sorted(set(languages) - set(LANGUAGES.split())):
                raise ValueError(f"{', '.join(unknown)}: no language that it knows; it knows {LANGUAGES}")
        return languages

    @model_validator(mode="after")
    def _fits(self) -> "Lang":
        if self.column in self.writes:
            raise ValueError(f"into: its column {self.column} would be written again, and a column is written once")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """Whatever the order of the languages."""
        return super().identity | {"languages": self.languages and sorted(set(self.languages))}

    @property
    def reads(self) -> Sequence[str]:
        """The text."""
        return (self.column,)

    @property
    def writes(self) -> Columns:
        """The language and how likely it is."""
        return {self.into: string, f"{self.into}_score": float32}

    @property
    def uses_device(self) -> bool:
        """It only loads a table."""
        return False

    def setup(self, device: str) -> None:  # noqa: ARG002  on the CPU in any case
        """Loads py3langid's model: 5 MB, unpacked 70."""
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415  needed in workers alone

        made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        try:
            made.set_languages([*(self.languages or LANGUAGES.split()), NO_LANGUAGE])
        except ValueError as error:
            raise ConfigError(
                f"lang: the py3langid that is installed has other languages ({error}); use 0.4"
            ) from error
        self._identifier = made

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._result(view.row[self.column]) for view in batch]

    def _result(self, text: Any) -> Result:  # noqa: ANN401  whatever the column holds
        if self._identifier is None:
            raise StageError("lang: process was called before setup")
        if text is not None and not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and lang reads text")
        if text is None or not any(mark.isalpha() for mark in text):
            return dict.fromkeys(self.writes)
        language, score = self._identifier.classify(text)
        if language == NO_LANGUAGE or score < LEAST_SCORE:
            return dict.fromkeys(self.writes)
        return {self.into: language, f"{self.into}_score": min(score, 1.0)}

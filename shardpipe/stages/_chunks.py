"""A long text in chunks that a text model takes whole: at the borders of sentences, else of words, else anywhere."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SENTENCE = re.compile(r"""(?<=[.!?\u2026])\s+|(?<=[.!?\u2026]["')\]\u201d\u2019])\s+|(?<=[\u3002\uff01\uff1f])|\n+""")
"""Where a sentence ends: white space after a full stop (or the quote that closes after it), a full stop of Chinese or Japanese."""

LONG_WORD = re.compile(r"\S{200}")
"""Longer words are no words; tokenizers take time with the square of their length."""

NumTokens = Callable[[str], int]


@dataclass(frozen=True)
class Chunk:
    """A piece of a text, and how many tokens it takes, those at its ends included."""

    text: str
    num_tokens: int


def chunked(text: str, limit: int, num_tokens: NumTokens) -> list[Chunk]:
    """All of `text` in chunks of at most `limit` tokens, as few as whole sentences in their order give; none for white space.

    A sentence that is longer alone is split between words, a longer word between characters.
    """
    chunks: list[str] = []
    for piece in _pieces(text, limit, num_tokens):
        joined = f"{chunks[-1]} {piece}" if chunks else piece
        if chunks and num_tokens(joined) <= limit:
            chunks[-1] = joined
        else:
            chunks.append(piece)
    return [Chunk(chunk, num_tokens(chunk)) for chunk in chunks]


def _pieces(text: str, limit: int, num_tokens: NumTokens) -> Iterator[str]:
    """Sentences, or parts of one that is longer than `limit`."""
    for sentence in SENTENCE.split(text):
        plain = " ".join(LONG_WORD.sub(r"\g<0> ", sentence).split())
        if not plain:
            continue
        if num_tokens(plain) <= limit:
            yield plain
        else:
            yield from _filled(plain.split(" "), " ", limit, num_tokens)


def _filled(parts: list[str], between: str, limit: int, num_tokens: NumTokens) -> Iterator[str]:
    """`parts` joined to pieces as long as `limit` allows; a part that is longer alone by its characters."""
    held = ""
    for part in parts:
        joined = f"{held}{between}{part}" if held else part
        if num_tokens(joined) <= limit:
            held = joined
            continue
        if held:
            yield held
        held = ""
        if num_tokens(part) <= limit or len(part) == 1:  # one character that does not fit is for the tokenizer to cut
            held = part
        else:
            *whole, held = _filled(list(part), "", limit, num_tokens)
            yield from whole
    if held:
        yield held

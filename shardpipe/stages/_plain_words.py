"""A text as words that can be compared: of one case and form, without marks, and each letter a word where a script has no spaces."""

import unicodedata
from collections.abc import Iterator

from shardpipe.stages.text_len import UNSPACED


def folded(text: str) -> str:
    """Small letters, each of one form (NFKC), so that texts which differ only in these are equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def plain_words(text: str) -> list[str]:
    """The words of a text, folded: its letters and numbers, with the marks on them; what is between them does not count."""
    return "".join(_apart(folded(text))).split()


def is_unspaced(letter: str) -> bool:
    """Whether it is of a script that puts no spaces between words."""
    return any(first <= letter <= last for first, last in UNSPACED)


def _apart(text: str) -> Iterator[str]:
    """Its characters, a space for each that is in no word, and around each word of one letter."""
    was_alone = False
    for each in text:
        kind = unicodedata.category(each)[0]
        if kind == "M":  # stands on the letter before it
            yield each
        elif kind in "LN":
            is_alone = is_unspaced(each)
            yield f" {each}" if is_alone or was_alone else each
            was_alone = is_alone
        else:
            yield " "
            was_alone = False

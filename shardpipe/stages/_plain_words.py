"""A text as words that can be compared: of one case and form, without marks, and each letter a word where a script has no spaces."""

import re
import unicodedata
from collections.abc import Iterator

from shardpipe.stages.text_len import UNSPACED

MOST_MARKS = 30
"""On one letter, as in Unicode's stream-safe text: the time to put more of them in order grows with the square of their number."""
HEAP = re.compile(rf"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f]){{{MOST_MARKS + 1},}}")
"""Where such marks may stand: they are no letters. Two of half width are, and become marks."""


def folded(text: str) -> str:
    """Small letters, each of one form (NFKC), so that texts which differ only in these are equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", with_few_marks(text)).casefold())


def with_few_marks(text: str) -> str:
    """The text with no more than 30 accents and the like on one letter."""
    return HEAP.sub(lambda found: "".join(_few(found[0])), text)


def _few(heap: str) -> Iterator[str]:
    num_marks = 0
    for mark in heap:
        num_marks = num_marks + 1 if unicodedata.combining(unicodedata.normalize("NFKC", mark)[0]) else 0
        if num_marks <= MOST_MARKS:
            yield mark


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

"""Two texts word by word: what each has that the other has not."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from shardpipe.stages.text_len import UNSPACED

ALONE = "".join(f"{first}-{last}" for first, last in UNSPACED)
WORD = re.compile(rf"\s*(?:[{ALONE}]|[^\W{ALONE}]+|[^\w\s])|\s+\Z")
"""A word with the white space before it; a sign, and a letter of scripts without spaces, stands alone."""

MAX_PAIRS = 1_000_000
"""Of words that are compared. What is longer counts as changed between its equal ends: the time taken grows faster than pairs."""

Marked = list[tuple[str, bool]]
"""A text in parts, and of each whether the other text lacks it."""


def marked(a: str, b: str) -> tuple[Marked, Marked]:
    """Both texts whole, each with what the other lacks marked. White space alone is no difference."""
    words = (WORD.findall(a), WORD.findall(b))
    bare = ([word.strip() for word in words[0]], [word.strip() for word in words[1]])
    start = _num_equal(*bare)
    end = _num_equal(bare[0][start:][::-1], bare[1][start:][::-1])
    lengths = [len(side) - start - end for side in bare]
    is_changed = [[False] * len(side) for side in bare]
    blocks: Sequence[tuple[str, int, int, int, int]]
    if lengths[0] * lengths[1] > MAX_PAIRS:
        blocks = [("replace", 0, lengths[0], 0, lengths[1])]
    else:
        a_middle, b_middle = (side[start : start + length] for side, length in zip(bare, lengths, strict=True))
        blocks = SequenceMatcher(None, a_middle, b_middle, autojunk=False).get_opcodes()
    for kind, a_from, a_to, b_from, b_to in blocks:
        if kind != "equal":
            is_changed[0][start + a_from : start + a_to] = [True] * (a_to - a_from)
            is_changed[1][start + b_from : start + b_to] = [True] * (b_to - b_from)
    return _joined(words[0], is_changed[0]), _joined(words[1], is_changed[1])


def _num_equal(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(a), len(b)))


def _joined(words: Sequence[str], is_changed: Sequence[bool]) -> Marked:
    parts: Marked = []
    for word, changed in zip(words, is_changed, strict=True):
        if parts and parts[-1][1] == changed:
            parts[-1] = (parts[-1][0] + word, changed)
        else:
            parts.append((word, changed))
    return parts

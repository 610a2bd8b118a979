"""A stage that looks through the whole Dataset before its first clip: one result may depend on other clips, as duplicates do.

    worker's set-up   unit 0 ─▶ unit 1 ─▶ unit 2 ─▶ ...   a few columns of all clips ─▶ look_through
    its units         000017: clips with their `place`                               ─▶ process

The order of clips is that of the Dataset: of its unit list, then of rows. New units come at the end of it. So that they never change
the result of an old clip, a result may depend on the clip itself and on those before it, and on none after it.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shardpipe.core.stage import Stage

Part = Mapping[str, Sequence[Any]]
"""Columns of some clips, one after the other: by name, a value a clip; None where it has none."""

KeyOf = Callable[[int], str]
"""The key of the clip at a place."""


class DatasetStage(Stage):
    """A stage that looks through columns of all clips first. Subclasses give `look_through`, beside what every stage has.

    It `reads` columns of the pass's input. The clips that it sees are those that reach it: kept by the input and by the rules that
    bind on the input's columns. It stands before the other stages of its pass, since nobody knows yet which clips those will drop.
    """

    @abstractmethod
    def look_through(self, parts: Iterable[Part], key_of: KeyOf) -> None:
        """Take from all clips what `process` needs, once a worker, after `setup`; the n-th clip is that of place n, from 0.

        parts: the columns that it `reads`, a unit at a time. key_of: good from the end of `parts` on, and in `process`. Keep little:
        numbers in arrays, no text a clip.
        """

"""Merge: several captions of a clip as one."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from shardpipe.core.columns import ColumnName, Columns, list_of, string
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.stages._plain_words import plain_words


class Merge(Stage):
    """Makes one caption of several: the first that is there, all of them, or one by lot.

    `<into>`      string, by default `text`: the caption. Null where all are null or empty.
    `<into>_from` list of strings: the columns that it was made of, in the order of `columns`; empty where it is null.

    how `first`: the first of `columns` that is there. Null and empty ones are not.
    how `join`: all that are there, in the order of `columns`, with `separator` between. One that says nothing new is left out: whose
    words (case and marks do not count) stand in another, or in an equal one before it.
    how `mix`: one of those that are there, by lot, as often as their `weights` say (one a column; by default all the same). The clip's
    key and the `seed` decide: the same in each run, whatever other clips there are; a caption that is not chosen may go without a
    change to the choice. Two merges of a pass by one seed choose alike.

    The columns must exist, and stay: a caption that another stage wrote as `text` needs another name (`rename`), or `into` does.
    The `description` of stage `describe` may be one of them.

    Cost: `join` 0.6 CPU-milliseconds for two captions of 100 words, else next to none.

    Example rules: `text IS NOT NULL`, `NOT list_contains(text_from, 'description')`.
    """

    version: ClassVar[int] = 1

    type: Literal["merge"] = "merge"
    columns: list[str] = Field(min_length=2, description="columns that hold captions, the best first")
    how: Literal["first", "join", "mix"] = "first"
    into: ColumnName = Field(default="text", description="column for the caption")
    separator: str = Field(default=" ", description="of `join`: what stands between two captions")
    weights: list[float] | None = Field(
        default=None, description="of `mix`: how often each column is chosen; null: alike"
    )
    seed: int = Field(default=42, description="of `mix`")

    @model_validator(mode="after")
    def _fits(self) -> "Merge":
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: one of them is named twice")
        if taken := sorted(set(self.columns) & set(self.writes)):
            raise ValueError(
                f"into: {taken[0]} is one of its columns, and a column is written once; name another, or rename that one"
            )
        fields = type(self).model_fields
        of = {"separator": "join", "weights": "mix", "seed": "mix"}
        if idle := [
            name for name, how in of.items() if how != self.how and getattr(self, name) != fields[name].default
        ]:
            raise ValueError(f"how {self.how} takes no {', '.join(idle)}: leave it out, or use how: {of[idle[0]]}")
        if self.weights is not None and (len(self.weights) != len(self.columns) or min(self.weights) <= 0):
            raise ValueError("weights: give a number above 0 for each of columns")
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The captions."""
        return self.columns

    @property
    def writes(self) -> Columns:
        """The caption and what it was made of."""
        return {self.into: string, f"{self.into}_from": list_of(string)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._result(view) for view in batch]

    def _result(self, view: ClipView) -> Result:
        for name in self.columns:
            if not isinstance(view.row[name], str | None):
                return ClipError(f"its column {name} holds {view.row[name]!r:.40}, and merge reads text")
        there = {name: text.strip() for name in self.columns if (text := view.row[name]) and text.strip()}
        match self.how:
            case "first":
                chosen = list(there)[:1]
            case "join":
                chosen = with_something_new(there)
            case "mix":
                chosen = [min(there, key=lambda name: self._lot(name, view.key))] if there else []
        joined = self.separator.join(there[name] for name in chosen)
        return {self.into: joined or None, f"{self.into}_from": chosen}

    def _lot(self, column: str, key: str) -> float:
        """A time until the column's turn comes, at a rate of its weight: of those there, each is first as often as its weight says."""
        digest = hashlib.sha256(f"{self.seed}:{column}:{key}".encode()).digest()
        drawn = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
        weight = 1.0 if self.weights is None else self.weights[self.columns.index(column)]
        return -math.log(drawn) / weight


def with_something_new(texts: Mapping[str, str]) -> list[str]:
    """The names of the texts whose words do not all stand, as they are, in another one; of equal ones the first."""
    words = {name: f" {' '.join(plain_words(text))} " for name, text in texts.items()}
    new: list[str] = []
    for name, own in words.items():
        others = [each for other, each in words.items() if other != name and (each != own or other in new)]
        if not any(own in each or not own.strip() for each in others):
            new.append(name)
    return new

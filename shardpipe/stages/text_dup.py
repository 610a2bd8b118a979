"""Text duplicates: of clips whose captions say the same, which one is the first of the Dataset."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from shardpipe.core.columns import ColumnName, Columns, int64, string
from shardpipe.core.datasetstage import DatasetStage, KeyOf, Part
from shardpipe.core.errors import StageError
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.stages._copies import NOTHING, Copies
from shardpipe.stages.text_hash import text_digest


class TextDup(DatasetStage):
    """Finds clips whose captions say the same, over the whole Dataset.

    `<into>` string, by default `text_dup`: the key of the first clip that has the same text; null for that first one itself.
    `<into>_count` int64, 0 and up: how many clips before it have the same text.
    Both are null for a clip without a text, and for a text of which nothing is left.

    By default case, punctuation, symbols, spaces, and characters' width and form do not count, as in `text_hash`: two texts are the same
    here where their `text_hash` is. First is what comes first in the Dataset, so new sources never change what old clips have.

    Only clips that reach the stage count: those that the input keeps, and that pass the rules on the input's columns. So it belongs
    into a pass after all that drops clips, such as the one that emits: `keep: [match >= 20, text_dup IS NULL]` keeps one clip of each
    text among those that match. A rule on what the same pass scores comes later, and may drop the one clip that was left of a text.

    No unit is done before all units of the input before it are. When rows of the input are made again (`retry`), all units from there
    on are done again, so it should share its pass with nothing dear.

    Cost: each worker reads all rows of the input in its set-up, and takes 0.08 CPU-milliseconds a caption of 100 words: for 10 million
    clips some 13 minutes, and 0.6 GB. Where `text_hash` ran in a pass before, `column: text_hash` gives the same columns for a fifth
    of that time.

    Example rules: `text_dup IS NULL`, one clip of each text, and those without one; `text_dup_count < 3`, three of each text at most,
    and none without.
    """

    version: ClassVar[int] = 1

    type: Literal["text_dup"] = "text_dup"
    column: str = Field(default="text", description="column that holds the text")
    into: ColumnName = Field(
        default="text_dup", description="column for the first clip's key, and the begin of the other's name"
    )
    ignore_case: bool = Field(default=True, description="small and capital letters are the same")
    ignore_marks: bool = Field(default=True, description="leave out punctuation, symbols and spaces")

    _copies: Copies | None = PrivateAttr(default=None)
    _key_of: KeyOf | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fits(self) -> "TextDup":
        if self.column in self.writes:
            raise ValueError(f"column and into are both {self.into}: a column is written once, and the text stays")
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The text."""
        return (self.column,)

    @property
    def writes(self) -> Columns:
        """The first clip of the same text, and how many came before."""
        return {self.into: string, f"{self.into}_count": int64}

    def look_through(self, parts: Iterable[Part], key_of: KeyOf) -> None:
        """Numbers alone are held, no text and no key."""
        digests = [self._digests(part[self.column]) for part in parts]
        self._copies = Copies(np.concatenate([np.empty(0, np.uint64), *digests]))
        self._key_of = key_of

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """What was found for each."""
        return [self._result(view) for view in batch]

    def _digests(self, texts: Sequence[Any]) -> NDArray[np.uint64]:
        return np.fromiter((self._digest(text) for text in texts), np.uint64, len(texts))

    def _digest(self, text: Any) -> int:  # noqa: ANN401  whatever the column holds
        if not isinstance(text, str):
            return NOTHING
        digest = text_digest(text, ignore_case=self.ignore_case, ignore_marks=self.ignore_marks)
        return NOTHING if digest is None else int(digest, 16)

    def _result(self, view: ClipView) -> Result:
        if self._copies is None or self._key_of is None or view.place is None:
            raise StageError(f"{self.type}: process was called before look_through")
        text = view.row[self.column]
        if text is not None and not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and {self.type} reads text")
        found = self._copies.of(view.place)
        key = self._key_of(found[0]) if found is not None and found[1] else None
        return {self.into: key, f"{self.into}_count": None if found is None else found[1]}

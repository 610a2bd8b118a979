"""Folded rows for the shards of a window: those used last are kept, all others read again when a shard needs them."""

import threading
from collections import OrderedDict

from shardpipe.storage.dataset import Fold, Row, View
from shardpipe.storage.removed import REMOVED

MAX_HELD = 100_000
"""Kept clips whose rows are held at once."""


class Folds:
    """The rows of a view, unit by unit, for several threads."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._held: OrderedDict[str, dict[str, Row]] = OrderedDict()
        self._num_held = 0
        self._mutex = threading.Lock()

    def read(self, unit: str) -> Fold:
        """The fold of a unit, which is held from now on."""
        fold = self.view.fold(unit)
        rows = _rows(fold)
        with self._mutex:
            if unit not in self._held:
                self._num_held += len(rows)
            self._held[unit] = rows
            while self._num_held > MAX_HELD and len(self._held) > 1:
                _, gone = self._held.popitem(last=False)
                self._num_held -= len(gone)
        return fold

    def row(self, unit: str, key: str) -> Row:
        """The folded row of a kept or removed clip; KeyError if the unit has none."""
        with self._mutex:
            rows = self._held.get(unit)
            if rows is not None:
                self._held.move_to_end(unit)
        if rows is None:
            rows = _rows(self.read(unit))
        return rows[key]


def _rows(fold: Fold) -> dict[str, Row]:
    return {row["key"]: row for row in fold.rows if row["kept"] or row["dropped_by"] == REMOVED}

"""The rows of a shard's clips: folded from what its plan names, and held to what was planned."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.engine.emission.window import Window
from shardpipe.storage.dataset import Row, View
from shardpipe.storage.layers import Layer
from shardpipe.storage.removed import REMOVED, Removed, masked
from shardpipe.storage.store import Store

MAX_FOLDED = 50_000
"""Folded rows kept for the next shard, which mostly needs the same units."""

FOLDS_AT_ONCE = 8


class PlannedRows:
    """The rows that `windows` plan over `layers`. All calls are good from any thread."""

    def __init__(self, store: Store, layers: list[Layer], windows: Sequence[Window]) -> None:
        self._store = store
        # What the plan names counts: a retry that raced with it may have written newer rows since. Rows are masked when they are used.
        self._views = {window.path: View(store, layers, paths=window.inputs, removed=Removed()) for window in windows}
        # `remove` moves the clips of an emitted base
        self._fixed = ("size", "sha256") if layers[0].form == "emit" else ("offset", "size", "sha256")
        self._windows = {unit: window for window in windows for unit in window.shard_units}
        self._folds: OrderedDict[str, dict[str, Row]] = OrderedDict()
        self._folding = threading.Lock()

    def forget(self) -> None:
        """Fold anew from now on: what is removed by now may lie elsewhere."""
        with self._folding:
            self._folds.clear()

    def rows(self, unit: str, without: Collection[str] = ()) -> list[Row]:
        """The folded row of each planned clip of a shard, in order, masked if it is one of `without`; IntegrityError if rows are no
        longer those that were planned.
        """
        window = self._windows[unit]
        planned = window.clips(unit)
        by_unit: dict[str, list[Row]] = {}
        for clip in planned:
            by_unit.setdefault(clip["unit"], []).append(clip)
        found: dict[str, Row] = {}
        with self._folding:
            for name, folded in self._folded(window, list(by_unit)):
                for clip in by_unit[name]:
                    row = folded.get(clip["key"])
                    place = {"media": row["shard"], **{name: row[name] for name in self._fixed}} if row else {}
                    moved = any(clip[name] != value for name, value in place.items())
                    if row is None or (moved and clip["key"] not in without):
                        raise IntegrityError(
                            f"{self._store.url}/{window.path}: clip {clip['key']} is not as planned: run `shardpipe verify`"
                        )
                    found[clip["key"]] = masked(row) if clip["key"] in without else row
        return [found[clip["key"]] for clip in planned]

    def _folded(self, window: Window, units: Sequence[str]) -> Iterator[tuple[str, dict[str, Row]]]:
        """Each unit with its kept rows by key; those that are not in the cache are read several at a time."""
        with ThreadPoolExecutor(FOLDS_AT_ONCE) as pool:
            for start in range(0, len(units), FOLDS_AT_ONCE):
                some = units[start : start + FOLDS_AT_ONCE]
                missing = [unit for unit in some if unit not in self._folds]
                self._folds.update(zip(missing, pool.map(partial(self._fold, window), missing), strict=True))
                yield from [(unit, self._folds[unit]) for unit in some]
                while len(self._folds) > 1 and sum(len(rows) for rows in self._folds.values()) > MAX_FOLDED:
                    self._folds.popitem(last=False)

    def _fold(self, window: Window, unit: str) -> dict[str, Row]:
        try:
            fold = self._views[window.path].fold(unit)
        except (FileNotFoundError, IncompleteError) as error:
            raise IntegrityError(
                f"{self._store.url}/{window.path} was made from rows that are no longer there: {error}. Run "
                "`shardpipe verify`"
            ) from error
        for path, sha256 in fold.inputs.items():
            if window.inputs.get(path) != sha256:
                raise IntegrityError(
                    f"{self._store.url}/{path} is not what {window.path} was made from: emitted shards would not be "
                    "what was planned. Run `shardpipe verify`"
                )
        return {row["key"]: row for row in fold.rows if row["kept"] or row["dropped_by"] == REMOVED}

"""Taking removed clips out of the shards of an emitted Dataset: they are made again, and what stands beside them.

    indexes away ─▶ tar, idx, record of each shard without the clip ─▶ urls.txt, wids.json, index

What is clean already is told by its record, and by sizes.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing

from shardpipe.core.errors import IntegrityError
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.index import mend, removed_in, withdraw
from shardpipe.engine.emission.record import shard_name
from shardpipe.engine.emission.window import Window, read_window
from shardpipe.engine.upkeep.uncleaned import Uncleaned
from shardpipe.storage.blanks import members_in
from shardpipe.storage.commit import NUMBERED, RowsLog, in_order, numbered
from shardpipe.storage.parallel import in_order as in_parallel
from shardpipe.storage.parallel import num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store


class TakenShards:
    """The shards of the Dataset `name`.

    clean: tars that are planned and have no removed clip now. keys, num_made: the clips that were in others, and how many of these
    were made again (or would be). found: what could not be read, or made.
    """

    def __init__(self, store: Store, name: str, removed: Removed, found: Uncleaned) -> None:
        self._store = store
        self._name = name
        self._removed = removed
        self._found = found
        self._log = RowsLog(store, name, folder="emit")
        self.keys: set[str] = set()
        self.num_made = 0
        self.clean: set[str] = set()

    def run(self, objects: Iterable[str], *, dry_run: bool) -> None:
        """Make what has removed clips again. objects: a listing of the root, from before the plans are read."""
        store, name, planned = self._store, self._name, dict[str, set[str]]()
        for window in self._windows(objects):
            self.clean |= {self._tar(unit) for unit in window.shard_units}
            units, keys = (window.table.column(column).to_pylist() for column in ("unit_out", "key"))
            for unit, key in zip(units, keys, strict=True):
                if self._removed.has(key):
                    planned.setdefault(unit, set()).add(key)
        with closing(in_parallel(planned, self._is_clean, at_once=num_readers(store))) as looked:
            dirty = [unit for unit, is_clean in looked if not is_clean.result()]
        self.keys = set[str]().union(*(planned[unit] for unit in dirty))
        if dry_run:
            self.num_made = len(dirty)
        elif planned:
            if dirty:
                self._make_again(dirty)
            with self._found.guard(f"{name}/index.parquet"):
                mend(store, name, self._removed)

    def _make_again(self, dirty: Sequence[str]) -> None:
        self.clean -= {self._tar(unit) for unit in dirty}
        with self._found.guard(f"{self._name}/plan"):
            withdraw(self._store, self._name)
            emitter = Emitter(self._store, self._name)
            for unit in dirty:
                with self._found.guard(self._tar(unit)):
                    emitter.emit(unit)
                    self.clean.add(self._tar(unit))
                    self.num_made += 1

    def _windows(self, objects: Iterable[str]) -> list[Window]:
        """The windows that can be read."""
        folder, windows = f"{self._name}/plan", list[Window]()
        try:
            paths = numbered(self._store, folder)
        except IntegrityError as error:
            self._found.add(folder, error)
            paths = in_order(path for path in objects if NUMBERED.match(path.removeprefix(f"{folder}/")))
        for path in paths:
            with self._found.guard(path):
                windows.append(read_window(self._store, path))
        return windows

    def _is_clean(self, unit: str) -> bool:
        """Whether a shard is without removed clips, or not there: its record says so, and tar and idx have the sizes that follow."""
        store, tar, path = self._store, self._tar(unit), self._log.path(unit)
        size, idx_size = store.size(tar), store.size(f"{tar}.idx")
        try:
            table, meta = decode_rows(store.read(path), f"{store.url}/{path}")
        except FileNotFoundError:
            return size is None and idx_size is None
        except IntegrityError as error:
            self._found.add(path, error)
            return size is None or self._has_none(tar)
        sizes = (meta.tar.num_bytes if meta.tar is not None else None, 8 * (int(meta.counts["kept"]) + 1))
        return not removed_in(table, self._removed) and size in (None, sizes[0]) and idx_size in (None, sizes[1])

    def _has_none(self, tar: str) -> bool:
        """Whether a tar has no removed clip, by its headers."""
        try:
            return not any(self._removed.has(name.partition(".")[0]) for name, *_ in members_in(self._store, tar))
        except (IntegrityError, FileNotFoundError):
            return False

    def _tar(self, unit: str) -> str:
        return f"{self._name}/{shard_name(self._name, unit)}"

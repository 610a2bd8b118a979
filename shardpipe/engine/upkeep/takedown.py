"""Taking removed clips out of every object that holds their media. The list is written before; all of this may be done again.

    tars of cut, of members    the clip's members become zeros in place (`storage.blanks`), tars that no rows name too
    emitted shards             indexes away ─▶ tar, idx, record without the clip ─▶ urls.txt, wids.json, index

A Dataset comes after those that it was made from, since its shards are made anew from theirs. What is clean already is told by a
header, or by sizes.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from shardpipe.core.errors import IncompleteError, ShardpipeError
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.index import mend, removed_in, withdraw
from shardpipe.engine.emission.record import shard_name
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.views.report import all_datasets
from shardpipe.storage.blanks import blank, is_blank, members_in
from shardpipe.storage.commit import NAME, RowsLog
from shardpipe.storage.dataset import Dataset, Layer, View
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store

READERS = 8


@dataclass
class Cleaned:
    """What was taken out of one Dataset (or would be): clips, and of how many tars and shards."""

    name: str
    num_clips: int = 0
    num_tars: int = 0
    num_shards: int = 0


@dataclass
class Named:
    """What rows name: all their tars, and of those with removed clips their keys and where the data of their members begins."""

    tars: set[str] = field(default_factory=set)
    keys: dict[str, set[str]] = field(default_factory=dict)
    offsets: dict[str, list[int]] = field(default_factory=dict)

    def add(self, other: "Named") -> None:
        """What another rows object names."""
        self.tars |= other.tars
        for path, keys in other.keys.items():
            self.keys.setdefault(path, set()).update(keys)
            self.offsets.setdefault(path, []).extend(other.offsets[path])


class Cleaner:
    """Takes the clips of one list out of a root. problems: objects that could not be looked into, or cleaned; the others are."""

    def __init__(self, store: Store, removed: Removed, *, dry_run: bool = False) -> None:
        self._store = store
        self._removed = removed
        self._dry_run = dry_run
        self.problems: list[str] = []

    def run(self) -> list[Cleaned]:
        """Clean every Dataset; those in which there was something to do."""
        found = []
        for dataset in all_datasets(self._store):
            done = Cleaned(dataset.name)
            keys = set[str]()
            if dataset.info.kind == "cut" or dataset.info.members:
                keys |= self._tars(dataset, done)
            keys |= self._shards(dataset, done)
            done.num_clips = len(keys)
            if keys:
                found.append(done)
        return found

    def _tars(self, dataset: Dataset, done: Cleaned) -> set[str]:
        """Blank the tars that the rows of a Dataset name, and those that nothing names; the clips that were in them."""
        store, cleaned = self._store, set[str]()
        named = Named()
        layer = dataset.pass_layers()[-1]
        with ThreadPoolExecutor(READERS) as pool:
            for each in pool.map(lambda path: self._named(layer, path), self._rows_of(dataset, layer)):
                named.add(each)
        keys = dict(named.keys)
        folder = f"{dataset.name}/{'shards' if dataset.info.kind == 'cut' else 'members'}"
        for path in store.list(folder):
            if path.endswith(".tar") and path not in named.tars:
                with self._guard(path):
                    names = {name.partition(".")[0] for name, _, _ in members_in(store, path)}
                    keys[path] = {key for key in names if self._removed.has(key)}
        for path, there in keys.items():
            with self._guard(path):
                if there and not (path in named.keys and is_blank(store, path, named.offsets[path])):
                    if not self._dry_run:
                        blank(store, path, self._removed)
                    done.num_tars += 1
                    cleaned |= there
        return cleaned

    def _named(self, layer: Layer, path: str) -> Named:
        """The tar that a rows object names, and the removed clips in it."""
        found = Named()
        with self._guard(path):
            table, meta = decode_rows(self._store.read(path), f"{self._store.url}/{path}", columns=layer.schema)
            ref = meta.tar if layer.info.kind == "cut" else meta.members_tar
            if ref is None:
                return found
            tar = f"{layer.name}/{ref.name}"
            found.tars.add(tar)
            columns = (
                ["offset"] if layer.info.kind == "cut" else [f"member_{name}_offset" for name in layer.info.members]
            )
            for row in table.to_pylist():
                offsets = [row[column] for column in columns if row[column] is not None]
                if offsets and self._removed.has(row["key"], row.get("source")):
                    found.keys.setdefault(tar, set()).add(row["key"])
                    found.offsets.setdefault(tar, []).extend(offsets)
        return found

    def _rows_of(self, dataset: Dataset, layer: Layer) -> list[str]:
        """All rows objects of a layer, of each generation; what a late listing lacks is looked up by name."""
        store, log = self._store, layer.log
        folder = f"{dataset.name}/rows/"
        listed = {path for path in store.list(folder) if NAME.match(path.removeprefix(folder))}
        highest = log.generations(listed)

        def others(name: str) -> list[str]:
            found = [path for i in range(highest.get(name, 0)) if (path := log.path(name, i)) not in listed]
            number = highest.get(name, -1) + 1
            while store.size(path := log.path(name, number)) is not None:
                found.append(path)
                number += 1
            return found

        with ThreadPoolExecutor(READERS) as pool:
            late = pool.map(others, self._names(dataset, layer))
            return sorted(listed.union(*late))

    def _names(self, dataset: Dataset, layer: Layer) -> list[str]:
        """The units, or slices of them, that a layer has or will have rows of."""
        view = View(self._store, dataset.pass_layers(), removed=Removed())
        names: list[str] = []
        for unit in view.units():
            try:
                names += layer.slices(unit, view.num_clips(unit)) if layer.is_sliced else [unit]
            except IncompleteError:
                continue
        return names

    def _shards(self, dataset: Dataset, done: Cleaned) -> set[str]:
        """Rewrite the shards that have removed clips, and what stands beside them; the clips that were in them."""
        store, name, planned = self._store, dataset.name, dict[str, set[str]]()
        for window in read_windows(store, name):
            pairs = zip(
                window.table.column("unit_out").to_pylist(), window.table.column("key").to_pylist(), strict=True
            )
            for unit, key in pairs:
                if self._removed.has(key):
                    planned.setdefault(unit, set()).add(key)
        dirty = [unit for unit in planned if not self._is_clean(name, unit)]
        done.num_shards = len(dirty)
        if self._dry_run or not planned:
            return set[str]().union(*(planned[unit] for unit in dirty))
        if dirty:
            withdraw(store, name)
            emitter = Emitter(store, name)
            for unit in dirty:
                with self._guard(f"{name}/{shard_name(name, unit)}"):
                    emitter.emit(unit)
        with self._guard(f"{name}/index.parquet"):
            mend(store, name, self._removed)
        return set[str]().union(*(planned[unit] for unit in dirty))

    def _is_clean(self, name: str, unit: str) -> bool:
        """Whether a shard is without removed clips, or not there: its record says so, and tar and idx have the sizes that follow."""
        store, tar = self._store, f"{name}/{shard_name(name, unit)}"
        path = RowsLog(store, name, folder="emit").path(unit)
        size, idx_size = store.size(tar), store.size(f"{tar}.idx")
        try:
            table, meta = decode_rows(store.read(path), f"{store.url}/{path}")
        except FileNotFoundError:
            return size is None and idx_size is None
        sizes = (meta.tar.num_bytes if meta.tar is not None else None, 8 * (int(meta.counts["kept"]) + 1))
        return not removed_in(table, self._removed) and size in (None, sizes[0]) and idx_size in (None, sizes[1])

    @contextmanager
    def _guard(self, path: str) -> Iterator[None]:
        """One object that cannot be cleaned must not keep the others from it."""
        try:
            yield
        except FileNotFoundError:
            return  # gone since it was listed, or lost: `verify` tells
        except ShardpipeError as error:
            self.problems.append(f"{path}: {error}")

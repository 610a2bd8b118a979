"""Which shards of an emitted Dataset are written."""

from collections.abc import Sequence

from shardpipe.engine.emission.window import Window
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.parallel import for_each, num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import RowsMeta
from shardpipe.storage.store import Store


def written(store: Store, name: str, windows: Sequence[Window]) -> set[str]:
    """The shards that need no work: they have a record, and where clips of them are removed, the tar is the one that it names."""
    log, removed = RowsLog(store, name, folder="emit"), Removed(store)
    done = set(log.done())
    lost: list[str] = []

    def look(unit: str) -> None:
        meta = log.there(unit)
        if meta is None or not has_its_tar(store, name, meta):
            lost.append(unit)

    for_each(done & _with_removed(windows, removed), look, at_once=num_readers(store))
    return done.difference(lost)


def has_its_tar(store: Store, name: str, meta: RowsMeta) -> bool:
    """Whether the tar of a shard is as large as its record says: with a clip more it is larger."""
    return meta.tar is not None and store.size(f"{name}/{meta.tar.name}") == meta.tar.num_bytes


def _with_removed(windows: Sequence[Window], removed: Removed) -> set[str]:
    """The shards that were planned with clips which are removed by now."""
    if not removed:
        return set()
    columns = ((window.table.column("unit_out"), window.table.column("key")) for window in windows)
    pairs = (pair for units, keys in columns for pair in zip(units.to_pylist(), keys.to_pylist(), strict=True))
    return {unit for unit, key in pairs if removed.has(key)}

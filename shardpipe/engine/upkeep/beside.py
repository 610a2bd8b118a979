"""What the objects of an emitted Dataset must be that carry no checksum: `.idx` by its record, what stands beside an index by all."""

import struct
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile

import pyarrow as pa

from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.emission.index import beside_index, final_path
from shardpipe.engine.emission.window import Window, read_windows
from shardpipe.engine.upkeep.belongings import Belongings
from shardpipe.engine.verifying.findings import Problem
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, View
from shardpipe.storage.facts import read_end
from shardpipe.storage.layers import MEMBER_OFFSET
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import RowsMeta, decode_facts, decode_meta, decode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import BLOCK


def idx_by(store: Store, record: str) -> bytes:
    """The `.tar.idx` of a shard, by its record: where each sample starts, then where the last one ends."""
    table, _ = decode_rows(store.read(record), f"{store.url}/{record}")
    columns = {"offset": "size"} | {
        name: f"{name.removesuffix('_offset')}_size" for name in table.column_names if MEMBER_OFFSET.match(name)
    }
    kept = table.filter(table.column("kept")).select([name for pair in columns.items() for name in pair])
    starts, end = list[int](), 0
    for row in kept.to_pylist():
        places = [(row[offset], row[size]) for offset, size in columns.items() if row[offset] is not None]
        starts.append(min(offset for offset, _ in places) - BLOCK)
        end = max(offset + size + -size % BLOCK for offset, size in places)
    return struct.pack(f"<{len(starts) + 1}q", *starts, end)


def beside_by(store: Store, found: Belongings) -> tuple[dict[str, set[str]], list[Problem]]:
    """For each `urls.txt`, `wids.json` and `README.md` of a Dataset the sha256 that it may have, and those that are lost.

    That is one, where its windows are known: of the set without number, as long as it has no index, only that it covers some.
    Raises IntegrityError where plans or records are damaged.
    """
    name, wanted, lost = found.name, dict[str, set[str]](), list[Problem]()
    if not any(final_path(name, kind, None) in found.sizes for kind in ("urls.txt", "index.parquet")):
        return wanted, lost
    windows = list(
        takewhile(lambda window: _records_of(store, name, window) <= found.sizes.keys(), read_windows(store, name))
    )
    columns = View(store, Dataset.open(store, name).pass_layers(), paths=(), removed=Removed()).columns()
    records = _records(store, found, windows)
    covered = _num_covered(store, found)
    for last in (None, *range(1, len(windows))):
        index = final_path(name, "index.parquet", last)
        if index not in found.sizes and final_path(name, "urls.txt", last) not in found.sizes:
            continue
        nums = [last + 1] if last is not None else [covered] if covered else range(1, len(windows) + 1)
        for num in nums:
            shards = sum(window.num_shards for window in windows[:num])
            for path, data in beside_index(name, columns, windows[:num], records[:shards], last=last).items():
                wanted.setdefault(path, set()).add(sha256_hex(data))
                if path not in found.sizes and index in found.sizes:
                    lost.append(Problem(path, f"is missing: it stands beside {index}"))
    return wanted, lost


def _records_of(store: Store, name: str, window: Window) -> set[str]:
    log = RowsLog(store, name, folder="emit")
    return {log.path(unit) for unit in window.shard_units}


def _records(store: Store, found: Belongings, windows: Sequence[Window]) -> list[tuple[pa.Table, RowsMeta]]:
    """Of each shard what its record says of the tar, without its rows: all that the lists of shards are made of."""
    log = RowsLog(store, found.name, folder="emit")
    paths = [log.path(unit) for window in windows for unit in window.shard_units]
    nothing = pa.table({})

    def read(path: str) -> tuple[pa.Table, RowsMeta]:
        meta = decode_meta(read_end(store, path, found.sizes[path]), f"{store.url}/{path}")
        return nothing, RowsMeta("", meta.unit, tar=meta.tar, counts={"kept": meta.counts["kept"]})

    with closing(in_order(paths, read, at_once=num_readers(store))) as found_records:
        return [record.result() for _, record in found_records]


def _num_covered(store: Store, found: Belongings) -> int | None:
    """How many windows the index without number covers; None where there is none."""
    path = final_path(found.name, "index.parquet", None)
    if path not in found.sizes:
        return None
    try:
        return len(decode_facts(read_end(store, path, found.sizes[path]), f"{store.url}/{path}").get("windows", {}))
    except FileNotFoundError:
        return None

"""Whether everything that a store says of its clips agrees: rows, tars, members, records, index, each clip once."""

import hashlib
import json
from collections import Counter
from typing import Any

from support.runs import rows_of

from shardpipe.storage.commit import RowsLog
from shardpipe.storage.members import read_member
from shardpipe.storage.rows import TarRef, decode_rows, decode_table
from shardpipe.storage.store import Store


def check_clips(store: Store) -> dict[str, dict[str, Any]]:
    """Committed rows of `clips` name whole tars, whose clips are those of the rows; the rows by key."""
    for path in RowsLog(store, "clips").done().values():
        _, meta = decode_rows(store.read(path))
        if meta.tar is not None:
            check_tar(store, "clips", meta.tar)
    rows = rows_of(store, "clips")
    for row in rows.values():
        if row["kept"]:
            data = store.read_range(row["shard"], row["offset"], row["size"])
            assert hashlib.sha256(data).hexdigest() == row["sha256"]
    return rows


def check_tar(store: Store, name: str, ref: TarRef) -> None:
    data = store.read(f"{name}/{ref.name}")
    assert len(data) == ref.num_bytes
    assert hashlib.sha256(data).hexdigest() == ref.sha256


def check_pass(store: Store, name: str, *, column: str = "answer", ext: str = "npy") -> dict[str, dict[str, Any]]:
    """The rows of a pass with a `Fickle` stage: each member is that of its row's answer."""
    rows = rows_of(store, name)
    for row in rows.values():
        if row["kept"] and row.get(column) is not None and ext in row["members"]:
            assert read_member(store, row["members"][ext]) == str(row[column]).encode()
    return rows


def check_train(store: Store, name: str = "train") -> None:
    """Index, records, tars and rows of an emitted Dataset agree, and each kept clip is there exactly once."""
    kept = {key: row for key, row in rows_of(store, name).items() if row["kept"]}
    index = decode_table(store.read(f"{name}/index.parquet"))[0].to_pylist()
    assert Counter(row["key"] for row in index) == Counter(list(kept))
    records = []
    for path in RowsLog(store, name, folder="emit").done().values():
        table, meta = decode_rows(store.read(path))
        assert meta.tar is not None
        check_tar(store, name, meta.tar)
        assert store.size(f"{name}/{meta.tar.name}.idx")
        records += table.to_pylist()
    assert [row["key"] for row in records] == [row["key"] for row in index]
    for row in index:
        path = f"{name}/{row['shard']}"
        fold = kept[row["key"]]
        media = store.read_range(path, row["offset"], row["size"])
        assert hashlib.sha256(media).hexdigest() == row["sha256"] == fold["sha256"]
        sidecar = json.loads(store.read_range(path, row["member_json_offset"], row["member_json_size"]))
        assert all(row[column] == fold[column] for column in sidecar)
        assert sidecar["key"] == row["key"]
        if "answer" in sidecar:
            assert sidecar["answer"] == fold["answer"]
    urls = store.read(f"{name}/urls.txt").decode().split()
    assert sorted(f"{name}/{url}" for url in urls) == [p for p in store.list(f"{name}/shards") if p.endswith(".tar")]

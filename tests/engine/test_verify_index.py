"""An index and its records: checked a row group at a time, to the last bit, and never in memory whole."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.emitted import emit_all
from support.tiny_dataset import keys_of, make_clips, make_pass

from shardpipe.core.columns import int64, string
from shardpipe.engine.verifying.findings import Findings
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.verifying.verifyindex import check_index
from shardpipe.storage import rows
from shardpipe.storage.rows import arrow_schema, decode_table, encode_arrow
from shardpipe.storage.store import Store, open_store

INDEX = "train/index.parquet"
TEXT_BYTES = 200_000
NUM_CLIPS = 60


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROW_GROUP", 7)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


def test_no_more_than_some_records_are_in_memory(store: Store) -> None:
    make_clips(store, keys_of(20, NUM_CLIPS // 20))
    texts = {"text": string}
    make_pass(store, "train", columns=texts, score=lambda row: {"text": row["key"] * (TEXT_BYTES // 11)}, emit="shards")
    emit_all(store, "train")
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert verify(store.url).problems == ()
    finally:
        pa.set_memory_pool(before)
    assert len(store.list("train/emit")) > 10
    assert pool.max_memory() < 0.7 * NUM_CLIPS * TEXT_BYTES, pool.max_memory()


def test_rows_and_bytes_are_those_of_the_records(store: Store) -> None:
    schema = arrow_schema({"key": string, "n": int64})
    sizes = [i % 4 for i in range(12)]
    tables = [pa.table([[f"k{i}_{j}" for j in range(n)], [*range(n)]], schema=schema) for i, n in enumerate(sizes)]
    whole = pa.concat_tables(tables)
    data = encode_arrow(whole, {"windows": {}})

    def found(there: bytes) -> list[str]:
        store.delete(INDEX)
        store.create(INDEX, there)
        findings = Findings(store, {INDEX: len(there)})
        with findings.guard(INDEX):
            check_index(findings, INDEX, whole.schema, lambda: iter(tables), {"windows": {}})
        return [problem.text for problem in findings.problems]

    assert whole.num_rows > 2 * rows.ROW_GROUP
    assert found(data) == []
    assert found(encode_arrow(whole, {"windows": {"a": "b"}})) == ["was made from other plans"]
    assert found(encode_arrow(whole.slice(1), {"windows": {}})) == ["does not hold the rows of the records"]
    changed = whole.set_column(1, "n", pc.add(whole.column("n"), 1))
    assert found(encode_arrow(changed, {"windows": {}})) == ["does not hold the rows of the records"]
    for at in random.Random(1).sample(range(len(data)), 200):
        assert found(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]), at
    other = f"{pa.cpp_version[:-1]}{(int(pa.cpp_version[-1]) + 1) % 10}"
    head, _, tail = encode_arrow(whole, {"windows": {}}, arrow=other).rpartition(pa.cpp_version.encode())
    assert found(head + other.encode() + tail) == []
    assert decode_table(data)[0].equals(whole)

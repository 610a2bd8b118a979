"""What a rows object says of itself, read without the rest of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from shardpipe.core.columns import Columns, float64, string
from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.storage import facts
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.facts import read_found
from shardpipe.storage.rows import METADATA_KEY, RowsMeta, encode_rows, facts_text, quick_text
from shardpipe.storage.store import Store, open_store

COLUMNS: Columns = {"key": string, "text": string, "aes": float64}
META = RowsMeta("f" * 64, "000000", {"clips/rows/000000.parquet": "0" * 64})


def rows_object(num_inputs: int, num_rows: int = 3) -> bytes:
    inputs = {f"clips/rows/{i:06d}.parquet": "0" * 64 for i in range(num_inputs)}
    rows = [{"key": f"k{i}", "text": "\x18\tshardpipe\x18" * i, "aes": i / 3} for i in range(num_rows)]
    return encode_rows(COLUMNS, rows, replace(META, inputs=inputs))


@pytest.mark.parametrize("num_inputs", [0, 1, 2, 300])
def test_the_quick_way_finds_the_same_text(num_inputs: int) -> None:
    """Texts whose length takes two and three bytes; the mark before it stands in the rows too."""
    data = rows_object(num_inputs)
    text = facts_text(data)
    assert text is not None
    assert quick_text(data) == text
    assert quick_text(data[:-1]) is None
    assert data.count(b"\x18\t" + METADATA_KEY) >= 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.mark.parametrize(("num_inputs", "num_reads"), [(1, 1), (2000, 2)])
def test_of_a_large_object_the_end_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, num_inputs: int, num_reads: int
) -> None:
    monkeypatch.setattr(facts, "WHOLE_BYTES", 1000)
    data = rows_object(num_inputs, 500)
    store.create("a/rows/0.parquet", data)
    entry = store.entries("a/rows")["a/rows/0.parquet"]
    recording = RecordingStore(store)
    found, said = read_found(recording, "a/rows/0.parquet", entry, hashed=False)
    assert (found.sha256, len(said["inputs"])) == (None, num_inputs)
    assert [each.name for each in recording.operations] == ["read_range"] * num_reads
    assert read_found(store, "a/rows/0.parquet", entry, hashed=True)[0].sha256 == sha256_hex(data)


def test_damage_to_what_it_says_is_told(store: Store) -> None:
    for n, spoilt in enumerate((rows_object(1).replace(b"000000", b"000001"), rows_object(1)[:-1], b"")):
        path = f"a/rows/{n}.parquet"
        store.create(path, spoilt)
        with pytest.raises(IntegrityError, match=path):
            read_found(store, path, store.entries("a/rows")[path], hashed=False)

"""Rows objects: canonical bytes, checked values, and readers that are not ours."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import bool_, float32, float64, int64, list_of, string
from shardpipe.core.errors import IntegrityError, StageError
from shardpipe.storage.rows import (
    RowsMeta,
    TarRef,
    decode_meta,
    decode_rows,
    decode_table,
    encode_rows,
    encode_table,
    table_columns,
)

COLUMNS = {
    "key": string,
    "num_frames": int64,
    "aes": float32,
    "flow_px_s": float64,
    "has_audio": bool_,
    "cmotion": list_of(string),
    "hist": list_of(float32),
    "boxes": list_of(int64),
}
ROW: dict[str, Any] = {
    "key": "a_00000000",
    "num_frames": 30,
    "aes": 4.5,
    "flow_px_s": 0.1,
    "has_audio": True,
    "cmotion": ["pan_left"],
    "hist": [0.5, 1.0],
    "boxes": [],
}
EMPTY: dict[str, Any] = {"key": "b_00000000"} | {name: None for name in COLUMNS if name != "key"}
META = RowsMeta(
    "f" * 64,
    "000012-00",
    inputs={"clips/rows/000012.parquet": "a" * 64, "clips/dataset.json": "b" * 64},
    generation=2,
    tar=TarRef("shards/000012-3fa9c1d2e07b.tar", 10_240, "3f" * 32),
    counts={"seen": 2, "kept": 1, "hours": 0.5},
)


def test_round_trip() -> None:
    table, meta = decode_rows(encode_rows(COLUMNS, [ROW, EMPTY], META))
    assert table.to_pylist() == [ROW, EMPTY]
    assert list(table.column_names) == list(COLUMNS)
    assert table_columns(table.schema) == COLUMNS
    assert meta == META


def test_meta_alone() -> None:
    assert decode_meta(encode_rows(COLUMNS, [ROW], META)) == META
    bare = RowsMeta("f", "0")
    assert decode_meta(encode_rows(COLUMNS, [], bare)) == bare


def test_no_rows_keep_their_schema() -> None:
    table, _ = decode_rows(encode_rows(CLIP_COLUMNS, [], META))
    assert table.num_rows == 0
    assert table_columns(table.schema) == dict(CLIP_COLUMNS)


def test_same_rows_same_bytes() -> None:
    data = encode_rows(COLUMNS, [ROW, EMPTY], META)
    shuffled = dict(reversed(list(ROW.items())))
    other_meta = replace(META, inputs=dict(reversed(list(META.inputs.items()))))
    assert encode_rows(COLUMNS, [shuffled, {"key": "b_00000000"}], other_meta) == data
    numpy_row = ROW | {
        "num_frames": np.int32(30),
        "aes": np.float64(4.5),
        "hist": np.array([0.5, 1.0]),
        "has_audio": np.True_,
    }
    assert encode_rows(COLUMNS, [numpy_row, EMPTY], META) == data
    assert encode_rows(COLUMNS, [ROW | {"num_frames": 31}, EMPTY], META) != data


def test_same_bytes_in_another_process() -> None:
    code = (
        "from storage.test_rows import *; import sys; sys.stdout.buffer.write(encode_rows(COLUMNS, [ROW, EMPTY], META))"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env).stdout
    assert out == encode_rows(COLUMNS, [ROW, EMPTY], META)


def test_minus_zero_is_zero() -> None:
    zero = ROW | {"aes": 0.0, "flow_px_s": 0.0, "hist": [0.0]}
    for minus in (-0.0, np.float32(-0.0)):
        row = ROW | {"aes": minus, "flow_px_s": minus, "hist": [minus]}
        assert encode_rows(COLUMNS, [row], META) == encode_rows(COLUMNS, [zero], META)
    assert encode_rows(COLUMNS, [zero | {"aes": -1e-60}], META) == encode_rows(COLUMNS, [zero], META)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("aes", float("nan"), "nan"),
        ("aes", float("-inf"), "inf"),
        ("aes", 1e39, "too large for float32"),
        ("flow_px_s", 10**400, "too large for float64"),
        ("aes", np.zeros(2), "expected one float32, got an array of shape"),
        ("hist", np.float32(1), "list of float32"),
        ("cmotion", {"pan_left", "static"}, "list of string, got set"),
        ("hist", [1.0, float("nan")], "nan"),
        ("hist", [0.0] * 65, "65 numbers"),
        ("hist", "abc", "list of float32"),
        ("boxes", [None], "NoneType"),
        ("num_frames", 1.0, "expected int64, got float"),
        ("num_frames", True, "expected int64, got bool"),
        ("num_frames", 2**63, "expected int64"),
        ("has_audio", 1, "expected bool"),
        ("cmotion", "pan_left", "list of string"),
        ("key", 5, "expected string"),
        ("cmotion", ["\udcff"], "valid Unicode"),
    ],
)
def test_a_bad_value_names_its_column_and_key(column: str, value: object, what: str) -> None:
    with pytest.raises(StageError, match=rf"{column}: .*{what}") as error:
        encode_rows(COLUMNS, [EMPTY, ROW | {column: value}], META)
    assert f"row {value if column == 'key' else 'a_00000000'}: " in str(error.value)


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(StageError, match=r"row a_00000000: unknown column aes2; the schema has key, num_frames"):
        encode_rows(COLUMNS, [ROW | {"aes2": 1.0}], META)


def test_nan_in_the_facts_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_rows(COLUMNS, [ROW], replace(META, counts={"hours": float("nan")}))


def test_one_metadata_key_and_no_clock_or_host() -> None:
    metadata = pq.read_metadata(io.BytesIO(encode_rows(COLUMNS, [ROW], META))).metadata
    assert list(metadata) == [b"shardpipe"]


def test_any_committed_table() -> None:
    facts = {"plan": "x", "inputs": {"a": "b"}, "n": 1}
    data = encode_table({"clip": string, "place": int64}, [{"clip": "a", "place": 0}], facts)
    table, found = decode_table(data)
    assert table.to_pylist() == [{"clip": "a", "place": 0}]
    assert found == facts
    with pytest.raises(IntegrityError, match="not the metadata of a rows object"):
        decode_rows(data)


def test_duckdb_and_pyarrow_read_it_in_place(tmp_path: Path) -> None:
    for i, rows in enumerate([[ROW], [], [EMPTY, ROW | {"key": "c"}]]):
        (tmp_path / f"{i}.parquet").write_bytes(encode_rows(COLUMNS, rows, META))
    query = "select key, cmotion, aes from read_parquet(?) where list_contains(cmotion, 'pan_left')"
    with duckdb.connect() as connection:
        assert connection.execute(query, [f"{tmp_path}/*.parquet"]).fetchall() == [
            ("a_00000000", ["pan_left"], 4.5),
            ("c", ["pan_left"], 4.5),
        ]
    assert pq.read_table(tmp_path / "0.parquet").to_pylist() == [ROW]


def test_damage_is_an_integrity_error_or_no_change() -> None:
    rows = [ROW | {"key": f"k{i}", "flow_px_s": i * 0.37} for i in range(50)]
    data = encode_rows(COLUMNS, rows, META)
    for length in range(0, len(data), 97):
        with pytest.raises(IntegrityError):
            decode_rows(data[:length])
    pages = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    for place in (*range(4, pages, 61), *range(pages, len(data), 7)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        try:
            table, _ = decode_rows(bytes(flipped), columns=COLUMNS)
        except IntegrityError:
            continue
        assert table.to_pylist() == rows


def test_damage_to_a_columns_name_or_type_tells() -> None:
    data = encode_rows(COLUMNS, [ROW], META)
    assert decode_rows(data, columns=COLUMNS)[0].column_names == list(COLUMNS)
    renamed = data.replace(b"num_frames", b"num_framez")
    with pytest.raises(IntegrityError, match=r"x\.parquet is damaged.*lacks column num_frames"):
        decode_rows(renamed, "x.parquet", columns=COLUMNS)
    with pytest.raises(IntegrityError, match="lacks column num_frames"):
        decode_rows(data, columns={"num_frames": string})


def test_foreign_parquet_is_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    for decode in (decode_rows, decode_meta):
        with pytest.raises(IntegrityError, match="not written by shardpipe"):
            decode(sink.getvalue())
        with pytest.raises(IntegrityError):
            decode(b"")


def test_another_format_is_refused() -> None:
    data = encode_table({"a": int64}, [], {"format": 2})
    with pytest.raises(IntegrityError, match="another format"):
        decode_table(data)

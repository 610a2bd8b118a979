"""Any columns and rows: what is encoded is decoded, and the bytes depend on nothing else."""

import math
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.core.columns import ColumnType, bool_, float32, float64, int64, list_of, string
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, decode_rows, encode_rows, table_columns

VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    bool_: st.booleans(),
    int64: st.integers(-(2**63), 2**63 - 1),
    float32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    float64: st.floats(allow_nan=False, allow_infinity=False),
    string: st.text(max_size=20),
}
VALUES |= {list_of(kind): st.lists(values, max_size=5) for kind, values in list(VALUES.items())}
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
SCHEMAS = st.dictionaries(NAMES, st.sampled_from(list(VALUES)), min_size=1, max_size=6)
METAS = st.builds(
    RowsMeta,
    st.text(max_size=9),
    st.text(max_size=9),
    inputs=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    generation=st.integers(0, 99),
    tar=st.none() | st.builds(TarRef, st.text(max_size=9), st.integers(0), st.text(max_size=9)),
    members_tar=st.none() | st.builds(TarRef, st.text(max_size=9), st.integers(0), st.text(max_size=9)),
    counts=st.dictionaries(st.text(max_size=9), st.integers() | VALUES[float64], max_size=3),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, ColumnType], list[dict[str, Any]]]:
    columns = draw(SCHEMAS)
    row = st.fixed_dictionaries({}, optional={name: st.none() | VALUES[kind] for name, kind in columns.items()})
    return columns, draw(st.lists(row, max_size=8))


def without_minus_zero(value: Any) -> Any:
    if isinstance(value, list):
        return [without_minus_zero(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


def has_minus_zero(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, float) and item == 0 and math.copysign(1, item) < 0 for item in items)


@settings(max_examples=80, deadline=None)
@given(table=tables(), meta=METAS)
def test_round_trip(table: tuple[dict[str, ColumnType], list[dict[str, Any]]], meta: RowsMeta) -> None:
    columns, rows = table
    data = encode_rows(columns, rows, meta)
    found, found_meta = decode_rows(data)
    assert found_meta == decode_meta(data) == meta
    assert table_columns(found.schema) == columns
    assert found.to_pylist() == [{name: without_minus_zero(row.get(name)) for name in columns} for row in rows]
    assert not any(has_minus_zero(value) for row in found.to_pylist() for value in row.values())
    reordered = [dict(reversed(list(row.items()))) for row in rows]
    assert encode_rows(columns, reordered, meta) == data
    assert encode_rows(columns, found.to_pylist(), meta) == data


@given(value=st.floats(-3e38, 3e38))
def test_float32_rounds_as_c_does(value: float) -> None:
    table, _ = decode_rows(encode_rows({"x": float32}, [{"x": value}], RowsMeta("f", "u")))
    assert table["x"][0].as_py() == struct.unpack("f", struct.pack("f", value))[0]

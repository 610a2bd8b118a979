"""What an emitted shard says of a clip: its `KEY.json`, with every data column, each always of its one type."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shardpipe.core.columns import Columns, ColumnType
from shardpipe.core.fingerprint import canonical_json

Row = Mapping[str, Any]


def sidecar(row: Row, columns: Columns) -> bytes:
    """Canonical JSON of these columns of a folded row: null where missing, floats as floats, no column left out."""
    return canonical_json({name: _value(kind, row.get(name)) for name, kind in columns.items()})


def _value(kind: ColumnType, value: Any) -> Any:  # noqa: ANN401  a column's value
    if value is None or kind.scalar in ("string", "bool", "int64"):
        return value
    if kind.is_list:
        return [None if item is None else _float(kind, item) for item in value]
    return _float(kind, value)


def _float(kind: ColumnType, value: float) -> float:
    return shortest_float32(value) if kind.scalar == "float32" else float(value)


def shortest_float32(value: float) -> float:
    """The number with the fewest digits that is the same float32: 4.4, where the float32 itself is 4.40000009536743164."""
    return float(str(np.float32(value)))

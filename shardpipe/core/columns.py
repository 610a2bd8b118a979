"""Column types: what a stage may write into a row, and the checks on a value.

A missing value is `None`, never a number. NaN and inf are refused. Lists hold at most 64 numbers.
"""

import ctypes
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from shardpipe.core.errors import StageError

Scalar = Literal["bool", "int64", "float32", "float64", "string"]
NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
MAX_LIST_NUMBERS = 64
RESERVED = frozenset({"kept", "dropped_by", "error", "shard", "offset", "size", "xxh128", "members", "unit"})
"""What rows, folds and `query` say of a clip beside its data: no column of a stage or of the sources may be called so."""


def is_column_name(name: str) -> bool:
    """Whether a stage may write a column of this name."""
    return NAME.match(name) is not None and name not in RESERVED


def _column_name(name: str) -> str:
    if not is_column_name(name):
        raise ValueError(
            f"{name!r} is no column name: small letters, digits and _, not first a digit, and not reserved"
        )
    return name


ColumnName = Annotated[str, AfterValidator(_column_name)]
"""The type of a stage's field that names a column which it writes."""


@dataclass(frozen=True)
class ColumnType:
    """The type of one column: a scalar, or a list of scalars."""

    scalar: Scalar
    is_list: bool = False

    def __str__(self) -> str:
        return f"list<{self.scalar}>" if self.is_list else self.scalar

    @staticmethod
    def parse(text: str) -> "ColumnType":
        """The inverse of `str`: `int64`, `list<string>`."""
        inner = text.removeprefix("list<").removesuffix(">")
        if inner not in ("bool", "int64", "float32", "float64", "string"):
            raise ValueError(f"unknown column type {text!r}")
        return ColumnType(inner, is_list=text != inner)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Member:
    """Bytes that a stage writes beside its columns, as the clip's member `KEY.<ext>`."""

    ext: str


bool_ = ColumnType("bool")
int64 = ColumnType("int64")
float32 = ColumnType("float32")
float64 = ColumnType("float64")
string = ColumnType("string")


def list_of(item: ColumnType) -> ColumnType:
    """The type of a list of `item`."""
    return ColumnType(item.scalar, is_list=True)


Columns = Mapping[str, ColumnType]
Writes = Mapping[str, ColumnType | Member]


def check_value(name: str, kind: ColumnType, value: Any) -> Any:  # noqa: ANN401  a row's value has any type
    """`value` as its column stores it (numpy scalars unwrapped, float32 rounded, -0.0 as 0.0); raises StageError if it
    does not fit.
    """
    if value is None:
        return None
    if kind.is_list:
        # a set's order changes from run to run; an array of no dimension only seems to be iterable
        if (
            isinstance(value, str | bytes | Mapping | set | frozenset)
            or not hasattr(value, "__iter__")
            or getattr(value, "shape", None) == ()
        ):
            raise StageError(f"column {name}: expected a list of {kind.scalar}, got {type(value).__name__}")
        items = [_check_scalar(name, kind.scalar, item) for item in value]
        if kind.scalar != "string" and len(items) > MAX_LIST_NUMBERS:
            raise StageError(
                f"column {name}: a list of {len(items)} numbers; write more than {MAX_LIST_NUMBERS} as a member"
            )
        return items
    return _check_scalar(name, kind.scalar, value)


def _check_scalar(name: str, scalar: Scalar, value: Any) -> Any:  # noqa: ANN401
    if math.prod(getattr(value, "shape", ())) != 1:
        raise StageError(f"column {name}: expected one {scalar}, got an array of shape {tuple(value.shape)}")
    value = value.item() if hasattr(value, "item") else value
    match scalar:
        case "bool":
            if isinstance(value, bool):
                return value
        case "int64":
            if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
                return value
        case "float32" | "float64":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _check_float(name, scalar, value)
        case "string":
            if isinstance(value, str):
                return _check_text(name, value)
    raise StageError(f"column {name}: expected {scalar}, got {type(value).__name__} {value!r:.60}")


def _check_float(name: str, scalar: Scalar, value: float) -> float:
    """A number as the column holds it: float32 rounds, what is too large for it is refused, -0.0 becomes 0.0."""
    try:
        number = float(value)
    except OverflowError:  # an int of 400 digits
        raise StageError(f"column {name}: a number of this size is too large for {scalar}") from None
    if not math.isfinite(number):
        raise StageError(f"column {name}: {number} is no score; return a ClipError instead")
    if scalar == "float32":
        number = ctypes.c_float(number).value
        if not math.isfinite(number):
            raise StageError(f"column {name}: {value} is too large for float32; declare float64")
    return number + 0.0


def _check_text(name: str, text: str) -> str:
    """Text that UTF-8 can say: without half of a surrogate pair, as in undecodable file names."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StageError(f"column {name}: {text!r:.80} is no valid Unicode text") from None
    return text

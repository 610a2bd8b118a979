"""A CSV or Parquet that lists videos: a url column, and columns that pass through to the rows of every clip.

A column becomes int64, float64, bool or string; dates and other types are written as text, lists and the like as JSON. Text
of a CSV stays as it stands there (007, 2024-01-02T10:00Z). NaN and infinite numbers are missing values, as in all rows.
What could only be taken with loss is refused, with the column's name.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from shardpipe.core.clip import CLIP_COLUMNS, UNIT_LIST
from shardpipe.core.columns import NAME, RESERVED, ColumnType, float64, int64, string
from shardpipe.core.columns import bool_ as bool_column
from shardpipe.core.errors import ConfigError
from shardpipe.core.secrets import INSTEAD, secret_in

URL_COLUMNS = ("url", "path", "video", "file", "filename", "source")
MAX_INT64 = 2**63 - 1
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+\Z")
LEADING_ZERO = r"^\s*[+-]?0[0-9]"
LONG = r"^\s*[+-]?[0-9]{16,}\s*$"
"""What a number would not give back as it was written: leading zeros, and, of a float, digits beyond its precision."""


@dataclass(frozen=True)
class SourceTable:
    """The urls of a table in order, each with its passthrough values, and the types of those columns."""

    columns: dict[str, ColumnType]
    rows: list[tuple[str, dict[str, Any]]]


def read_table(file: BinaryIO, name: str, *, is_csv: bool) -> SourceTable:
    """Read the list of videos in `file`; raises ConfigError, which calls it `name`."""
    table = _read_csv(file.read()) if is_csv else pa.parquet.read_table(file)
    url_column, names = _names(table.column_names, name)
    if not table.num_rows:
        raise ConfigError(f"{name} has no rows")
    if pa.types.is_nested(kind := table.schema.field(url_column).type):
        raise ConfigError(f"{name}: its column {url_column} holds {kind}, and must hold one url a row, as text")
    urls = _values(table, url_column, string, name)
    if None in urls:
        row = table.slice(urls.index(None), 1).to_pylist()[0]
        raise ConfigError(f"{name} has a row without {url_column}: {row!r:.200}")
    columns = {new: _kind(table.schema.field(old).type) for old, new in names.items()}
    values = {new: _values(table, old, columns[new], name) for old, new in names.items()}
    for old, new in names.items():
        if columns[new] == string:
            _refuse_signed(values[new], old, name)
    extras = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)] or [{}] * len(urls)
    return SourceTable(columns, list(zip(urls, extras, strict=True)))


def refuse_secrets(urls: Sequence[str], name: str) -> None:
    """Raise ConfigError where one of the urls that `name` gives carries a secret: rows would name it for ever."""
    if found := [(url, secret) for url in urls if (secret := secret_in(url))]:
        url, secret = found[0]
        which = "it" if [url] == [*urls] == [name] else f"{len(found):,} of the {len(urls):,} urls of {name}"
        first = "" if which == "it" else f" (the first: {url})"
        raise ConfigError(
            f"{which} carries {secret}{first}, which would lie open in every row: name the objects themselves, as s3://bucket/key; "
            f"{INSTEAD}"
        )


def _read_csv(data: bytes) -> pa.Table:
    """A CSV with each column as truths or numbers where that loses nothing, else as text."""
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    options = pa.csv.ConvertOptions(strings_can_be_null=True)
    guessed = pa.csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=options)
    texts = [column.name for column in guessed.schema if not pa.types.is_binary(column.type)]
    options.column_types = dict.fromkeys(texts, pa.string())  # what is no UTF-8 stays bytes
    plain = pa.csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=options)
    columns = [a if _gives_back(a, b) else b for a, b in zip(guessed.columns, plain.columns, strict=True)]
    return pa.table(columns, names=guessed.column_names)


def _gives_back(guessed: pa.ChunkedArray, plain: pa.ChunkedArray) -> bool:
    """Whether a column of truths or numbers says all that its text says; False for one of any other type."""
    if _kind(guessed.type) == string:
        return False
    if pa.types.is_integer(guessed.type):
        return not pc.any(pc.match_substring_regex(plain, LEADING_ZERO)).as_py()
    return not pc.any(pc.match_substring_regex(plain, f"{LEADING_ZERO}|{LONG}")).as_py()


def _names(found: list[str], where: str) -> tuple[str, dict[str, str]]:
    """The url column, and the name in the rows of each other one."""
    by_lower = {name.lower(): name for name in found}
    column = next((by_lower[name] for name in URL_COLUMNS if name in by_lower), None)
    if column is None:
        raise ConfigError(f"{where} has no url column (one of {', '.join(URL_COLUMNS)}); it has {', '.join(found)}")
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        raise ConfigError(f"{where} has more than one column {', '.join(map(repr, twice))}: rename all but one")
    names = {name: _column_name(name) for name in found if name != column}
    for new, count in Counter(names.values()).items():
        if count > 1:
            same = ", ".join(repr(name) for name in names if names[name] == new)
            raise ConfigError(f"{where}: its columns {same} would all be called {new} in the rows: rename all but one")
    return column, names


def _column_name(name: str) -> str:
    """A passthrough column's name: lower case, and `source_...` where the name is one of ours."""
    safe = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name.lower())
    taken = {*CLIP_COLUMNS, *RESERVED, *UNIT_LIST}
    return f"source_{safe}" if safe in taken or not NAME.match(safe) or safe.startswith("_") else safe


def _kind(kind: pa.DataType) -> ColumnType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return bool_column
    if pa.types.is_integer(kind):
        return int64
    return float64 if pa.types.is_floating(kind) else string


def _values(table: pa.Table, column: str, kind: ColumnType, where: str) -> list[Any]:
    """A column's values as the rows take them; raises ConfigError for one that they cannot hold."""
    values = _listed(table.column(column))
    if kind == float64:
        return [value if value is not None and abs(value) < float("inf") else None for value in values]
    if kind == int64 and (most := max((value for value in values if value is not None), default=0)) > MAX_INT64:
        raise ConfigError(f"{where}: {most} of column {column} is too large for a 64-bit integer: write it as text")
    if kind == string:
        return [_text(value, column, where) for value in values]
    return values


def _refuse_signed(texts: Sequence[str | None], column: str, where: str) -> None:
    """Raise ConfigError for a passthrough column of urls that carry a secret."""
    for text in texts:
        if text is not None and URL.match(text) and (secret := secret_in(text)):
            raise ConfigError(
                f"{where}: column {column} holds urls that carry {secret} (the first: {text}), which would lie open in every row: "
                "leave the column out"
            )


def _listed(column: pa.ChunkedArray) -> list[Any]:
    try:
        found: list[Any] = column.to_pylist()
    except ValueError:  # nanoseconds, which Python's own types cannot hold
        found = column.cast(pa.string()).to_pylist()
    return found


def _text(value: object, column: str, where: str) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ConfigError(
                f"{where}: {value!r:.60} of column {column} is no UTF-8 text: convert it, or leave the column out"
            ) from None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return None if value is None else str(value)

"""Rows objects: canonical Parquet. The same rows and facts give the same bytes in any process of one pyarrow version.

The schema is the given columns in their order, every value is checked and cast, and what the file says of itself lies
as one canonical JSON under the metadata key `shardpipe`. DuckDB, pandas, polars and Spark read it as it is.
"""

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from shardpipe.core.columns import Columns, ColumnType, Scalar, check_value
from shardpipe.core.errors import IntegrityError, StageError
from shardpipe.core.fingerprint import canonical_json, fingerprint, sha256_hex

METADATA_KEY = b"shardpipe"
PARQUET = b"PAR1"
TEXT_FOLLOWS = b"\x18\x09" + METADATA_KEY + b"\x18"
"""How a footer (Thrift's compact protocol) has that key: two binary fields, of 9 bytes and of a length that is next."""

FORMAT = 1
CHECKSUM = "checksum"
WRITER = "arrow"
"""Beside what the caller says of a file, the version of Arrow that wrote it: Parquet says it too, where nothing checks it."""

ROW_GROUP = 1 << 16
UNNAMED = "a Parquet object"
DAMAGED = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises, by place of the damage."""
ARROW: Mapping[Scalar, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TarRef:
    """A tar that rows point to; `name` is relative to the Dataset: `shards/000012-3fa9c1d2e07b.tar`."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class RowsMeta:
    """What a rows object says of itself.

    fingerprint: of the pass. unit: its name. inputs: sha256 of each rows object it was made from, by path; where it depends
    on the units before it too, the digests of `lookback`.
    generation: 0, or the number of the retry that made it. tar: the unit's clips; members_tar: what stages wrote beside
    columns. counts: sums for `status`, by name.
    original: of a record that `remove` rewrote, the sha256 of the object as it was first committed: by that it stays known.
    """

    fingerprint: str
    unit: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    tar: TarRef | None = None
    members_tar: TarRef | None = None
    counts: Mapping[str, int | float] = field(default_factory=dict)
    original: str | None = None


def encode_rows(columns: Columns, rows: Sequence[Row], meta: RowsMeta) -> bytes:
    """The bytes of a rows object. A value that does not fit raises StageError with its column and key."""
    facts = asdict(meta)
    if meta.original is None:
        del facts["original"]
    return encode_table(columns, rows, facts)


def decode_rows(
    data: bytes, where: str = UNNAMED, *, columns: Columns | None = None, only: Collection[str] | None = None
) -> tuple[pa.Table, RowsMeta]:
    """The table (columns in their order) and the facts of a rows object, as `decode_table` gives them."""
    table, facts = decode_table(data, where, columns=columns, only=only)
    return table, _rows_meta(facts, where)


def decode_meta(data: bytes, where: str = UNNAMED) -> RowsMeta:
    """The facts alone, from the file's footer."""
    return _rows_meta(decode_facts(data, where), where)


def encode_table(columns: Columns, rows: Sequence[Row], facts: Mapping[str, Any]) -> bytes:
    """Any committed table (plan, records, index): rows with these columns, and JSON facts of the file.

    A column that a row lacks is null; one that is not in `columns` raises StageError.
    """
    _refuse_unknown(columns, rows)
    arrays = [_array(name, kind, rows) for name, kind in columns.items()]
    return encode_arrow(pa.Table.from_arrays(arrays, schema=arrow_schema(columns)), facts)


def encode_arrow(table: pa.Table, facts: Mapping[str, Any], *, arrow: str | None = pa.cpp_version) -> bytes:
    """As `encode_table`, of values in Arrow that were checked when they were first written. arrow: its version; None as files had it that do not
    say who wrote them.
    """
    sink = io.BytesIO()
    write_arrow(sink, table.schema, [table], facts, arrow=arrow)
    return sink.getvalue()


def write_arrow(
    sink: BinaryIO,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    facts: Mapping[str, Any],
    *,
    arrow: str | None = pa.cpp_version,
) -> None:
    """As `encode_arrow`, piece by piece: the tables are those of `row_groups`, or all in one."""
    with pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        write_statistics=True,
        use_dictionary=True,
        write_page_checksum=True,
        store_schema=False,  # the types survive without it, and it would add a second, opaque metadata key
    ) as writer:
        for table in tables:  # the bytes must not depend on how a table was put together
            writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)
        facts = {"format": FORMAT, **({WRITER: arrow} if arrow else {}), **facts}
        writer.add_key_value_metadata({METADATA_KEY: canonical_json({**facts, CHECKSUM: fingerprint(facts)})})


def decode_table(
    data: bytes, where: str = UNNAMED, *, columns: Columns | None = None, only: Collection[str] | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """The inverse of `encode_table`; IntegrityError, naming `where`, if the object is damaged or was not written by it.

    columns: those that it must have; nothing else tells of damage to a column's name or type. only: those that are decoded, if
    not all are wanted.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
        schema = file.schema_arrow
        wanted = None if only is None else [name for name in schema.names if name in only]
        table = file.read(columns=wanted, use_threads=False)
    except DAMAGED as error:
        raise damaged(where, str(error)) from error
    if columns is not None:
        fields = {column.name: column.type for column in schema}
        if lost := [name for name, kind in columns.items() if fields.get(name) != arrow_type(kind)]:
            raise damaged(where, f"it lacks column {lost[0]}, or has it with another type")
    return table.replace_schema_metadata(None), parse_facts((schema.metadata or {}).get(METADATA_KEY), where)


def decode_facts(data: bytes, where: str = UNNAMED) -> dict[str, Any]:
    """The facts of any committed table, from its footer: `data` may be the end of the object alone."""
    return parse_facts(facts_text(data, where), where)


def facts_text(data: bytes, where: str = UNNAMED) -> bytes | None:
    """The text that the footer has of the facts, unparsed: `data` may be the end of the object alone."""
    try:
        return (pq.read_metadata(io.BytesIO(data)).metadata or {}).get(METADATA_KEY)
    except DAMAGED as error:
        raise damaged(where, str(error)) from error


def writers(data: bytes, where: str = UNNAMED) -> tuple[str | None, str | None]:
    """Who wrote a table: the version of Arrow by its facts, and Parquet's own text, which has no checksum."""
    facts = parse_facts(facts_text(data, where), where, keep_writer=True)
    try:
        return facts.get(WRITER), pq.read_metadata(io.BytesIO(data)).created_by
    except DAMAGED as error:
        raise damaged(where, str(error)) from error


def quick_text(data: bytes) -> bytes | None:
    """As `facts_text`, without a look at the rest of the footer, which takes far longer; None where it is not plain to see.

    What it gives is only right if `parse_facts` finds its checksum right.
    """
    footer = data[-footer_bytes(data) :] if data[-4:] == PARQUET else b""
    at = footer.rfind(TEXT_FOLLOWS)
    if at < 0:
        return None
    at += len(TEXT_FOLLOWS)
    length = shift = 0
    while at < len(footer):  # a varint: seven bits a byte, the lowest first
        length |= (footer[at] & 0x7F) << shift
        shift += 7
        at += 1
        if footer[at - 1] < 0x80:  # noqa: PLR2004
            break
    return footer[at : at + length]


def footer_bytes(end: bytes) -> int:
    """How many of a table's last bytes `decode_facts` needs, by its last 8."""
    return int.from_bytes(end[-8:-4], "little") + 8


def arrow_schema(columns: Columns) -> pa.Schema:
    """The Arrow schema of these columns; every column may be null."""
    return pa.schema([pa.field(name, arrow_type(kind)) for name, kind in columns.items()])


def arrow_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type of a column."""
    item = ARROW[kind.scalar]
    return pa.list_(pa.field("element", item)) if kind.is_list else item


def table_columns(schema: pa.Schema) -> dict[str, ColumnType]:
    """The columns of a decoded table, in order."""
    return {column.name: _column_type(column.type) for column in schema}


def _column_type(kind: pa.DataType) -> ColumnType:
    is_list = pa.types.is_list(kind)
    item = kind.value_type if is_list else kind
    for scalar, arrow in ARROW.items():
        if item.equals(arrow):
            return ColumnType(scalar, is_list=is_list)
    raise IntegrityError(f"a rows object has no columns of type {kind}: it was not written by shardpipe")


def _array(name: str, kind: ColumnType, rows: Sequence[Row]) -> pa.Array:
    """One column, each value checked."""
    values: list[Any] = []
    for row in rows:
        try:
            values.append(check_value(name, kind, row.get(name)))
        except StageError as error:
            raise StageError(f"{_which(row, rows)}: {error}") from error
    return pa.array(values, arrow_type(kind))


def _refuse_unknown(columns: Columns, rows: Iterable[Row]) -> None:
    known = columns.keys()
    for row in rows:
        if row.keys() - known:
            extra = ", ".join(sorted(row.keys() - known))
            raise StageError(f"row {row.get('key', '')}: unknown column {extra}; the schema has {', '.join(known)}")


def _which(row: Row, rows: Sequence[Row]) -> str:
    """How a message names a row: by its key, else by its place."""
    return f"row {row['key']}" if row.get("key") else f"row {next(i for i, other in enumerate(rows) if other is row)}"


def damaged(where: str, reason: str) -> IntegrityError:
    """What is said of an object that cannot be decoded."""
    return IntegrityError(
        f"{where} is damaged or cut short ({' '.join(reason.split())}): restore it; `shardpipe verify` tells what else is"
    )


def parse_facts(text: bytes | None, where: str, *, keep_writer: bool = False) -> dict[str, Any]:
    """What a footer's text says, checked by the checksum in it. keep_writer: also who wrote the file."""
    if text is None:
        raise IntegrityError(f"{where} was not written by shardpipe: its metadata is missing")
    try:
        facts: dict[str, Any] = json.loads(text)
        is_whole = _is_whole(text, facts.pop(CHECKSUM), facts)  # pages have checksums of their own, the footer has none
        found = facts.pop("format")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise damaged(where, f"its metadata: {error}") from error
    if not is_whole:
        raise damaged(where, "the checksum of its metadata does not fit")
    if not keep_writer:
        facts.pop(WRITER, None)
    if found != FORMAT:
        raise IntegrityError(f"{where} has another format than {FORMAT}: use the shardpipe version that wrote it")
    return facts


def _is_whole(text: bytes, checksum: str, facts: Mapping[str, Any]) -> bool:
    """Whether the checksum is that of the rest; without encoding it anew where the text is canonical, as all that we write is."""
    rest = text.replace(f'"{CHECKSUM}":"{checksum}",'.encode(), b"", 1)
    return sha256_hex(rest) == checksum or fingerprint(facts) == checksum


def _rows_meta(facts: dict[str, Any], where: str) -> RowsMeta:
    try:
        refs = {name: TarRef(**facts[name]) if facts[name] else None for name in ("tar", "members_tar")}
        return RowsMeta(**{**facts, **refs})
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{where} has not the metadata of a rows object: {error}") from error

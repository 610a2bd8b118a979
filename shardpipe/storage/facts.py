"""What rows objects say of themselves, in few bytes: for commands that look at all of a Dataset and at no row.

A summary of them may lie under `_run/`. It is derived and disposable: an entry counts only for an object that is listed with the
path, size and version that it was read under, whatever else it says. Rows are the truth, deleting it costs time alone.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.storage.rows import DAMAGED, decode_facts, facts_text, footer_bytes, parse_facts
from shardpipe.storage.store import RUN, Entry, Store

DROPPED, DROPPED_S = "dropped: ", "dropped_s: "
"""With a reason behind, the counts in a footer of clips that were dropped for it, and of their seconds."""

WHOLE_BYTES = 1 << 18
"""Objects up to this size are read whole, so that their sha256 is known too; of larger ones the end alone, if it is not needed."""

END_BYTES = 1 << 16
HEX = 64  # digits of a sha256
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("version", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("facts", pa.binary()),
    ]
)


class Found(NamedTuple):
    """An object as it was read: how the listing showed it, its sha256 (None if only its end was read), its footer's text."""

    path: str
    entry: Entry
    sha256: str | None
    text: bytes


@dataclass(frozen=True, slots=True)
class RowsFacts:
    """What is known of one rows object. lost: (reason, clips, seconds) of those dropped. made_from: path, sha256, path, ..."""

    version: str
    sha256: str | None
    fingerprint: str
    made_from: tuple[str, ...]
    num_seen: int
    num_kept: int
    num_failed: int
    seen_s: float
    kept_s: float
    lost: tuple[tuple[str, int, float], ...]
    num_tar_bytes: int

    @property
    def inputs(self) -> Mapping[str, str]:
        """sha256 of each rows object that it was made from, by path, as `RowsMeta.inputs`."""
        return dict(zip(self.made_from[::2], self.made_from[1::2], strict=True))

    @staticmethod
    def of(found: Found, where: str, shared: dict[str, str]) -> "RowsFacts":
        """Out of a footer's text; `shared`: strings that many objects have in common, each held once."""
        facts = parse_facts(found.text, where)
        try:
            counts: Mapping[str, Any] = facts["counts"]
            return RowsFacts(
                found.entry.version,
                found.sha256,
                shared.setdefault(facts["fingerprint"], facts["fingerprint"]),
                tuple(part for pair in facts["inputs"].items() for part in pair),
                int(counts["seen"]),
                int(counts["kept"]),
                int(counts["failed"]),
                float(counts["seen_s"]),
                float(counts["kept_s"]),
                tuple(_lost(counts, shared)),
                int(facts["tar"]["num_bytes"]) if facts["tar"] else 0,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{where} has not the metadata of a rows object: {error!r}") from error


def _lost(counts: Mapping[str, Any], shared: dict[str, str]) -> Iterable[tuple[str, int, float]]:
    for name, number in counts.items():
        if name.startswith(DROPPED):
            reason = name.removeprefix(DROPPED)
            yield shared.setdefault(reason, reason), int(number), float(counts[f"{DROPPED_S}{reason}"])


def read_found(store: Store, path: str, entry: Entry, *, hashed: bool) -> Found:
    """Read one object, whole (`hashed`, or if it is small) or its end alone; FileNotFoundError if it is gone."""
    where = f"{store.url}/{path}"
    sha256 = None
    if hashed or entry.size <= WHOLE_BYTES:
        data = store.read(path)
        sha256 = sha256_hex(data)
    else:
        data = read_end(store, path, entry.size)
    text = facts_text(data, where)
    if text is None:
        decode_facts(data, where)  # says what is missing
    assert text is not None
    return Found(path, entry, sha256, text)


def read_end(store: Store, path: str, size: int) -> bytes:
    """The end of a committed table of `size` bytes, as much as its footer has."""
    num_bytes = min(size, END_BYTES)
    end = store.read_range(path, size - num_bytes, num_bytes)
    if num_bytes < (needed := min(size, footer_bytes(end))):
        end = store.read_range(path, size - needed, needed)
    return end


def summary_path(folder: str) -> str:
    """Where the summary of the rows objects in `folder` (`score/rows`) lies."""
    return f"{RUN}/{folder}.known"


def encode_summary(found: Sequence[Found], earlier: pa.Table | None = None) -> bytes:
    """A summary: these objects, and the rows of an earlier summary. Its first line is the sha256 of all that follows."""
    columns = [
        [each.path for each in found],
        [each.entry.size for each in found],
        [each.entry.version for each in found],
        [each.sha256 for each in found],
        [each.text for each in found],
    ]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    sink = io.BytesIO()
    tables = [table] if earlier is None else [earlier, table]
    pq.write_table(pa.concat_tables(tables), sink, compression="zstd", store_schema=False)
    body = sink.getvalue()
    return f"{sha256_hex(body)}\n".encode() + body


def decode_summary(data: bytes) -> pa.Table:
    """The rows of a summary; none of one that is damaged or something else: it is only worth time."""
    body = data[HEX + 1 :]
    try:
        if data[: HEX + 1] == f"{sha256_hex(body)}\n".encode():
            table = pq.read_table(io.BytesIO(body), use_threads=False)
            if table.schema.equals(SCHEMA):
                return table
    except DAMAGED:
        pass
    return SCHEMA.empty_table()


def still_there(table: pa.Table, listed: Mapping[str, Entry]) -> pa.Table:
    """The rows of a summary whose objects are listed just as they were when they were read."""
    names = ("path", "size", "version")
    mask = [
        listed.get(path) == Entry(size, version)
        for path, size, version in zip(*(table.column(name).to_pylist() for name in names), strict=True)
    ]
    return table.filter(pa.array(mask, pa.bool_()))


def in_summary(table: pa.Table, take: Callable[[Found], None]) -> None:
    """Give each row of a summary to `take`."""
    for batch in table.to_batches(max_chunksize=4096):
        for path, size, version, sha256, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            take(Found(path, Entry(size, version), sha256, text))

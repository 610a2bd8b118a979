"""What rows objects say of themselves, in few bytes: for commands that look at all of a Dataset and at no row.

A summary of them may lie under `_run/`. It is derived and disposable: an entry counts only for an object that is listed with the
path, size and version that it was read under, whatever else it says. Rows are the truth, deleting it costs time alone.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.storage.rows import DAMAGED, facts_text, footer_bytes, parse_facts, quick_text
from shardpipe.storage.store import RUN, Entry, Store

DROPPED, DROPPED_S = "dropped: ", "dropped_s: "
"""With a reason behind, the counts in a footer of clips that were dropped for it, and of their seconds."""

WHOLE_BYTES = 1 << 18
"""Objects up to this size are read whole, so that their sha256 is known too; of larger ones the end alone, if it is not needed."""

END_BYTES = 1 << 16
HEX = 64  # digits of a sha256
BATCH = 4096  # objects of a summary that are looked at in one go
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
    """What is known of one rows object. sha256: what it is known by (`RowsMeta.original`). lost: (reason, clips, seconds) of those dropped. made_from: path, sha256, path, ..."""

    path: str
    entry: Entry
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

    def is_of(self, inputs: Mapping[str, str]) -> bool:
        """Whether all that it was made from is in `inputs`, with the same sha256."""
        return all(
            inputs.get(path) == sha256 for path, sha256 in zip(self.made_from[::2], self.made_from[1::2], strict=True)
        )


class FactsBook:
    """The facts of many rows objects by path. Strings that they have in common are held once."""

    def __init__(self) -> None:
        self._facts: dict[str, RowsFacts] = {}
        self._words: dict[str, str] = {}

    def get(self, path: str, listed: Mapping[str, Entry]) -> RowsFacts | None:
        """What is known of an object as it is listed now."""
        found = self._facts.get(path)
        return found if found is not None and found.entry == listed.get(path) else None

    def add(self, path: str, entry: Entry, sha256: str | None, facts: Mapping[str, Any], where: str) -> None:
        """Learn what a footer says; IntegrityError, naming `where`, if that is not what a rows object says."""
        try:
            counts: Mapping[str, Any] = facts["counts"]
            self._facts[path] = RowsFacts(
                path,
                entry,
                facts.get("original") or sha256,
                self._words.setdefault(facts["fingerprint"], facts["fingerprint"]),
                tuple(part for pair in facts["inputs"].items() for part in self._shared(*pair)),
                int(counts["seen"]),
                int(counts["kept"]),
                int(counts["failed"]),
                float(counts["seen_s"]),
                float(counts["kept_s"]),
                tuple(self._lost(counts)),
                int(facts["tar"]["num_bytes"]) if facts["tar"] else 0,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise IntegrityError(f"{where} has not the metadata of a rows object: {error!r}") from error

    def _shared(self, path: str, sha256: str) -> tuple[str, str]:
        known = self._facts.get(path)
        return (known.path, known.sha256) if known is not None and known.sha256 == sha256 else (path, sha256)

    def _lost(self, counts: Mapping[str, Any]) -> Iterable[tuple[str, int, float]]:
        for name, number in counts.items():
            if name.startswith(DROPPED):
                reason = name.removeprefix(DROPPED)
                yield self._words.setdefault(reason, reason), int(number), float(counts[f"{DROPPED_S}{reason}"])


def read_found(store: Store, path: str, entry: Entry, *, hashed: bool) -> tuple[Found, Mapping[str, Any]]:
    """Read one object, whole (`hashed`, or if it is small) or its end alone, and what it says; FileNotFoundError if it is gone."""
    where = f"{store.url}/{path}"
    is_whole = hashed or entry.size <= WHOLE_BYTES
    data = store.read(path) if is_whole else read_end(store, path, entry.size)
    sha256 = sha256_hex(data) if is_whole else None
    text = quick_text(data)
    try:
        facts = parse_facts(text, where)
    except IntegrityError:
        text = facts_text(data, where)
        facts = parse_facts(text, where)
    assert text is not None
    return Found(path, entry, sha256, text), facts


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


def encode_summary(found: Sequence[Found], earlier: Iterable[pa.RecordBatch] = ()) -> bytes:
    """A summary: of these objects, and what an earlier one has. Its first line is the sha256 of all that follows."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", use_dictionary=False, store_schema=False) as writer:
        for batch in earlier:
            writer.write_batch(batch)
        for start in range(0, len(found), BATCH):
            rows = ((each.path, *each.entry, each.sha256, each.text) for each in found[start : start + BATCH])
            columns = zip(zip(*rows, strict=True), SCHEMA.types, strict=True)
            writer.write_batch(pa.record_batch([pa.array(values, kind) for values, kind in columns], schema=SCHEMA))
    body = sink.getvalue()
    return f"{sha256_hex(body)}\n".encode() + body


def decode_summary(data: bytes) -> Iterator[pa.RecordBatch]:
    """The rows of a summary, some at a time; none of one that is damaged or something else: it is only worth time."""
    body = memoryview(data)[HEX + 1 :]
    if data[: HEX + 1] != f"{sha256_hex(body)}\n".encode():
        return
    with suppress(*DAMAGED), pq.ParquetFile(pa.BufferReader(body)) as file:
        if file.schema_arrow.equals(SCHEMA):
            yield from file.iter_batches(BATCH, use_threads=False)


def still_there(batches: Iterable[pa.RecordBatch], listed: Mapping[str, Entry]) -> Iterator[pa.RecordBatch]:
    """Of the rows of a summary those whose objects are listed just as they were when they were read."""
    for batch in batches:
        paths, sizes, versions = (batch.column(i).to_pylist() for i in range(3))
        mask = [listed.get(path) == entry for path, entry in zip(paths, map(Entry, sizes, versions), strict=True)]
        yield batch.filter(pa.array(mask, pa.bool_()))


def in_summary(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, Entry, str | None, Mapping[str, Any]]]:
    """Of the rows of a summary: path, entry, sha256, and what the footer says; those whose text is no JSON are left out."""
    for batch in batches:
        paths, sizes, versions, hashes, texts = (column.to_pylist() for column in batch.columns)
        try:
            said = json.loads(b"[%s]" % b",".join(texts))
        except (ValueError, TypeError, RecursionError):
            continue
        if len(said) == len(paths):
            yield from zip(paths, map(Entry, sizes, versions), hashes, said, strict=True)

"""The list of what is taken down: clips by key, videos by url. It is written before any byte is removed, and every fold obeys it.

    removed.parquet  removed.0001.parquet  ...      at the root: a batch each, created if absent in the order of numbers, never replaced

Readers ask for the next number directly, so that a stale listing hides nothing; who begins asks for those behind it too, since a
batch that is lost would end the list there. Rows that were committed stay as they are: what
reads them masks the removed clips (`masked`).
"""

import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shardpipe.core.clip import video_id
from shardpipe.core.columns import Columns, string
from shardpipe.core.errors import IntegrityError
from shardpipe.storage.rows import decode_table, encode_table
from shardpipe.storage.store import Store

REMOVED = "removed"
"""What `dropped_by` says of a removed clip."""

COLUMNS: Columns = {"key": string, "source": string}
AHEAD = 3
"""Numbers behind the last batch that are asked for, once: one that is there tells that others are lost."""

STAYS = frozenset({"key", "video_id", "source"})


class Entry(NamedTuple):
    """One line of the list: a clip (`source` is its video's url, None where it is not known), or, without key, a whole video."""

    key: str | None
    source: str | None


@dataclass(frozen=True)
class Batch:
    """What one object of the list adds."""

    path: str
    entries: tuple[Entry, ...]


class Removed:
    """The list as far as it was read; grows by `refresh`. Without a store it is empty. IntegrityError if a batch of it is lost, unless
    `with_gaps`: then it ends before that.
    """

    def __init__(self, store: Store | None = None, *, also: Iterable[Entry] = (), with_gaps: bool = False) -> None:
        self._store = store
        self.batches: list[Batch] = []
        self.keys: set[str] = set()
        self.sources: set[str] = set()
        self._videos: set[str] = set()
        self.take(also)
        self.refresh()
        if not with_gaps:
            self._refuse_gap()

    def __bool__(self) -> bool:
        return bool(self.keys or self.sources)

    @property
    def version(self) -> int:
        """Changes when the list has grown."""
        return len(self.batches)

    @property
    def entries(self) -> set[Entry]:
        """All lines of all batches."""
        return {entry for batch in self.batches for entry in batch.entries}

    def refresh(self) -> bool:
        """Read the batches that came since, which is one cheap request where there are none; whether there were any."""
        before = len(self.batches)
        while self._store is not None:
            path = batch_path(len(self.batches))
            if self._store.size(path) is None:
                break
            self._add(path, self._store.read(path))
        return len(self.batches) > before

    def _refuse_gap(self) -> None:
        while self._store is not None:
            lost, *others = (batch_path(len(self.batches) + i) for i in range(1 + AHEAD))
            later = next((path for path in others if self._store.size(path) is not None), None)
            if later is None:
                return
            if not self.refresh():  # they are written in order: what came meanwhile came after the one before it
                raise IntegrityError(
                    f"{self._store.url}/{lost} is missing, but {later} is there: clips that were removed would come back; "
                    "restore it (copies of the root have it too)"
                )

    def has(self, key: str, source: str | None = None) -> bool:
        """Whether a clip is removed: by its key, or with its video, whose id its key begins with. source: its url, if at hand."""
        if key in self.keys or source in self.sources:
            return True
        return bool(self._videos) and (key in self._videos or key.rpartition("_")[0] in self._videos)

    def mask(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row as it counts: `masked` if its clip is removed."""
        return masked(row) if self.has(row["key"], row.get("source")) else dict(row)

    def of(self, keys: Iterable[str]) -> list[str]:
        """Those of these keys that are removed."""
        return [key for key in keys if self.has(key)]

    def append(self, entries: Collection[Entry]) -> None:
        """Write one batch more, after those that others wrote meanwhile."""
        assert self._store is not None
        while True:
            self.refresh()
            data = encode_batch(entries, len(self.batches))
            path = batch_path(len(self.batches))
            there = self._store.create(path, data)
            self._add(path, there)
            if there == data:
                return

    def _add(self, path: str, data: bytes) -> None:
        entries = decode_batch(data, path, len(self.batches))
        self.take(entries)
        self.batches.append(Batch(path, entries))

    def take(self, entries: Iterable[Entry]) -> None:
        """Obey these lines too, which no batch has."""
        for entry in entries:
            if entry.key is not None:
                self.keys.add(entry.key)
            elif entry.source is not None:
                self._videos.add(video_id(entry.source))
                self.sources.add(entry.source)


def batch_path(number: int) -> str:
    """Where a batch of the list lies."""
    return f"removed.{number:04d}.parquet" if number else "removed.parquet"


def encode_batch(entries: Iterable[Entry], number: int) -> bytes:
    """The bytes of batch `number`."""
    rows = sorted(set(entries), key=lambda entry: (entry.key or "", entry.source or ""))
    return encode_table(COLUMNS, [entry._asdict() for entry in rows], {"batch": number})


def decode_batch(data: bytes, path: str, number: int) -> tuple[Entry, ...]:
    """The inverse; IntegrityError if it is damaged, or another batch."""
    table, facts = decode_table(data, path, columns=COLUMNS)
    if facts.get("batch") != number:
        raise IntegrityError(f"{path} is batch {facts.get('batch')} of the removed clips: restore that object")
    return tuple(Entry(row["key"], row["source"]) for row in table.to_pylist())


def masked(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of the row of a removed clip: whose it was, and that it is not kept. No media, no members, no error."""
    found = {name: value if name in STAYS else None for name, value in row.items()}
    if "members" in row:
        found["members"] = {}
    return {**found, "kept": False, "dropped_by": REMOVED, "error": None}


def overwrite(store: Store, path: str, data: bytes) -> None:
    """Put these bytes in place of a committed object: only for what is without a removed clip then."""
    folder = store.scratch()
    try:
        local = folder / "object"
        local.write_bytes(data)
        store.overwrite(path, local)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""A Dataset opened for reading: rows as Arrow, clips and folded sidecars by key. What `open_dataset` gives."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from shardpipe.core.clip import STATE
from shardpipe.core.columns import ColumnType
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.emission.index import is_whole
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.known import Known
from shardpipe.engine.ledger import Ledger
from shardpipe.storage.dataset import Dataset, Row, View
from shardpipe.storage.members import read_member
from shardpipe.storage.removed import REMOVED
from shardpipe.storage.rows import arrow_schema, arrow_type
from shardpipe.storage.store import open_store

MEDIA = "mp4"


def split_url(url: str) -> tuple[str, str]:
    """(root, name) of a Dataset's folder or URL; raises ConfigError where it has no folder above it."""
    root, slash, name = url.rstrip("/").rpartition("/")
    if not name or (slash and not root) or root.endswith((":/", ":")):
        raise ConfigError(f"{url!r} names no Dataset: give its folder under the root, as in ROOT/train")
    return root or ".", name


def open_dataset(url: str) -> "OpenDataset":
    """The Dataset at `url`, a folder or any fsspec URL, for reading; raises IncompleteError if there is none."""
    root, name = split_url(url)
    return OpenDataset(Dataset.open(open_store(root, read_only=True), name))


class OpenDataset:
    """A Dataset as its next pass would see it: one row a clip, all layers folded, dropped clips too.

    Units without rows yet are left out of everything here; `is_complete` says whether there are any.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def name(self) -> str:
        """Its folder under the root."""
        return self.dataset.name

    @cached_property
    def columns(self) -> dict[str, ColumnType]:
        """The data columns that clips have: those of `cut` in their own order, then each layer's."""
        return self._view.columns()

    @cached_property
    def is_complete(self) -> bool:
        """Whether every unit has rows in every layer; of an emitted Dataset, whether its index covers all planned shards."""
        if self.dataset.info.emit == "shards":
            return is_whole(self.dataset.store, self.name)
        ledger = Ledger(Known(self.dataset.store), self._view.layers)
        ledger.read_base()
        for layer in ledger.layers:
            ledger.read(layer, ledger.units, hashed=True)
        return bool(ledger.units) and all(ledger.made_from(unit, ledger.layers) for unit in ledger.units)

    def units(self) -> Iterator[tuple[str, list[Row]]]:
        """Each unit that is done, and the folded rows of its clips."""
        for unit in self._view.units():
            try:
                fold = self._view.fold(unit)
            except IncompleteError:
                continue
            yield unit, fold.rows

    def rows(self, *, kept_only: bool = False) -> Iterator[Row]:
        """The folded row of each clip: data columns, `kept`, `dropped_by`, `error`, where the media lies."""
        for _, rows in self.units():
            yield from (row for row in rows if row["kept"] or not kept_only)

    def to_arrow(self, columns: Sequence[str] | None = None, *, kept_only: bool = False) -> pa.Table:
        """The rows as one Arrow table: the data columns (or those named), then `kept`, `dropped_by`, `error`."""
        wanted = list(columns) if columns is not None else [*self.columns, *STATE]
        kinds = {**self.columns, **STATE}
        if unknown := [name for name in wanted if name not in kinds]:
            raise ConfigError(f"{self.name} has no column {', '.join(unknown)}; there are: {', '.join(kinds)}")
        schema = arrow_schema({name: kinds[name] for name in wanted})
        tables = []
        for _, rows in self.units():
            chosen = [row for row in rows if row["kept"] or not kept_only]
            arrays = [pa.array([row[name] for row in chosen], arrow_type(kinds[name])) for name in wanted]
            tables.append(pa.table(arrays, schema=schema))
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def row(self, key: str) -> Row:
        """The folded row of one clip; raises KeyError if it has none."""
        for row in self.rows():
            if row["key"] == key:
                return row
        raise KeyError(f"{self.dataset.store.url}/{self.name} has no clip {key!r}")

    def sidecar(self, key: str) -> dict[str, Any]:
        """The folded sidecar of one clip: every data column, missing values as None."""
        return self.sidecar_of(self.row(key))

    def sidecar_of(self, row: Row) -> dict[str, Any]:
        """The sidecar in a folded row: its data columns as `emit` writes them, without state and location."""
        found: dict[str, Any] = json.loads(sidecar(row, self.columns))
        return found

    def clip(self, key: str) -> bytes:
        """The mp4 of one clip, checked by its sha256; raises KeyError if the clip is not there or has no media."""
        row = self.row(key)
        if row.get("shard") is None:
            reason = "it was removed" if row["dropped_by"] == REMOVED else row["error"] or "nothing was written"
            raise KeyError(f"clip {key!r} has no media: {reason}")
        data = self.dataset.store.read_range(row["shard"], row["offset"], row["size"])
        if sha256_hex(data) != row["sha256"]:
            raise IntegrityError(
                f"{self.dataset.store.url}/{row['shard']}: clip {key} has another sha256 than its row says"
            )
        return data

    def member(self, key: str, ext: str) -> bytes:
        """The bytes of one clip's member `KEY.<ext>` that a stage wrote; raises KeyError if there is none."""
        if ext == MEDIA:
            return self.clip(key)
        members = self.row(key)["members"]
        if ext not in members:
            raise KeyError(f"clip {key!r} has no member .{ext}; it has: {', '.join(sorted(members)) or 'none'}")
        return read_member(self.dataset.store, members[ext])

    @cached_property
    def _view(self) -> View:
        return self.dataset.next_view()

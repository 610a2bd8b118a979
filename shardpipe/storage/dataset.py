"""A Dataset: `dataset.json`, its layers, and the fold of their rows.

    base layer    rows of `cut` (ROOT/clips/rows/), or the records of an emitted Dataset (ROOT/train/emit/)
    other layers  rows of passes since (ROOT/score/rows/), aligned with the base by unit name and key

A layer's rows count only if every rows object that they were made from still has the sha256 they recorded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shardpipe.core.columns import Columns, ColumnType
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import canonical_json, sha256_hex
from shardpipe.core.fingerprint import fingerprint as digest
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.members import PARTS, MemberPlace
from shardpipe.storage.rows import RowsMeta, decode_rows, decode_table
from shardpipe.storage.store import Store

FORMAT = 1
CHECKSUM = "checksum"
Row = dict[str, Any]
MEMBER_OFFSET = re.compile(r"member_(.+)_offset\Z")
MADE = ("json", "mp4", "txt")  # the members that emit makes from columns and media
STATE_NAMES = ("kept", "dropped_by", "error")


class DatasetInfo(BaseModel):
    """What `dataset.json` holds. `identity` is what the fingerprint hashes; layout fields (`unit_clips`) are not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    name: str
    kind: Literal["cut", "pass"]
    emit: Literal["rows", "shards"]
    fingerprint: str
    identity: dict[str, Any]
    layers: list[str]
    """Prefixes relative to this Dataset, base first, itself ("." ) last."""
    columns: dict[str, str]
    """The data columns that this layer writes: name to type."""
    members: dict[str, str] = {}
    """The members that this layer writes: column-like name to file extension."""
    unit_clips: int | None = None
    """Clips a slice of a unit; None: a unit is not sliced."""
    versions: dict[str, str] = {}
    """Of shardpipe and of the libraries that results depend on: lineage, no part of the fingerprint."""

    def to_bytes(self) -> bytes:
        """Canonical JSON, with a checksum of it."""
        fields = self.model_dump(mode="json")
        return canonical_json({**fields, CHECKSUM: digest(fields)})

    @staticmethod
    def from_bytes(data: bytes, where: str) -> "DatasetInfo":
        """The inverse; IntegrityError, naming `where`, if a byte of it has changed."""
        try:
            fields = json.loads(data)
            if fields.pop(CHECKSUM) == digest(fields):
                return DatasetInfo.model_validate(fields)
        except (ValueError, KeyError, AttributeError):  # a ValidationError is a ValueError
            pass
        raise IntegrityError(f"{where} is damaged, or of another format than {FORMAT}: restore it")

    @property
    def typed_columns(self) -> dict[str, ColumnType]:
        """`columns` with parsed types."""
        return {name: ColumnType.parse(text) for name, text in self.columns.items()}


@dataclass(frozen=True)
class Fold:
    """The folded rows of one unit.

    rows: one dict a clip of the base, in its order: every data column (None where no layer gave it), `kept`,
    `dropped_by`, `error`, then `shard` (relative to the root), `offset`, `size` of its mp4, and `members`:
    extension to MemberPlace.
    inputs: path (relative to the root) to sha256 of each rows object that was read.
    """

    unit: str
    rows: list[Row]
    inputs: dict[str, str]


@dataclass(frozen=True)
class LayerRows:
    """One layer's rows of one unit, as committed."""

    paths: tuple[str, ...]
    sha256s: tuple[str, ...]
    metas: tuple[RowsMeta, ...]
    rows: list[Row] = field(repr=False)


@dataclass(frozen=True)
class Layer:
    """One layer of a view: `form` says where its rows lie (`rows/` of a pass or of cut, `emit/` of an emitted Dataset)."""

    store: Store
    info: DatasetInfo
    form: Literal["rows", "emit"]

    @property
    def name(self) -> str:
        """The Dataset's folder under the root."""
        return self.info.name

    @cached_property
    def log(self) -> RowsLog:
        """Its committed rows."""
        return RowsLog(self.store, self.name, folder=self.form)

    def slices(self, unit: str, num_clips: int) -> list[str]:
        """The names under which this layer commits a unit of `num_clips` clips."""
        if self.form == "emit" or self.info.unit_clips is None:
            return [unit]
        count = max(1, -(-num_clips // self.info.unit_clips))
        return [f"{unit}-{i:02d}" for i in range(count)]

    def read(self, names: list[str], done: Mapping[str, str]) -> LayerRows | None:
        """The committed rows of these slices, None unless all are there."""
        if any(name not in done for name in names):
            return None
        paths = tuple(done[name] for name in names)
        blobs = [self.store.read(path) for path in paths]
        tables, metas = zip(*(decode_rows(blob) for blob in blobs), strict=True)
        for path, meta in zip(paths, metas, strict=True):
            if self.form == "rows" and meta.fingerprint != self.info.fingerprint:
                raise IntegrityError(
                    f"{self.store.url}/{path} was made by another configuration (fingerprint {meta.fingerprint[:12]}, "
                    f"dataset.json says {self.info.fingerprint[:12]}): run `shardpipe verify`"
                )
        rows: list[Row] = []
        for table, meta in zip(tables, metas, strict=True):
            rows += [self._located(row, meta) for row in table.to_pylist()]
        return LayerRows(paths, tuple(sha256_hex(blob) for blob in blobs), tuple(metas), rows)

    def member_extensions(self, done: Mapping[str, str]) -> list[str]:
        """The members that it gives to the next pass: those that its stages wrote, or that its shards hold."""
        if self.form == "rows":
            return list(self.info.members.values())
        for path in done.values():  # all records have the same columns
            names = dict.fromkeys(decode_rows(self.store.read(path))[0].column_names)
            return [ext for ext in self._member_names(names).values() if ext not in MADE]
        return []

    def _located(self, row: Row, meta: RowsMeta) -> Row:
        """`row` with its media's place relative to the root, and its members gathered under one name."""
        if row.get("shard") is not None:
            row["shard"] = f"{self.name}/{row['shard']}"
        members = {}
        for name, ext in self._member_names(row).items():
            offset, size, sha256 = (row.pop(f"member_{name}_{part}") for part in PARTS)
            if offset is not None and meta.members_tar is not None:
                members[ext] = MemberPlace(f"{self.name}/{meta.members_tar.name}", offset, size, sha256)
        row["members"] = members
        return row

    def _member_names(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The members that `row` may have, name to extension: a record of an emitted shard calls them by extension."""
        if self.form == "rows":
            return self.info.members
        return {match[1]: match[1] for name in row if (match := MEMBER_OFFSET.match(name))}


class View:
    """Layers over one base, as one table a unit. Listings are taken at construction and by `refresh`."""

    def __init__(self, store: Store, layers: list[Layer]) -> None:
        self.store = store
        self.layers = layers
        self._done: dict[str, dict[str, str]] = {}
        self.refresh()

    def refresh(self) -> None:
        """List again which rows each layer has."""
        self._done = {layer.name: layer.log.done() for layer in self.layers}

    @property
    def base(self) -> Layer:
        """The layer that has the media."""
        return self.layers[0]

    def units(self) -> list[str]:
        """The base's unit names in order, whether done or not."""
        return unit_list(self.store, self.base)

    def columns(self) -> dict[str, ColumnType]:
        """The folded data columns, in layer order."""
        found: dict[str, ColumnType] = {}
        for layer in self.layers:
            found |= layer.info.typed_columns
        return found

    def members(self) -> dict[str, str]:
        """Member extension to the layer that has it; an emitted Dataset's json and txt are not counted."""
        return {ext: layer.name for layer in self.layers for ext in layer.member_extensions(self._done[layer.name])}

    def is_done(self, unit: str) -> bool:
        """Whether every layer has rows of this unit and none is stale (reads them)."""
        try:
            self.fold(unit)
        except IncompleteError:
            return False
        return True

    def listed(self, unit: str) -> bool:
        """Whether the listings show rows of this unit in every layer (a slice counts for its unit): cheap, no proof."""
        for layer in self.layers:
            done = self._done[layer.name]
            if unit not in done and f"{unit}-00" not in done:
                return False
        return True

    def done_of(self, layer: Layer) -> Mapping[str, str]:
        """The units (or slices) of one of its layers that the listing showed, each to the path of its rows."""
        return self._done[layer.name]

    def num_clips(self, unit: str) -> int:
        """How many clips the base has in this unit."""
        base = self.base.read([unit], self._done[self.base.name])
        if base is None:
            raise IncompleteError(f"{self.store.url}/{self.base.name} has no rows of unit {unit} yet")
        return len(base.rows)

    def fold(self, unit: str) -> Fold:
        """The folded rows; raises IncompleteError where a layer has none yet, or has rows of inputs that changed since."""
        base = self.base.read([unit], self._done[self.base.name])
        if base is None:
            raise IncompleteError(f"{self.store.url}/{self.base.name} has no rows of unit {unit} yet")
        inputs = dict(zip(base.paths, base.sha256s, strict=True))
        rows = base.rows
        by_key = {row["key"]: row for row in rows}
        if len(by_key) != len(rows):
            raise IntegrityError(f"{self.store.url}/{base.paths[0]} has a key twice: run `shardpipe verify`")
        for layer in self.layers[1:]:
            part = layer.read(layer.slices(unit, len(rows)), self._done[layer.name])
            if part is None:
                raise IncompleteError(f"{self.store.url}/{layer.name} has no rows of unit {unit} yet")
            check_inputs(self.store, part, inputs)
            self._merge(part, by_key)
            inputs |= dict(zip(part.paths, part.sha256s, strict=True))
        return Fold(unit, self._completed(rows), inputs)

    def _merge(self, part: LayerRows, by_key: dict[str, Row]) -> None:
        for got in part.rows:
            row = by_key.get(got["key"])
            if row is None:
                raise IntegrityError(f"{self.store.url}/{part.paths[0]} has key {got['key']}, which its base has not")
            state = {name: got.pop(name) for name in STATE_NAMES}
            members = got.pop("members")
            row.update(got)
            row["members"].update(members)
            row["kept"] = row["kept"] and state["kept"]
            row["dropped_by"] = row["dropped_by"] or state["dropped_by"]
            row["error"] = row["error"] or state["error"]

    def _completed(self, rows: list[Row]) -> list[Row]:
        empty = dict.fromkeys(self.columns())
        return [{**empty, **row} for row in rows]


def check_inputs(store: Store, part: LayerRows, inputs: Mapping[str, str]) -> None:
    """Raise IncompleteError if `part` was made from rows that are no longer those in `inputs`."""
    for path, meta in zip(part.paths, part.metas, strict=True):
        for source, sha256 in meta.inputs.items():
            if source in inputs and inputs[source] != sha256:
                raise IncompleteError(
                    f"{store.url}/{path} was made from another {source}: unit {meta.unit} is to do again"
                )
            if source not in inputs and source.split("/", 1)[0] in {p.split("/", 1)[0] for p in inputs}:
                raise IncompleteError(
                    f"{store.url}/{path} was made from {source}, since replaced by a newer generation"
                )


def unit_list(store: Store, base: Layer) -> list[str]:
    """The units of a base layer: of the batches of sources, or of the plan's windows; in order, each once."""
    folder, column = ("plan", "unit_out") if base.form == "emit" else ("sources", "unit")
    names: dict[str, None] = {}
    for path in sorted(store.list(f"{base.name}/{folder}")):
        table, _ = decode_table(store.read(path))
        names.update(dict.fromkeys(table.column(column).to_pylist()))
    return list(names)


@dataclass(frozen=True)
class Dataset:
    """A folder of the root with a `dataset.json`."""

    store: Store
    info: DatasetInfo

    @staticmethod
    def open(store: Store, name: str) -> "Dataset":
        """The Dataset `name` of the root; raises IncompleteError if there is none."""
        try:
            data = store.read(f"{name}/dataset.json")
        except FileNotFoundError:
            raise IncompleteError(
                f"{store.url}/{name} is no Dataset (no dataset.json there): run the pass that makes it"
            ) from None
        return Dataset(store, DatasetInfo.from_bytes(data, f"{store.url}/{name}/dataset.json"))

    @property
    def name(self) -> str:
        """Its folder under the root."""
        return self.info.name

    def is_complete(self) -> bool:
        """Whether an emitted Dataset has its index; a rows Dataset is complete when its units are."""
        return self.info.emit == "rows" or self.store.size(f"{self.name}/index.parquet") is not None

    def pass_layers(self) -> list[Layer]:
        """The layers whose rows this Dataset's own pass made and read: the base, then passes, itself last."""
        layers: list[Layer] = []
        for prefix in self.info.layers:
            dataset = self if prefix == "." else Dataset.open(self.store, prefix.removeprefix("../"))
            is_emitted = not layers and dataset is not self and dataset.info.emit == "shards"
            layers += dataset.next_layers() if is_emitted else [Layer(self.store, dataset.info, "rows")]
        return layers

    def pass_view(self) -> View:
        """The fold of the pass's rows over its input: what the plan is made from; units are the input's."""
        return View(self.store, self.pass_layers())

    def next_layers(self) -> list[Layer]:
        """The layers that the next pass reads: as `pass_layers`, or, once emitted, this Dataset alone as a base."""
        if self.info.kind == "pass" and self.info.emit == "shards":
            return [Layer(self.store, self._emitted_info(), "emit")]
        return self.pass_layers()

    def next_view(self) -> View:
        """The fold that the next pass, `inspect` and loaders read; an emitted Dataset must be complete."""
        if not self.is_complete():
            raise IncompleteError(
                f"{self.store.url}/{self.name} is not complete (no index.parquet): finish it with `shardpipe run`, or `shardpipe emit`"
            )
        return View(self.store, self.next_layers())

    def _emitted_info(self) -> DatasetInfo:
        """This Dataset seen as a base: its records hold every folded column."""
        columns = {name: text for layer in self.pass_layers() for name, text in layer.info.columns.items()}
        return self.info.model_copy(update={"columns": columns, "members": {}, "layers": ["."], "unit_clips": None})

    def columns(self) -> Columns:
        """The folded data columns."""
        return self.next_view().columns()

    def units(self) -> list[str]:
        """The unit names handed to the next pass, in order."""
        return self.next_view().units()

    def fold(self, unit: str) -> Fold:
        """The folded rows of one unit handed to the next pass."""
        return self.next_view().fold(unit)

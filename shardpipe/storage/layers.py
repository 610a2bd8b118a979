"""What one pass wrote: `dataset.json`, and its rows as a layer of a Dataset.

base layer    rows of `cut` (ROOT/clips/rows/), or the records of an emitted Dataset (ROOT/train/emit/)
other layers  rows of passes since (ROOT/score/rows/), aligned with the base by unit name and key
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns, ColumnType, string
from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import canonical_json, sha256_hex
from shardpipe.core.fingerprint import fingerprint as digest
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.members import PARTS, MemberPlace, member_columns
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import RowsMeta, decode_rows
from shardpipe.storage.store import Store

FORMAT = 1
CHECKSUM = "checksum"
Row = dict[str, Any]
MEMBER_OFFSET = re.compile(r"member_(.+)_offset\Z")
MADE = ("json", "mp4", "txt")  # the members that emit makes from columns and media


class UsedFile(BaseModel):
    """One file of weights that results depend on. `name`: its role, as the fingerprint names it; `url`: where it lay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    url: str
    sha256: str
    licence: str
    source: str | None = None


class UsedWeights(BaseModel):
    """What one stage of a pass loads, or how it asks a server: its place in the identity's `steps`, its whole config, its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    config: dict[str, Any]
    files: list[UsedFile]


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
    """The data columns that this layer writes, in the order of its rows: name to type."""
    members: dict[str, str] = {}
    """The members that this layer writes: column-like name to file extension."""
    unit_clips: int | None = None
    """Clips a slice of a unit; None: a unit is not sliced."""
    weights: list[UsedWeights] = []
    """Of the stages that load any, or ask a server: lineage. Their hashes are in the identity too, where they lay is not."""
    versions: dict[str, str] = {}
    """Of shardpipe and of the libraries that results depend on: lineage, no part of the fingerprint."""

    def to_bytes(self) -> bytes:
        """Canonical JSON, with a checksum of it. Columns are pairs there, since JSON's keys are sorted and they are not."""
        fields = self.model_dump(mode="json")
        fields["columns"] = [list(pair) for pair in self.columns.items()]
        return canonical_json({**fields, CHECKSUM: digest(fields)})

    @staticmethod
    def from_bytes(data: bytes, where: str) -> "DatasetInfo":
        """The inverse; IntegrityError, naming `where`, if a byte of it has changed."""
        try:
            fields = json.loads(data)
            if fields.pop(CHECKSUM) == digest(fields):
                return DatasetInfo.model_validate({**fields, "columns": dict(fields["columns"])})
        except (ValueError, TypeError, KeyError, AttributeError):  # a ValidationError is a ValueError
            pass
        raise IntegrityError(f"{where} is damaged, or of another format than {FORMAT}: restore it")

    @property
    def inputs(self) -> list[str]:
        """The Datasets whose rows it was made from."""
        return [prefix.removeprefix("../") for prefix in self.layers if prefix != "."]

    @property
    def looks_back(self) -> bool:
        """Whether the rows of a unit depend on the input's units before it too (it has a DatasetStage)."""
        return bool(self.identity.get("looks_back", False))

    @property
    def typed_columns(self) -> dict[str, ColumnType]:
        """`columns` with parsed types."""
        return {name: ColumnType.parse(text) for name, text in self.columns.items()}


@dataclass(frozen=True)
class LayerRows:
    """One layer's rows of one unit, as committed. sha256s: what they are known by (`RowsMeta.original`)."""

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

    @property
    def folder(self) -> str:
        """Where its rows lie under the root."""
        return f"{self.name}/{self.form}"

    @cached_property
    def log(self) -> RowsLog:
        """Its committed rows."""
        return RowsLog(self.store, self.name, folder=self.form)

    @cached_property
    def schema(self) -> Columns:
        """The columns that its rows objects have; a record of an emitted shard has those of its other members too."""
        own = {"key": string, **self.info.typed_columns, **STATE, **member_columns(sorted(self.info.members))}
        return {**own, **LOCATION} if self.form == "emit" or self.info.kind == "cut" else own

    @property
    def is_sliced(self) -> bool:
        """Whether it commits a unit of the base in slices."""
        return self.form == "rows" and self.info.unit_clips is not None

    def slices(self, unit: str, num_clips: int) -> list[str]:
        """The names under which this layer commits a unit of `num_clips` clips."""
        if not self.is_sliced:
            return [unit]
        assert self.info.unit_clips is not None
        count = max(1, -(-num_clips // self.info.unit_clips))
        return [f"{unit}-{i:02d}" for i in range(count)]

    def read(
        self,
        names: Sequence[str],
        done: Mapping[str, str],
        columns: Collection[str] | None = None,
        *,
        removed: Removed | None = None,
    ) -> LayerRows | None:
        """The committed rows of these slices, None unless all are there. columns: of its data only these, and no members.
        removed: these clips are masked; folds do that by themselves.
        """
        if any(name not in done for name in names):
            return None
        paths = tuple(done[name] for name in names)
        blobs = [self.store.read(path) for path in paths]
        found = zip(paths, blobs, strict=True)
        only = None if columns is None else {"key", *STATE, *columns}
        decoded = (
            decode_rows(blob, f"{self.store.url}/{path}", columns=self.schema, only=only) for path, blob in found
        )
        tables, metas = zip(*decoded, strict=True)
        for path, meta in zip(paths, metas, strict=True):
            if self.form == "rows" and meta.fingerprint != self.info.fingerprint:
                raise IntegrityError(
                    f"{self.store.url}/{path} was made by another configuration (fingerprint {meta.fingerprint[:12]}, "
                    f"dataset.json says {self.info.fingerprint[:12]}): run `shardpipe verify`"
                )
        rows: list[Row] = []
        for table, meta in zip(tables, metas, strict=True):
            plain = table.to_pylist()
            rows += [self._located(row, meta) if only is None else {**row, "members": {}} for row in plain]
        if removed:
            rows = [removed.mask(row) for row in rows]
        sha256s = tuple(meta.original or sha256_hex(blob) for blob, meta in zip(blobs, metas, strict=True))
        return LayerRows(paths, sha256s, tuple(metas), rows)

    def member_extensions(self, done: Mapping[str, str]) -> list[str]:
        """The members that it gives to the next pass: those that its stages wrote, or that its shards hold."""
        if self.form == "rows":
            return list(self.info.members.values())
        for path in done.values():  # all records have the same columns
            table, _ = decode_rows(self.store.read(path), f"{self.store.url}/{path}", columns=self.schema)
            names = dict.fromkeys(table.column_names)
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

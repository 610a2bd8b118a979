"""Checks of one Dataset's own part: `dataset.json`, batches of sources, rows, and the tars that the rows name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from shardpipe.core.columns import Columns
from shardpipe.core.fingerprint import fingerprint
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.sources.sourceplace import source_place
from shardpipe.engine.units import made_from
from shardpipe.engine.verifying.crew import Crew
from shardpipe.engine.verifying.findings import Findings
from shardpipe.engine.verifying.verifykeys import Keys
from shardpipe.engine.verifying.verifytar import Expected, TarCheck
from shardpipe.storage.commit import NAME as ROWS_NAME
from shardpipe.storage.commit import RowsLog, TarName, in_order
from shardpipe.storage.dataset import Dataset, DatasetInfo, Fold, Layer, Row, View, unit_list
from shardpipe.storage.lookback import DIGESTS
from shardpipe.storage.members import PARTS
from shardpipe.storage.removed import REMOVED
from shardpipe.storage.rows import RowsMeta, decode_meta, table_columns

SHOWN = 3


@dataclass(frozen=True)
class Newest:
    """The newest rows object of a unit: generation, path, its keys (without removed ones) as one digest, facts."""

    generation: int
    path: str
    keys: str
    meta: RowsMeta


class RowsCheck:
    """Checks the layer that one Dataset wrote."""

    def __init__(self, crew: Crew, findings: Findings, tars: TarCheck, info: DatasetInfo) -> None:
        self._crew = crew
        self._findings = findings
        self._tars = tars
        self._info = info
        self._store = findings.store
        self._name = info.name
        self._log = RowsLog(self._store, self._name)
        self._keys = Keys(self._store)
        self._removed = findings.removed
        self.newest: dict[str, Newest] = {}

    def run(self, missing: Sequence[str], planned: Mapping[str, str]) -> None:
        """Check everything. missing: the units that the plan was made without; planned: path to sha256 of the rows
        objects that it was made from.
        """
        self._dataset_json()
        if self._info.kind == "cut":
            self._sources()
        self._all_rows()
        with self._findings.guard(f"{self._name}/rows"):
            self._units(missing, planned)
        for path, key in self._keys.twice():
            self._findings.add(path, f"has key {key}, which another unit has too")

    def leftovers(self) -> Iterator[str]:
        """Tars of units that no rows name; those of other names belong to nothing in any case."""
        for folder in ("shards", "members") if self._info.kind == "cut" else ("members",):
            for path in self._findings.below(f"{self._name}/{folder}"):
                if path not in self._findings.claimed and TarName.parse(path) is not None:
                    yield path

    def _dataset_json(self) -> None:
        path, info = f"{self._name}/dataset.json", self._info
        self._findings.claimed.add(path)
        if self._store.read(path) != info.to_bytes():
            self._findings.add(path, "is damaged: not the bytes that were written")
        if info.fingerprint != fingerprint(info.identity):
            self._findings.add(path, "its fingerprint is not that of its identity")

    def _sources(self) -> None:
        paths = in_order(self._findings.below(f"{self._name}/sources"))
        if not paths:
            self._findings.add(f"{self._name}/sources", "there is no batch of sources")
        seen: set[str] = set()
        highest = -1
        for i, path in enumerate(paths):
            self._findings.claimed.add(path)
            if path != f"{self._name}/sources/{i:04d}.parquet":
                self._findings.add(path, f"is no batch of sources, or batch {i:04d} is missing")
            found = self._findings.table(path)
            with self._findings.guard(path):
                units = set(found[1].column("unit").to_pylist()) if found is not None else set()
                numbers = [int(unit) for unit in units]
                if twice := seen & units:
                    self._findings.add(path, f"has unit {min(twice)}, which an earlier batch has too")
                elif numbers and min(numbers) < highest:
                    self._findings.add(path, f"has unit {min(numbers):06d}, and an earlier batch has later ones")
                highest = max([highest, *numbers])
                seen |= units

    def _all_rows(self) -> None:
        """Each rows object by itself, with its tars; then whether a generation is missing."""
        paths = self._findings.below(f"{self._name}/rows")
        for path, found in zip(paths, self._crew.each(self._findings, paths, self._rows), strict=True):
            if found is not None:
                newest = self.newest.get(found.meta.unit)
                if newest is None or newest.generation < found.generation:
                    self.newest[found.meta.unit] = found
                    self._keys.put(found.meta.unit, path)
        for unit, newest in self.newest.items():
            for generation in range(newest.generation):
                self._findings.claim(self._log.path(unit, generation), f"{newest.path} came after it")

    def _rows(self, findings: Findings, path: str) -> Newest | None:
        """One rows object by itself, and its tars."""
        match = ROWS_NAME.match(path.removeprefix(f"{self._name}/rows/"))
        if match is None:
            return None
        findings.claimed.add(path)
        found = findings.table(path)
        if found is None:
            return None
        with findings.guard(path):
            table, meta = found[1], decode_meta(found[0])
            unit, generation = match["unit"], int(match["generation"] or 0)
            if (meta.unit, meta.generation) != (unit, generation):
                findings.add(path, f"holds the rows of unit {meta.unit}, generation {meta.generation}")
                return None
            if meta.fingerprint != self._info.fingerprint:
                findings.add(path, "was made by another configuration than dataset.json's")
            if table_columns(table.schema) != Layer(self._store, self._info, "rows").schema:
                findings.add(path, "has other columns than dataset.json says")
            rows = table.to_pylist()
            self._counts(findings, path, rows, meta)
            if meta.tar is not None:
                by = [row for row in rows if row["shard"] is not None]
                columns = self._info.typed_columns if self._removed.of(row["key"] for row in by) else None
                self._tars.check(
                    findings, f"{self._name}/{meta.tar.name}", meta.tar, clip_members(by, columns), by=path
                )
            self._places(findings, path, rows, meta)
            if meta.members_tar is not None:
                members = self._layer_members(rows)
                self._tars.check(findings, f"{self._name}/{meta.members_tar.name}", meta.members_tar, members, by=path)
            keys = [row["key"] for row in rows]
            self._keys.note(path, keys)
            if len(set(keys)) != len(keys):
                findings.add(path, "has a key twice")
            # clips that were removed since have their rows still; rows that were written since have not
            return Newest(generation, path, fingerprint([key for key in keys if not self._removed.has(key)]), meta)
        return None

    def _counts(self, findings: Findings, path: str, rows: Sequence[Row], meta: RowsMeta) -> None:
        kept = sum(row["kept"] is True for row in rows)
        failed = sum(row["error"] is not None for row in rows)
        said = tuple(meta.counts.get(name) for name in ("seen", "kept", "failed"))
        if said != (len(rows), kept, failed):
            findings.add(path, f"says {said} clips seen, kept and failed, and has {(len(rows), kept, failed)}")
        if any(row["kept"] == (row["dropped_by"] is not None) for row in rows):
            findings.add(path, "has a row that is kept and dropped, or neither")

    def _places(self, findings: Findings, path: str, rows: Sequence[Row], meta: RowsMeta) -> None:
        """Each row's media is in the tar that the object names."""
        if self._info.kind == "cut":
            tar = meta.tar.name if meta.tar is not None else None
            for row in rows:
                if row["dropped_by"] == REMOVED and not self._is_removed(row):
                    findings.add(path, f"says that clip {row['key']} is removed, and the list does not")
                if row["shard"] != (tar if row["shard"] is not None or row["kept"] else None):
                    findings.add(path, f"clip {row['key']} is in {row['shard']}, and the rows' tar is {tar}")

    def _is_removed(self, row: Row) -> bool:
        """Whether a clip is on the list, or its video by any name of its place."""
        return self._removed.has(row["key"], row["source"]) or source_place(row["source"]) in self._removed_places

    @cached_property
    def _removed_places(self) -> frozenset[str]:
        return frozenset(source_place(source) for source in self._removed.sources)

    def _layer_members(self, rows: Sequence[Row]) -> list[Expected]:
        found = []
        for row in rows:
            for name, ext in sorted(self._info.members.items()):
                offset, size, sha256 = (row[f"member_{name}_{part}"] for part in PARTS)
                if offset is not None:
                    found.append(Expected(f"{row['key']}.{ext}", offset, size, sha256))
        return sorted(found, key=lambda member: member.offset or 0)

    def _units(self, missing: Sequence[str], planned: Mapping[str, str]) -> None:
        """Each unit has its rows, of today's input (or of that which was planned) and of its clips; no unit that is not
        there has any.
        """
        layers = Dataset(self._store, self._info).pass_layers()
        own, expected = layers[-1], set[str]()
        inputs = View(self._store, layers[:-1], removed=self._removed) if len(layers) > 1 else None
        as_planned = View(self._store, layers[:-1], paths=planned, removed=self._removed)
        units = unit_list(self._store, layers[0], with_gaps=True)
        made = self._made_from(inputs, units)

        def check(findings: Findings, unit: str) -> list[str]:
            """The names under which the unit's rows lie, each of which was checked."""
            fold = None
            if inputs is not None:
                with findings.guard(f"{self._name}/rows/{unit}.parquet"):
                    if self._is_planned(unit, planned):
                        fold = as_planned.fold(unit)
                    else:
                        fold = inputs.fold(unit)
                        fold = replace(fold, inputs=made.get(unit, fold.inputs))
            names = own.slices(unit, len(fold.rows)) if fold is not None else [unit]
            for part, name in enumerate(names):
                if name in self.newest:
                    self._unit(findings, name, fold, part)
                elif unit not in missing:
                    findings.add(f"{self._name}/rows/{name}.parquet", "is missing: not done yet, or lost")
            return names

        for names in self._crew.each(self._findings, units, check):
            expected.update(names)
        for name, newest in self.newest.items():
            if name not in expected:
                self._findings.add(newest.path, "is of a unit that the input does not have")

    def _made_from(self, inputs: View | None, units: Sequence[str]) -> dict[str, dict[str, str]]:
        """What a pass that looks back makes its rows from, up to the first unit that cannot be read."""
        if inputs is not None and self._info.looks_back:
            with self._findings.guard(f"{self._name}/rows"):
                return made_from(inputs, units)
        return {}

    def _is_planned(self, unit: str, planned: Mapping[str, str]) -> bool:
        """Whether the plan was made from the newest rows of this unit (or its first slice)."""
        return any(self.newest[name].path in planned for name in (unit, f"{unit}-00") if name in self.newest)

    def _unit(self, findings: Findings, name: str, fold: Fold | None, part: int) -> None:
        """The newest rows of a unit against the input that they were made from."""
        newest = self.newest[name]
        if fold is None:
            return
        # what it looked back at is not known where that is planned, or where a unit before it cannot be read
        inputs = newest.meta.inputs
        said = {path: sha256 for path, sha256 in inputs.items() if path in fold.inputs or path not in DIGESTS}
        if said != fold.inputs:
            other = sorted({*said.items()} ^ {*fold.inputs.items()})
            listed = ", ".join(dict.fromkeys(source for source, _ in other[: 2 * SHOWN]))
            findings.add(newest.path, f"was made from other rows than those that are there now ({listed})")
        size = self._info.unit_clips or max(1, len(fold.rows))
        seen = [row["key"] for row in fold.rows[part * size : (part + 1) * size] if row["kept"]]
        if newest.keys != fingerprint(seen):
            findings.add(newest.path, "has not the clips that its input kept")


def clip_members(rows: Sequence[Row], columns: Columns | None) -> list[Expected]:
    """The members of a unit's tar, in the order of their places; their sidecars too where `columns` of the rows are given."""
    found: list[Expected] = []
    for row in sorted(rows, key=lambda row: (row["offset"] is None, row["offset"])):
        facts: dict[str, Any] = {"sha256": row["sha256"], "num_frames": row["num_frames"]}
        data = None if columns is None else sidecar(row, columns)
        found.append(Expected(f"{row['key']}.json", None, None, data=data))
        found.append(Expected(f"{row['key']}.mp4", row["offset"], row["size"], **facts))
    return found

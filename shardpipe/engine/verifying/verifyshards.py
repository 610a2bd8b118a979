"""Checks of an emitted Dataset: plan, shards, records, index and what stands beside it. All follow from the rows, so
all are worked out again and compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from shardpipe.core.errors import IncompleteError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.engine.counts import count
from shardpipe.engine.emission.emitplan import Draft
from shardpipe.engine.emission.index import beside_index, final_path, index_facts, index_table, removed_in
from shardpipe.engine.emission.packing import BLOCK, member_bytes
from shardpipe.engine.emission.plansettings import PlanSettings, member_sizes
from shardpipe.engine.emission.record import record_columns, record_row, shard_name
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.emission.window import Window, window_path
from shardpipe.engine.objectnames import INDEX_NAME
from shardpipe.engine.verifying.crew import Crew
from shardpipe.engine.verifying.findings import Findings
from shardpipe.engine.verifying.verifyfolds import Folds
from shardpipe.engine.verifying.verifyindex import check_index
from shardpipe.engine.verifying.verifytar import Expected, TarCheck, unfinished
from shardpipe.storage.commit import in_order
from shardpipe.storage.dataset import Dataset, Row, View
from shardpipe.storage.facts import read_end
from shardpipe.storage.members import MemberPlace
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import RowsMeta, arrow_schema, arrow_type, decode_facts, decode_meta, decode_rows


class ShardsCheck:
    """Checks what emit made of one Dataset."""

    def __init__(self, crew: Crew, findings: Findings, tars: TarCheck, dataset: Dataset) -> None:
        self._crew = crew
        self._findings = findings
        self._tars = tars
        self._dataset = dataset
        self._name = dataset.name
        self._removed = findings.removed
        self._view = View(findings.store, dataset.pass_layers(), removed=findings.removed)
        self._columns = self._view.columns()
        self._units = self._view.units()
        self._windows: list[Window] = []
        self._metas: list[list[RowsMeta]] = []  # of their records: the rows of all would take too much

    def run(self) -> None:
        """Check everything, window by window."""
        name = self._name
        paths = in_order(self._findings.below(f"{name}/plan"))
        done: dict[str, None] = {}
        for i, path in enumerate(paths):
            if path != window_path(name, i):
                self._findings.add(path, f"is no plan, or {window_path(name, i)} is missing")
                continue
            self._findings.claimed.add(path)
            with self._findings.guard(path):
                self._window(path, done)
        if left := [unit for unit in self._units if unit not in done]:
            self._findings.add(
                f"{name}/plan", f"covers not all units: {left[0]} and {len(left) - 1} more are not planned"
            )
        if self._windows and len(self._windows) == len(paths):
            with self._findings.guard(f"{name}/index.parquet"):
                self._finals()
        elif not paths:
            self._findings.add(f"{name}/plan", "is missing: not emitted yet, or lost")

    def _window(self, path: str, done: dict[str, None]) -> None:
        """One window against the rows, then its shards; `done` grows by its units."""
        found = self._findings.table(path)
        if found is None:
            return
        window = Window.decode(path, found[0])
        settings = PlanSettings.model_validate({**window.settings})
        before = self._windows[-1] if self._windows else None
        first = before.first_shard + before.num_shards if before else 0
        if before is not None and before.settings != window.settings:
            self._findings.add(path, "was planned with other settings than the window before it")
        units = list(islice((unit for unit in self._units if unit not in done), len(window.units)))
        if list(window.units) != units or (settings.plan_units and len(units) > settings.plan_units):
            self._findings.add(path, "has not the units that follow in the input's unit list")
        folds = Folds(View(self._findings.store, self._view.layers, paths=window.inputs, removed=Removed()))
        self._note_newer(window, folds.view)
        wanted = self._draft(window, settings, folds, first_shard=first)
        if wanted.inputs != window.inputs:
            self._findings.add(path, "was made from other rows than those that are there now")
        elif not self._is_as_planned(window, wanted):
            self._findings.add(path, "is not what its rows and settings give")
        self._windows.append(replace(window, table=window.table.schema.empty_table()))
        done |= dict.fromkeys(window.units)

        def check(findings: Findings, unit: str) -> RowsMeta | None:
            with findings.guard(f"{self._name}/emit/{unit}.parquet"):
                return self._shard(findings, window, settings, unit, folds)
            return None

        metas = self._crew.each(self._findings, window.shard_units, check)
        self._metas.append([meta for meta in metas if meta is not None])

    def _draft(self, window: Window, settings: PlanSettings, folds: Folds, *, first_shard: int) -> Window:
        """What the plan of these units must be: it has those clips that were not removed when it was made."""
        in_plan = set(window.table.column("key").to_pylist())
        draft = Draft(settings, self._columns, list(window.units), list(window.missing))
        units = [unit for unit in window.units if unit not in window.missing]
        for fold in self._crew.each(self._findings, units, lambda _, unit: folds.read(unit), waiting=1):
            rows = [
                row for row in fold.rows if row["key"] in in_plan or not self._removed.has(row["key"], row["source"])
            ]
            draft.add_fold(replace(fold, rows=rows))
        return Window.decode(window.path, draft.encode(first_shard=first_shard))

    def _is_as_planned(self, window: Window, wanted: Window) -> bool:
        """Whether a window is what its rows and settings give. Of an emitted input that is without removed clips now, the rows do not
        tell how large these were, nor where the others lay then: of those only what clips they are is compared.
        """
        ours, theirs = window.table, wanted.table
        if self._removed and self._view.base.form == "emit":
            ours, theirs = (each.drop_columns(["offset"]) for each in (ours, theirs))
            gone = self._removed.of(ours.column("key").to_pylist())
            known = {*theirs.column("key").to_pylist()}
            if lost := [key for key in gone if key not in known]:
                ours = ours.filter(pc.invert(pc.is_in(ours.column("key"), pa.array(lost))))
                ours, theirs = (each.select(["key", "unit", "media", "size", "sha256"]) for each in (ours, theirs))
                return (
                    bool(ours.sort_by("key").equals(theirs.sort_by("key"))) and window.first_shard == wanted.first_shard
                )
        numbers = (window.first_shard, window.num_shards)
        return bool(ours.equals(theirs)) and numbers == (wanted.first_shard, wanted.num_shards)

    def _note_newer(self, window: Window, planned: View) -> None:
        """Say which rows came after the plan: a retry that raced with it wrote them."""
        newer = []
        for layer in planned.layers:
            newest = self._view.done_of(layer)
            newer += [newest[unit] for unit, path in planned.done_of(layer).items() if newest.get(unit, path) != path]
        if newer:
            self._findings.notes.append(
                f"{window.path} was made before {newer[0]} and {len(newer) - 1} more: its shards hold the rows of before"
            )

    def _shard(
        self, findings: Findings, window: Window, settings: PlanSettings, unit: str, folds: Folds
    ) -> RowsMeta | None:
        """One shard: record, tar and idx against plan and rows; its record, if it is one."""
        path, tar = f"{self._name}/emit/{unit}.parquet", shard_name(self._name, unit)
        clips = [self._removed.mask(folds.row(clip["unit"], clip["key"])) for clip in window.clips(unit)]
        there = [row for row in clips if row["kept"]]
        samples, starts = self._samples(there, settings)
        idx = f"{self._name}/{tar}.idx"
        packed = b"".join(start.to_bytes(8, "little") for start in starts)
        if findings.claim(idx, f"{window.path} plans it") and findings.store.read(idx) != packed:
            findings.add(idx, "does not say where the samples start")
        if not findings.claim(path, f"{window.path} plans it"):
            findings.claimed.add(f"{self._name}/{tar}")
            return None
        found = findings.table(path)
        if found is None:
            return None
        table, meta = found[1], decode_meta(found[0])
        if still := removed_in(table, self._removed):
            findings.claimed.add(f"{self._name}/{tar}")
            findings.add(path, unfinished(still[0]))
            return None
        others = [ext for ext in settings.members if ext != "mp4"]
        columns = record_columns(self._columns, others)
        places = {
            row["key"]: {m.name.split(".", 1)[1]: _place(tar, m) for m in members}
            for row, members in zip(there, samples, strict=True)
        }
        records = [record_row(row, tar, places.get(row["key"], {}), self._columns) for row in clips]
        arrays = [pa.array([row.get(name) for row in records], arrow_type(kind)) for name, kind in columns.items()]
        if not table.equals(pa.table(arrays, schema=arrow_schema(columns))):
            findings.add(path, "does not hold the rows of the clips that are planned for it")
        if dict(meta.counts) != count(clips) or (meta.original is not None and len(there) == len(clips)):
            findings.add(path, "says other things of its clips than their rows, or that some were removed")
        if dict(meta.inputs) != {window.path: window.sha256} or meta.fingerprint != fingerprint(dict(window.settings)):
            findings.add(path, "was made from another plan")
        if (
            meta.unit != unit
            or meta.tar is None
            or meta.tar.name != tar
            or meta.members_tar != (meta.tar if others else None)
        ):
            findings.add(path, f"is not the record of {tar}")
            return None
        members = [m for sample in samples for m in sample]
        self._tars.check(findings, f"{self._name}/{tar}", meta.tar, members, by=path)
        return meta

    def _samples(self, clips: Sequence[Row], settings: PlanSettings) -> tuple[list[list[Expected]], list[int]]:
        """The members of each sample of a shard, and where samples start (and the last one ends)."""
        columns = settings.sidecar_columns(self._columns)
        samples, starts, at = [], [0], 0
        for row in clips:
            members = []
            for ext, size in member_sizes(row, settings, columns).items():
                data = sidecar(row, columns) if ext == "json" else row["text"].encode() if ext == "txt" else None
                known = row["sha256"] if ext == "mp4" else row["members"][ext].sha256 if data is None else None
                num_frames = row["num_frames"] if ext == "mp4" else None
                members.append(
                    Expected(
                        f"{row['key']}.{ext}", at + BLOCK, size, known or sha256_hex(data or b""), data, num_frames
                    )
                )
                at += member_bytes(size)
            samples.append(members)
            starts.append(at)
        return samples, starts

    def _finals(self) -> None:
        """Each index, with what stands beside it, against the records of the windows that it covers."""
        newest = 0
        covers: dict[int | None, int] = {None: 0}
        for path in self._findings.below(self._name):
            match = INDEX_NAME.match(path.removeprefix(f"{self._name}/"))
            if match is not None and match["number"] is not None:
                covers[int(match["number"])] = int(match["number"]) + 1
        for last, wanted in covers.items():
            path = final_path(self._name, "index.parquet", last)
            if not self._findings.claim(path, "the Dataset is not complete, or it was lost"):
                continue
            with self._findings.guard(path):
                facts = decode_facts(read_end(self._findings.store, path, self._findings.objects[path]), path)
                num_windows = len(facts.get("windows", {}))
                if num_windows > len(self._windows) or wanted not in (0, num_windows):
                    self._findings.add(
                        path, f"covers {num_windows} windows, and is one of {wanted or len(self._windows)}"
                    )
                    continue
                newest = max(newest, num_windows)
                self._final(path, last, num_windows)
        if newest < len(self._windows):
            self._findings.add(
                f"{self._name}/plan", f"has {len(self._windows)} windows, and the index covers {newest}: run again"
            )

    def _final(self, path: str, last: int | None, num_windows: int) -> None:
        windows = self._windows[:num_windows]
        metas = [meta for window in self._metas[:num_windows] for meta in window]
        if len(metas) < sum(window.num_shards for window in windows):
            raise IncompleteError("cannot be checked, since records are missing or damaged")
        schema = index_table(self._columns, windows, []).schema
        check_index(self._findings, path, schema, partial(self._rows, windows), index_facts(windows))
        records = [(schema.empty_table(), meta) for meta in metas]  # what stands beside follows from the facts alone
        beside = beside_index(self._name, self._columns, windows, records, last=last)
        for other, data in beside.items():
            if self._findings.claim(other, f"it stands beside {path}") and self._findings.store.read(other) != data:
                self._findings.add(other, "is not what the records give")

    def _rows(self, windows: Sequence[Window]) -> Iterator[pa.Table]:
        """What an index of these windows has of each record: read once more, some ahead."""

        def rows(_: Findings, path: str) -> pa.Table:
            return index_table(self._columns, windows, [decode_rows(self._findings.store.read(path), path)])

        paths = [f"{self._name}/emit/{unit}.parquet" for window in windows for unit in window.shard_units]
        return self._crew.each(self._findings, paths, rows, waiting=1)


def _place(tar: str, member: Expected) -> MemberPlace:
    """Where a member of a shard must lie."""
    return MemberPlace(tar, member.offset or 0, member.size or 0, member.sha256 or "")

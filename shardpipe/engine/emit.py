"""Emit: one shard as a pure function of its plan and the committed rows. No model runs, and nothing is decoded.

    kept clips' bytes ─ checked by xxh128 ─▶ shards/train-000000.tar   put whole
                                             shards/train-000000.tar.idx
    folded rows ───────────────────────────▶ emit/000000.parquet       the record, last: the shard is done

Members of other layers are checked by their sha256. Two workers on one shard write the same bytes. A clip whose bytes are not those of its row fails the shard: it is never
left out, and never let through. A removed clip is left out, and its row is masked: such a shard takes the place of what was there
under its name, and who wrote it looks at the list of removed clips again.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import count, outcome_of
from shardpipe.engine.emitmedia import Samples
from shardpipe.engine.emitplan import Window, read_windows
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.worker import UnitWorker, Watch, scratch_folder
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Row, View
from shardpipe.storage.members import MemberPlace, member_columns, member_values
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.removed import REMOVED, Removed, masked, overwrite
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter

MAX_FOLDED = 50_000
"""Folded rows kept for the next shard, which mostly needs the same units."""


class EmitWorker(UnitWorker):
    """Writes shards one by one."""

    def __init__(self, store: Store, name: str, watch: Watch) -> None:
        super().__init__(watch)
        metered = MeteredStore(store)
        self._meter = Meter(metered)
        self._emitter = Emitter(metered, name)

    def do(self, job: UnitJob) -> Outcome:
        """Write one shard, unless its record is there."""
        there = self._emitter.record(job.name)
        meta = there or self._emitter.emit(job.name)
        return outcome_of(job.name, meta.counts, self._meter.lap(), was_done=there is not None)


class Emitter:
    """Writes the shards of the Dataset `name` as its windows plan them."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store if isinstance(store, MeteredStore) else MeteredStore(store)
        self._name = name
        layers = Dataset.open(store, name).pass_layers()
        windows = read_windows(store, name)
        self.removed = Removed(store)
        # What the plan names counts: a retry that raced with it may have written newer rows since. Rows are masked when they are used.
        self._views = {window.path: View(store, layers, paths=window.inputs, removed=Removed()) for window in windows}
        self._columns = View(store, layers, paths=(), removed=Removed()).columns()
        self._moves = layers[0].form == "emit"
        self._windows = {unit: window for window in windows for unit in window.shard_units}
        self._folds: OrderedDict[str, dict[str, Row]] = OrderedDict()
        self._log = RowsLog(store, name, folder="emit")

    def record(self, unit: str) -> RowsMeta | None:
        """What the record of a shard says, None if it is not written; IntegrityError if it is of another plan."""
        meta, window = self._log.there(unit), self._windows[unit]
        if meta is not None and meta.inputs != {window.path: window.sha256}:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(unit)} was made from another {window.path}: run `shardpipe verify`"
            )
        return meta

    def emit(self, unit: str) -> RowsMeta:
        """Make one shard with its index and its record; what the record that is there now says. Begins again when clips of it
        were removed meanwhile.
        """
        keys = [clip["key"] for clip in self._windows[unit].clips(unit)]
        self._refresh()
        while True:
            without = self.removed.of(keys)
            try:
                there = self._emit(unit, without)
            except IntegrityError:  # what is there may be without clips that were not on the list yet when we read it
                there = None
                self._folds.clear()
                if not self._has_more(keys, without):
                    raise
            if there is not None and not self._has_more(keys, without):
                return there

    def _refresh(self) -> None:
        """Read the list of removed clips again; what was folded before it grew may lie elsewhere now."""
        if self.removed.refresh():
            self._folds.clear()

    def _has_more(self, keys: Sequence[str], without: Sequence[str]) -> bool:
        """Whether more of these clips are removed by now."""
        self._refresh()
        return len(self.removed.of(keys)) > len(without)

    def _emit(self, unit: str, without: Sequence[str]) -> RowsMeta | None:
        """Make one shard without these clips; None if others were removed before its record was written."""
        window = self._windows[unit]
        settings = PlanSettings.model_validate({**window.settings})
        planned = window.clips(unit)
        rows = [masked(row) if row["key"] in without else row for row in self._rows(window, planned, without)]
        tar = shard_name(self._name, unit)
        with scratch_folder(self._store) as folder:
            path = folder / "shard.tar"
            with TarWriter(path) as writer:
                places = Samples(self._store).write(
                    writer, [row for row in rows if row["kept"]], settings, self._columns
                )
                written = writer.close(may_be_empty=bool(without))
            put = self._store.overwrite if without else self._store.put_file
            put(f"{self._name}/{tar}", path)
        if self._has_more([row["key"] for row in rows], without):
            return None
        self._create(f"{self._name}/{tar}.idx", writer.index(), may_differ=bool(without))
        ref = TarRef(tar, written.num_bytes, written.sha256)
        others = [ext for ext in settings.members if ext != "mp4"]
        meta = RowsMeta(
            fingerprint=fingerprint(dict(window.settings)),
            unit=unit,
            inputs={window.path: window.sha256},
            tar=ref,
            members_tar=ref if others else None,
            counts=count(rows),
        )
        records = [record_row(row, tar, places.get(row["key"], {}), self._columns) for row in rows]
        there = self._commit(record_columns(self._columns, others), records, meta, may_differ=bool(without))
        if there.tar != ref:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(unit)} names another tar than this plan gives: run `shardpipe verify`"
            )
        return there

    def _commit(self, columns: Columns, records: Sequence[Row], meta: RowsMeta, *, may_differ: bool) -> RowsMeta:
        """Create the record of a shard. One that was there before its clips were removed is rewritten, and keeps its name in the
        rows that were made from it (`original`).
        """
        data = encode_rows(columns, records, meta)
        there = self._log.commit(meta.unit, data)
        found = decode_meta(there)
        if there == data or not may_differ or found.inputs != meta.inputs:
            return found
        meta = replace(meta, original=found.original or sha256_hex(there))
        data = encode_rows(columns, records, meta)
        if there != data:
            overwrite(self._store, self._log.path(meta.unit), data)
        return meta

    def _create(self, path: str, data: bytes, *, may_differ: bool) -> None:
        """Create an object that can only be these bytes, unless clips were removed since."""
        if self._store.create(path, data) == data:
            return
        if not may_differ:
            raise IntegrityError(
                f"{self._store.url}/{path} is there with other bytes than its plan gives: run `shardpipe verify`"
            )
        overwrite(self._store, path, data)

    def _rows(self, window: Window, planned: Sequence[Row], without: Sequence[str]) -> list[Row]:
        """The folded row of each planned clip; IntegrityError if rows are no longer those that were planned."""
        rows = []
        # `remove` moves the clips of an emitted base
        fixed = ("size", "sha256") if self._moves else ("offset", "size", "sha256")
        for clip in planned:
            if clip["unit"] not in self._folds:
                self._fold(window, clip["unit"])
            row = self._folds[clip["unit"]].get(clip["key"])
            place = {"media": row["shard"], **{name: row[name] for name in fixed}} if row else {}
            if row is None or (
                clip["key"] not in without and any(clip[name] != value for name, value in place.items())
            ):
                raise IntegrityError(
                    f"{self._store.url}/{window.path}: clip {clip['key']} is not as planned: run `shardpipe verify`"
                )
            rows.append(row)
        return rows

    def _fold(self, window: Window, unit: str) -> None:
        """Read a unit's rows into the cache."""
        try:
            fold = self._views[window.path].fold(unit)
        except (FileNotFoundError, IncompleteError) as error:
            raise IntegrityError(
                f"{self._store.url}/{window.path} was made from rows that are no longer there: {error}. Run "
                "`shardpipe verify`"
            ) from error
        for path, sha256 in fold.inputs.items():
            if window.inputs.get(path) != sha256:
                raise IntegrityError(
                    f"{self._store.url}/{path} is not what {window.path} was made from: emitted shards would not be "
                    "what was planned. Run `shardpipe verify`"
                )
        self._folds[unit] = {row["key"]: row for row in fold.rows if row["kept"] or row["dropped_by"] == REMOVED}
        while len(self._folds) > 1 and sum(len(rows) for rows in self._folds.values()) > MAX_FOLDED:
            self._folds.popitem(last=False)


def shard_name(name: str, unit: str) -> str:
    """A shard's tar, relative to its Dataset."""
    return f"shards/{name}-{unit}.tar"


def record_columns(columns: Columns, others: Sequence[str]) -> Columns:
    """The schema of a record: a base layer's, and the places of the members other than mp4."""
    return {**columns, **STATE, **LOCATION, **member_columns(others)}


def record_row(row: Row, tar: str, places: Mapping[str, MemberPlace], columns: Columns) -> dict[str, Any]:
    """A clip's row in the record: its folded columns, and where its members lie now."""
    found: dict[str, Any] = {name: row[name] for name in columns}
    found |= {name: row[name] for name in STATE}
    for ext, place in places.items():
        if ext == "mp4":
            found |= {"shard": tar, "offset": place.offset, "size": place.size, "xxh128": row["xxh128"]}
        else:
            found |= member_values(ext, (place.offset, place.size), place.sha256)
    return found

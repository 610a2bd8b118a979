"""Emit: one shard as a pure function of its plan and the committed rows. No model runs, and nothing is decoded.

    kept clips' bytes ─ checked by xxh128 ─▶ shards/train-000000.tar   put whole
                                             shards/train-000000.tar.idx
    folded rows ───────────────────────────▶ emit/000000.parquet       the record, last: the shard is done

Members of other layers are checked by their sha256. Two workers on one shard write the same bytes. A clip whose bytes are not those of its row fails the shard: it is never
left out, and never let through. A removed clip is left out, and its row is masked: such a shard takes the place of what was there
under its name, and who wrote it looks at the list of removed clips again.
"""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.engine.counts import count
from shardpipe.engine.packing import END_BYTES, sample_bytes
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.record import record_columns, record_row, shard_name
from shardpipe.engine.shardmedia import ShardMedia
from shardpipe.engine.sidecar import sidecar
from shardpipe.engine.window import Window, read_windows
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import MADE, Dataset, Row, View
from shardpipe.storage.members import MemberPlace
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.removed import REMOVED, Removed, masked, overwrite
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.scratch import grow
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter

OTHERS_BYTES = 2 << 10
"""About what a clip has in a shard beside its mp4."""


MAX_FOLDED = 50_000
"""Folded rows kept for the next shard, which mostly needs the same units."""

FOLDS_AT_ONCE = 8
TAR = "shard.tar"


@dataclass(frozen=True)
class Built:
    """A shard on scratch, and what goes with it. `remove` it, unless it is put. without: the planned clips that are removed."""

    folder: Path
    index: bytes
    columns: Columns
    records: Sequence[Row]
    meta: RowsMeta
    without: Collection[str]

    @property
    def keys(self) -> list[str]:
        """All planned clips."""
        return [row["key"] for row in self.records]

    def remove(self) -> None:
        """Free the scratch."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Emitter:
    """Writes the shards of the Dataset `name` as its windows plan them. One thread may build while another puts."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store if isinstance(store, MeteredStore) else MeteredStore(store)
        self._name = name
        layers = Dataset.open(store, name).pass_layers()
        windows = read_windows(store, name)
        self._removed = Removed(store)
        # What the plan names counts: a retry that raced with it may have written newer rows since. Rows are masked when they are used.
        self._views = {window.path: View(store, layers, paths=window.inputs, removed=Removed()) for window in windows}
        self._columns = View(store, layers, paths=(), removed=Removed()).columns()
        # `remove` moves the clips of an emitted base
        self._fixed = ("size", "sha256") if layers[0].form == "emit" else ("offset", "size", "sha256")
        self._windows = {unit: window for window in windows for unit in window.shard_units}
        self._folds: OrderedDict[str, dict[str, Row]] = OrderedDict()
        self._folding = threading.Lock()
        self._log = RowsLog(store, name, folder="emit")
        self._stopped = threading.Event()

    def record(self, unit: str) -> RowsMeta | None:
        """What the record of a shard says, None if it is not written; IntegrityError if it is of another plan."""
        meta, window = self._log.there(unit), self._windows[unit]
        if meta is not None and meta.inputs != {window.path: window.sha256}:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(unit)} was made from another {window.path}: run `shardpipe verify`"
            )
        return meta

    def emit(self, unit: str) -> RowsMeta:
        """Make one shard with its index and its record; what the record that is there now says."""
        return self.put(self.build(unit))

    def stop(self) -> None:
        """Let `build` end soon, with IncompleteError."""
        self._stopped.set()

    def build(self, unit: str) -> Built:
        """Read one shard's clips and write its tar to scratch; nothing is put. Begins again when clips of it were removed meanwhile."""
        keys = [clip["key"] for clip in self._windows[unit].clips(unit)]
        while True:
            without = self._without(keys)
            try:
                return self._build(unit, without)
            except IntegrityError:  # what is there may be without clips that were not on the list yet when we read it
                if len(self._without(keys)) == len(without):
                    raise

    def _without(self, keys: Sequence[str]) -> list[str]:
        """Those of these clips that are removed by now. What was folded before the list grew may lie elsewhere since."""
        with self._folding:
            if self._removed.refresh():
                self._folds.clear()
            return self._removed.of(keys)

    def _build(self, unit: str, without: Collection[str]) -> Built:
        window = self._windows[unit]
        settings = PlanSettings.model_validate({**window.settings})
        rows = self.rows(unit, without)
        tar = shard_name(self._name, unit)
        guess = END_BYTES + sum(sample_bytes((row["size"], OTHERS_BYTES)) for row in rows if row["kept"])
        folder = self._store.scratch(guess, is_guess=True)
        try:
            with TarWriter(folder / TAR, stays=self._store.local_path(tar) is not None) as writer:
                places = self._write(writer, [row for row in rows if row["kept"]], settings)
                written = writer.close(may_be_empty=bool(without))
            grow(folder, written.num_bytes)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
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
        return Built(folder, writer.index(), record_columns(self._columns, others), records, meta, without)

    def put(self, built: Built) -> RowsMeta:
        """Put a shard that was built, its index and its record; what the record that is there now says. Begins again when clips of
        it were removed meanwhile.
        """
        while True:
            there = None
            try:
                there = self._put(built)
            except IntegrityError:
                if not self._has_more(built):
                    raise
            finally:
                built.remove()
            if there is not None and not self._has_more(built):
                return there
            built = self.build(built.meta.unit)

    def _has_more(self, built: Built) -> bool:
        """Whether more of its clips are removed by now."""
        return len(self._without(built.keys)) > len(built.without)

    def _put(self, built: Built) -> RowsMeta | None:
        """None if more clips were removed before the record was written."""
        ref, may_differ = built.meta.tar, bool(built.without)
        assert ref is not None
        path = f"{self._name}/{ref.name}"
        put = self._store.overwrite if may_differ else self._store.put_file
        put(path, built.folder / TAR)
        if self._has_more(built):
            return None
        self._create(f"{path}.idx", built.index, may_differ=may_differ)
        there = self._commit(built, may_differ=may_differ)
        if there.tar != ref:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(built.meta.unit)} names another tar than this plan gives: run `shardpipe verify`"
            )
        return there

    def _commit(self, built: Built, *, may_differ: bool) -> RowsMeta:
        """Create the record of a shard. One that was there before its clips were removed is rewritten, and keeps its name in the
        rows that were made from it (`original`).
        """
        meta = built.meta
        data = encode_rows(built.columns, built.records, meta)
        there = self._log.commit(meta.unit, data)
        found = decode_meta(there)
        if there == data or not may_differ or found.inputs != meta.inputs:
            return found
        meta = replace(meta, original=found.original or sha256_hex(there))
        data = encode_rows(built.columns, built.records, meta)
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

    def rows(self, unit: str, without: Collection[str] = ()) -> list[Row]:
        """The folded row of each planned clip of a shard, in order, masked if it is one of `without`; IntegrityError if rows are no
        longer those that were planned.
        """
        window = self._windows[unit]
        planned = window.clips(unit)
        by_unit: dict[str, list[Row]] = {}
        for clip in planned:
            by_unit.setdefault(clip["unit"], []).append(clip)
        found: dict[str, Row] = {}
        with self._folding:
            for name, folded in self._folded(window, list(by_unit)):
                for clip in by_unit[name]:
                    row = folded.get(clip["key"])
                    place = {"media": row["shard"], **{name: row[name] for name in self._fixed}} if row else {}
                    moved = any(clip[name] != value for name, value in place.items())
                    if row is None or (moved and clip["key"] not in without):
                        raise IntegrityError(
                            f"{self._store.url}/{window.path}: clip {clip['key']} is not as planned: run `shardpipe verify`"
                        )
                    found[clip["key"]] = masked(row) if clip["key"] in without else row
        return [found[clip["key"]] for clip in planned]

    def _folded(self, window: Window, units: Sequence[str]) -> Iterator[tuple[str, dict[str, Row]]]:
        """Each unit with its kept rows by key; those that are not in the cache are read several at a time."""
        with ThreadPoolExecutor(FOLDS_AT_ONCE) as pool:
            for start in range(0, len(units), FOLDS_AT_ONCE):
                some = units[start : start + FOLDS_AT_ONCE]
                missing = [unit for unit in some if unit not in self._folds]
                self._folds.update(zip(missing, pool.map(partial(self._fold, window), missing), strict=True))
                yield from [(unit, self._folds[unit]) for unit in some]
                while len(self._folds) > 1 and sum(len(rows) for rows in self._folds.values()) > MAX_FOLDED:
                    self._folds.popitem(last=False)

    def _fold(self, window: Window, unit: str) -> dict[str, Row]:
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
        return {row["key"]: row for row in fold.rows if row["kept"] or row["dropped_by"] == REMOVED}

    def _write(
        self, writer: TarWriter, rows: Sequence[Row], settings: PlanSettings
    ) -> dict[str, dict[str, MemberPlace]]:
        """Write all samples; where the members of each clip came to lie, by extension."""
        columns = settings.sidecar_columns(self._columns)
        places = {}
        with ShardMedia(self._store, rows, settings.members) as media:
            for i, row in enumerate(rows):
                if self._stopped.is_set():
                    raise IncompleteError(f"{writer.path.name} was given up")
                place = {}
                for ext in settings.members:
                    if ext == "mp4":
                        part = media.copy_clip(writer, i)
                        place[ext] = MemberPlace(writer.path.name, part.offset, part.size, row["sha256"])
                        continue
                    data = made(ext, row, columns) if ext in MADE else media.member(i, ext)
                    place[ext] = MemberPlace(
                        writer.path.name, *writer.add(f"{row['key']}.{ext}", data), sha256_hex(data)
                    )
                places[row["key"]] = place
        return places


def made(ext: str, row: Row, columns: Columns) -> bytes:
    """A member that emit makes itself: the sidecar, or the text alone."""
    return sidecar(row, columns) if ext == "json" else str(row["text"]).encode()

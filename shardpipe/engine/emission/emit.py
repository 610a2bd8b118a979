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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError, StoreError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.engine.counts import count
from shardpipe.engine.emission.packing import END_BYTES, sample_bytes
from shardpipe.engine.emission.plannedrows import PlannedRows
from shardpipe.engine.emission.plansettings import PlanSettings, member_sizes
from shardpipe.engine.emission.record import record_columns, record_row, shard_name
from shardpipe.engine.emission.shardmedia import ShardMedia
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.emission.written import has_its_tar
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import MADE, Dataset, Row, View
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.members import MemberPlace
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.removed import Removed, overwrite
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter, WrittenTar

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
        self._rows = PlannedRows(store, layers, windows)
        self._columns = View(store, layers, paths=(), removed=Removed()).columns()
        self._windows = {unit: window for window in windows for unit in window.shard_units}
        self._looking = threading.Lock()
        self._log = RowsLog(store, name, folder="emit")
        self._stopped = threading.Event()

    def record(self, unit: str) -> RowsMeta | None:
        """What the record of a shard says, None if it is not written; IntegrityError if it is of another plan. None too where clips
        of it are removed and its tar is another one: who put that died before it looked at the list.
        """
        meta, window = self._log.there(unit), self._windows[unit]
        if meta is not None and meta.inputs != {window.path: window.sha256}:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(unit)} was made from another {window.path}: run `shardpipe verify`"
            )
        if meta is not None and self._without(self._keys(unit)) and not has_its_tar(self._store, self._name, meta):
            return None
        return meta

    def _keys(self, unit: str) -> list[str]:
        """All planned clips of a shard."""
        return [clip["key"] for clip in self._windows[unit].clips(unit)]

    def emit(self, unit: str) -> RowsMeta:
        """Make one shard with its index and its record; what the record that is there now says."""
        return self.put(self.build(unit))

    def stop(self) -> None:
        """Let `build` end soon, with IncompleteError."""
        self._stopped.set()

    def build(
        self, unit: str, begun: Callable[[GrowingFile], None] | None = None, *, within: Path | None = None
    ) -> Built:
        """Read one shard's clips and write its tar to scratch; nothing is put. Begins again when clips of it were removed meanwhile.

        begun: called with the tar when it begins, if `put_tar` may put what is there of it. within: the scratch of this shard
        with more clips, which stays whatever happens.
        """
        keys = self._keys(unit)
        while True:
            without = self._without(keys)
            try:
                return self._build(unit, without, None if without else begun, within)
            except IntegrityError:  # what is there may be without clips that were not on the list yet when we read it
                if len(self._without(keys)) == len(without):
                    raise

    def _without(self, keys: Sequence[str]) -> list[str]:
        """Those of these clips that are removed by now. What was folded before the list grew may lie elsewhere since."""
        with self._looking:
            if self._removed.refresh():
                self._rows.forget()
            return self._removed.of(keys)

    def _build(
        self, unit: str, without: Collection[str], begun: Callable[[GrowingFile], None] | None, within: Path | None
    ) -> Built:
        window = self._windows[unit]
        settings = PlanSettings.model_validate({**window.settings})
        rows = self.rows(unit, without)
        kept, columns = [row for row in rows if row["kept"]], settings.sidecar_columns(self._columns)
        num_bytes = END_BYTES + sum(sample_bytes(member_sizes(row, settings, columns).values()) for row in kept)
        tar = shard_name(self._name, unit)
        folder = within or self._store.scratch(num_bytes, stopped=self._stopped)
        file = GrowingFile(folder / TAR, at_most=num_bytes)
        try:
            index, written, places = self._tar(file, kept, settings, begun=begun, may_be_empty=bool(without))
        except BaseException:
            if within is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        assert written.num_bytes == num_bytes
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
        return Built(folder, index, record_columns(self._columns, others), records, meta, without)

    def _tar(
        self,
        file: GrowingFile,
        rows: Sequence[Row],
        settings: PlanSettings,
        *,
        begun: Callable[[GrowingFile], None] | None,
        may_be_empty: bool,
    ) -> tuple[bytes, WrittenTar, dict[str, dict[str, MemberPlace]]]:
        """Write the tar of a shard: its index, what was written, and where the members of each clip came to lie."""
        is_local = self._store.local_path(self._name) is not None
        file.path.unlink(missing_ok=True)
        with TarWriter(file.path, stays=is_local, grew=file.grew) as writer:
            try:
                if begun is not None and not is_local:
                    begun(file)
                places = self._write(writer, rows, settings)
                written = writer.close(may_be_empty=may_be_empty)
                file.end(written.num_bytes)
            finally:
                file.give_up()  # as long as it is there: who puts it may be about to open it
        return writer.index(), written, places

    def put_tar(self, unit: str, file: GrowingFile) -> bool:
        """Put the tar of a shard while it is built. False if it was given up, and where another one is there: `put` judges that."""
        try:
            self._store.put_file(f"{self._name}/{shard_name(self._name, unit)}", file)
        except (IncompleteError, IntegrityError):
            return False
        except StoreError:
            if file.is_given_up:  # and gone when it was to be read
                return False
            raise
        return True

    def put(self, built: Built, *, has_tar: bool = False) -> RowsMeta:
        """Put a shard that was built, its index and its record; what the record that is there now says. Begins again when clips of
        it were removed meanwhile. has_tar: the tar is put.
        """
        try:
            while True:
                there = None
                try:
                    there = self._put(built, has_tar=has_tar)
                except IntegrityError:
                    if not self._has_more(built):
                        raise
                if there is not None and not self._has_more(built):
                    return there
                # Where its scratch is, which it does not give back: others may wait for that, and it would wait for them.
                built, has_tar = self.build(built.meta.unit, within=built.folder), False
        finally:
            built.remove()

    def _has_more(self, built: Built) -> bool:
        """Whether more of its clips are removed by now."""
        return len(self._without(built.keys)) > len(built.without)

    def _put(self, built: Built, *, has_tar: bool) -> RowsMeta | None:
        """None if more clips were removed before the record was written."""
        ref, may_differ = built.meta.tar, bool(built.without)
        assert ref is not None
        path = f"{self._name}/{ref.name}"
        if may_differ:
            self._store.overwrite(path, built.folder / TAR)
        elif not has_tar:
            self._store.put_file(path, built.folder / TAR)
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
        return self._rows.rows(unit, without)

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

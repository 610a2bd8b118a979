"""Emit: one shard as a pure function of its plan and the committed rows. No model runs, and nothing is decoded.

    kept clips' bytes ─ checked by xxh128 ─▶ shards/train-000000.tar   put whole
                                             shards/train-000000.tar.idx
    folded rows ───────────────────────────▶ emit/000000.parquet       the record, last: the shard is done

Members of other layers are checked by their sha256. Two workers on one shard write the same bytes. A clip whose bytes are not those of its row fails the shard: it is never
left out, and never let through.
"""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.engine.counts import count
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.shardmedia import ShardMedia
from shardpipe.engine.sidecar import sidecar
from shardpipe.engine.window import Window, read_windows
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import MADE, Dataset, Row, View
from shardpipe.storage.members import MemberPlace, member_columns, member_values
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter

MAX_FOLDED = 50_000
"""Folded rows kept for the next shard, which mostly needs the same units."""

FOLDS_AT_ONCE = 8
PLACE = ("offset", "size", "sha256")
TAR = "shard.tar"


@dataclass(frozen=True)
class Built:
    """A shard on scratch, and the objects that go with it. `remove` it, unless it is put."""

    unit: str
    folder: Path
    ref: TarRef
    index: bytes
    record: bytes

    def remove(self) -> None:
        """Free the scratch."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Emitter:
    """Writes the shards of the Dataset `name` as its windows plan them."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store if isinstance(store, MeteredStore) else MeteredStore(store)
        self._name = name
        layers = Dataset.open(store, name).pass_layers()
        windows = read_windows(store, name)
        # What the plan names counts: a retry that raced with it may have written newer rows since.
        self._views = {window.path: View(store, layers, paths=window.inputs) for window in windows}
        self._columns = View(store, layers, paths=()).columns()
        self._windows = {unit: window for window in windows for unit in window.shard_units}
        self._folds: OrderedDict[str, dict[str, Row]] = OrderedDict()
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
        """Read one shard's clips and write its tar to scratch; nothing is put."""
        window = self._windows[unit]
        settings = PlanSettings.model_validate({**window.settings})
        rows = self.rows(unit)
        tar = shard_name(self._name, unit)
        folder = self._store.scratch()
        try:
            with TarWriter(folder / TAR, stays=self._store.local_path(tar) is not None) as writer:
                places = self._write(writer, rows, settings)
                written = writer.close()
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
        records = [record_row(row, tar, place, self._columns) for row, place in zip(rows, places, strict=True)]
        record = encode_rows(record_columns(self._columns, others), records, meta)
        return Built(unit, folder, ref, writer.index(), record)

    def put(self, built: Built) -> RowsMeta:
        """Put a shard that was built, its index and its record; what the record that is there now says."""
        path = f"{self._name}/{built.ref.name}"
        try:
            self._store.put_file(path, built.folder / TAR)
        finally:
            built.remove()
        self._create(f"{path}.idx", built.index)
        there = decode_meta(self._log.commit(built.unit, built.record))
        if there.tar != built.ref:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(built.unit)} names another tar than this plan gives: run `shardpipe verify`"
            )
        return there

    def _create(self, path: str, data: bytes) -> None:
        """Create an object that can only be these bytes."""
        if self._store.create(path, data) != data:
            raise IntegrityError(
                f"{self._store.url}/{path} is there with other bytes than its plan gives: run `shardpipe verify`"
            )

    def rows(self, unit: str) -> list[Row]:
        """The folded row of each clip of a shard, in order; IntegrityError if rows are no longer those that were planned."""
        window = self._windows[unit]
        planned = window.clips(unit)
        by_unit: dict[str, list[Row]] = {}
        for clip in planned:
            by_unit.setdefault(clip["unit"], []).append(clip)
        found: dict[str, Row] = {}
        for name, folded in self._folded(window, list(by_unit)):
            for clip in by_unit[name]:
                row = folded.get(clip["key"])
                place = {"media": row["shard"], **{name: row[name] for name in PLACE}} if row else {}
                if row is None or any(clip[name] != value for name, value in place.items()):
                    raise IntegrityError(
                        f"{self._store.url}/{window.path}: clip {clip['key']} is not as planned: run `shardpipe verify`"
                    )
                found[clip["key"]] = row
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
        return {row["key"]: row for row in fold.rows if row["kept"]}

    def _write(self, writer: TarWriter, rows: Sequence[Row], settings: PlanSettings) -> list[dict[str, MemberPlace]]:
        """Write all samples; where each one's members came to lie, by extension."""
        columns = settings.sidecar_columns(self._columns)
        places = []
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
                places.append(place)
        return places


def made(ext: str, row: Row, columns: Columns) -> bytes:
    """A member that emit makes itself: the sidecar, or the text alone."""
    return sidecar(row, columns) if ext == "json" else str(row["text"]).encode()


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

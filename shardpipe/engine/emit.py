"""Emit: one shard as a pure function of its plan and the committed rows. No model runs, and nothing is decoded.

    kept clips' bytes ─ checked by xxh128 ─▶ shards/train-000000.tar   put whole
                                             shards/train-000000.tar.idx
    folded rows ───────────────────────────▶ emit/000000.parquet       the record, last: the shard is done

Members of other layers are checked by their sha256. Two workers on one shard write the same bytes. A clip whose bytes are not those of its row fails the shard: it is never
left out, and never let through.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import xxhash

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import count, outcome_of
from shardpipe.engine.opentars import OpenTars
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.sidecar import sidecar
from shardpipe.engine.window import Window, read_windows
from shardpipe.engine.worker import UnitWorker, Watch, scratch_folder
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import MADE, Dataset, Row, View
from shardpipe.storage.members import MemberPlace, member_columns, member_values
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.ranges import read_ranges
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import Packed, TarWriter

READ_BYTES = 64 << 20
"""Media read ahead of the tar: clips of so many bytes at once, so that neighbours in a base tar share a read."""

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
        # What the plan names counts: a retry that raced with it may have written newer rows since.
        self._views = {window.path: View(store, layers, paths=window.inputs) for window in windows}
        self._columns = View(store, layers, paths=()).columns()
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
        """Make one shard with its index and its record; what the record that is there now says."""
        window = self._windows[unit]
        settings = PlanSettings.model_validate({**window.settings})
        planned = window.clips(unit)
        rows = self._rows(window, planned)
        tar = shard_name(self._name, unit)
        with scratch_folder(self._store) as folder:
            path = folder / "shard.tar"
            with TarWriter(path) as writer:
                places = self._write(writer, planned, rows, settings)
                written = writer.close()
            self._store.put_file(f"{self._name}/{tar}", path)
        self._create(f"{self._name}/{tar}.idx", writer.index())
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
        there = decode_meta(self._log.commit(unit, encode_rows(record_columns(self._columns, others), records, meta)))
        if there.tar != ref:
            raise IntegrityError(
                f"{self._store.url}/{self._log.path(unit)} names another tar than this plan gives: run `shardpipe verify`"
            )
        return there

    def _create(self, path: str, data: bytes) -> None:
        """Create an object that can only be these bytes."""
        if self._store.create(path, data) != data:
            raise IntegrityError(
                f"{self._store.url}/{path} is there with other bytes than its plan gives: run `shardpipe verify`"
            )

    def _rows(self, window: Window, planned: Sequence[Row]) -> list[Row]:
        """The folded row of each planned clip; IntegrityError if rows are no longer those that were planned."""
        rows = []
        for clip in planned:
            if clip["unit"] not in self._folds:
                self._fold(window, clip["unit"])
            row = self._folds[clip["unit"]].get(clip["key"])
            place = {"media": row["shard"], **{name: row[name] for name in ("offset", "size", "sha256")}} if row else {}
            if row is None or any(clip[name] != value for name, value in place.items()):
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
        self._folds[unit] = {row["key"]: row for row in fold.rows if row["kept"]}
        while len(self._folds) > 1 and sum(len(rows) for rows in self._folds.values()) > MAX_FOLDED:
            self._folds.popitem(last=False)

    def _write(
        self, writer: TarWriter, planned: Sequence[Row], rows: Sequence[Row], settings: PlanSettings
    ) -> list[dict[str, MemberPlace]]:
        """Write all samples; where each one's members came to lie, by extension."""
        columns = settings.sidecar_columns(self._columns)
        places = []
        with OpenTars(self._store) as tars:
            for row, media in zip(rows, self._media(planned, rows, settings.members, tars), strict=True):
                place = {}
                for ext in settings.members:
                    name = f"{row['key']}.{ext}"
                    if ext == "mp4":
                        part = self._clip(writer, row, media.get(ext), tars)
                        place[ext] = MemberPlace(writer.path.name, part.offset, part.size, row["sha256"])
                        continue
                    data = made(ext, row, columns) if ext in MADE else media[ext]
                    place[ext] = MemberPlace(writer.path.name, *writer.add(name, data), sha256_hex(data))
                places.append(place)
        return places

    def _clip(self, writer: TarWriter, row: Row, data: memoryview | None, tars: OpenTars) -> Packed:
        """Copy a clip's mp4: straight from a local tar, or from `data` that was read; IntegrityError for other bytes."""
        if data is None:
            self._store.count_read(row["size"])
            part = tars.copy(writer, row)
        else:
            part = Packed(*writer.add(f"{row['key']}.mp4", data), xxhash.xxh3_128_hexdigest(data))
        if part.xxh128 != row["xxh128"]:
            raise IntegrityError(
                f"clip {row['key']}: bytes {row['offset']} to {row['offset'] + row['size']} of {self._store.url}/{row['shard']} "
                "are not the mp4 that was committed (its xxh128 is not the row's). Restore that object; no shard is "
                "written with other bytes"
            )
        return part

    def _media(
        self, planned: Sequence[Row], rows: Sequence[Row], members: Sequence[str], tars: OpenTars
    ) -> Iterator[dict[str, memoryview]]:
        """The layers' members of each clip, checked, in order, and its mp4 where no local file has it; in runs of READ_BYTES."""
        own = [ext for ext in members if ext not in MADE]
        for start, end in runs([clip["size"] for clip in planned], READ_BYTES):
            wanted: dict[str, list[tuple[int, str, MemberPlace]]] = {}
            for i in range(start, end):
                clip = planned[i]
                places: dict[str, MemberPlace] = {ext: rows[i]["members"][ext] for ext in own}
                if not tars.is_local(clip["media"]):
                    places["mp4"] = MemberPlace(clip["media"], clip["offset"], clip["size"], clip["sha256"])
                for ext, place in places.items():
                    wanted.setdefault(place.path, []).append((i, ext, place))
            found: list[dict[str, memoryview]] = [{} for _ in range(start, end)]
            for path, parts in wanted.items():
                for (i, ext, place), data in self._read(path, parts, planned):
                    if ext != "mp4" and sha256_hex(data) != place.sha256:
                        raise IntegrityError(
                            f"clip {planned[i]['key']}: bytes {place.offset} to {place.offset + place.size} of "
                            f"{self._store.url}/{path} are not the {ext} that was committed (its sha256 is not the "
                            "row's). Restore that object; no shard is written with other bytes"
                        )
                    found[i - start][ext] = data
            yield from found

    def _read(
        self, path: str, parts: Sequence[tuple[int, str, MemberPlace]], planned: Sequence[Row]
    ) -> Iterator[tuple[tuple[int, str, MemberPlace], memoryview]]:
        """Parts of one tar, each with its bytes: the clip's place in the shard, extension, and where it lies."""
        try:
            for j, data in read_ranges(self._store, path, [(place.offset, place.size) for _, _, place in parts]):
                yield parts[j], data
        except (FileNotFoundError, IntegrityError) as error:
            reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
            raise IntegrityError(
                f"clip {planned[parts[0][0]]['key']} (or one after it) cannot be read from "
                f"{self._store.url}/{path}: {reason}. Restore that object"
            ) from None


def made(ext: str, row: Row, columns: Columns) -> bytes:
    """A member that emit makes itself: the sidecar, or the text alone."""
    return sidecar(row, columns) if ext == "json" else str(row["text"]).encode()


def shard_name(name: str, unit: str) -> str:
    """A shard's tar, relative to its Dataset."""
    return f"shards/{name}-{unit}.tar"


def runs(sizes: Sequence[int], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Consecutive parts [start, end) of `sizes` whose sum is at most `max_bytes`, or that are one item."""
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and total + size > max_bytes:
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


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

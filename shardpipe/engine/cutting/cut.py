"""Doing one unit of `cut`: its videos to clips, a tar, and last the rows that name it.

    for each part of a video: open, probe, find scenes, cut ─▶ scratch ─▶ tar (put first) ─▶ rows (create, last)

A video that cannot be read becomes one error row; a clip that cannot be cut becomes one too. Of a clip or video that is on the
list of removed ones there is a row, and no media. Whoever puts a tar looks at the list again: what came on it meanwhile goes out
of the tar, and the unit is cut once more.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardpipe.core.clip import CLIP_COLUMNS, LOCATION, STATE, video_id
from shardpipe.core.errors import MACHINE, IntegrityError, MediaError, StoreError, for_row
from shardpipe.core.filecache import FileCache
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import count, outcome_of
from shardpipe.engine.cutting.batches import parts_of, read_batches
from shardpipe.engine.cutting.cutvideo import Part, cut_part
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.sources.lastread import LastRead
from shardpipe.engine.sources.rawfile import open_source, part_label
from shardpipe.engine.sources.sourceplace import place, source_place
from shardpipe.engine.tasks import CutTask
from shardpipe.engine.worker import UnitWorker, Watch, scratch_folder
from shardpipe.media.probe import probe
from shardpipe.storage.blanks import blank
from shardpipe.storage.commit import RowsLog, tar_name
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.removed import Entry, Removed, masked
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, decode_rows, encode_rows
from shardpipe.storage.scratch import grow
from shardpipe.storage.store import Store
from shardpipe.storage.tar import Packed, TarWriter

Row = dict[str, Any]
TIMES_DURATION = 60.0
"""A part of a video may take so many times its duration before it counts as hung, and `clip_timeout_s` more."""

SLOWEST_READ = 1e6
"""Bytes a second: a look at a video's packets that is slower, by more than `clip_timeout_s`, counts as hung."""

log = logging.getLogger(__name__)


class CutWorker(UnitWorker):
    """Cuts one unit after the other."""

    def __init__(self, task: CutTask, store: Store, watch: Watch) -> None:
        super().__init__(watch)
        self.task = task
        self.store = MeteredStore(store)
        self.meter = Meter(self.store)
        self.removed = Removed(self.store)
        self._batches: list[pa.Table] = []
        self._cache = None if task.cache is None else FileCache(task.cache)
        self._last = LastRead()
        self._num_fetched = 0

    def do(self, job: UnitJob) -> Outcome:
        """Cut a unit and commit it, unless another worker did (or one that died before it could tell)."""
        log = RowsLog(self.store, self.task.name)
        if (there := log.there(job.name, job.generation)) is not None:
            return outcome_of(job.name, there.counts, self.meter.lap(), was_done=True)
        rows, tar = self._cut(job, self._parts(job.name))
        data = self._encode(job, rows, tar)
        won = decode_meta(log.commit(job.name, data, job.generation))
        self.removed.refresh()
        self._take_out(rows, tar)
        return outcome_of(job.name, won.counts, self.meter.lap())

    def _parts(self, unit: str) -> list[Row]:
        self._batches = self._batches or read_batches(self.store, self.task.name)
        parts = parts_of(self._batches, unit)
        if not parts:
            raise IntegrityError(f"no batch of sources in {self.store.url}/{self.task.name} has unit {unit}")
        return parts

    def _cut(self, job: UnitJob, parts: list[Row]) -> tuple[list[Row], TarRef | None]:
        """The rows of these parts, and their tar, which is put and has nothing in it that is removed by now."""
        while True:
            version = self._look_for_removed(parts)
            try:
                with scratch_folder(self.store, _guess(parts), is_guess=True) as scratch:
                    rows, tar = self._cut_all(job, parts, scratch, scratch / f"{job.name}.tar")
            except IntegrityError:  # a retry found a clip gone, out of the tar that it copies from
                if self._look_for_removed(parts) == version:
                    raise
                continue
            self._look_for_removed(parts)
            if not self._take_out(rows, tar):
                return rows, tar

    def _look_for_removed(self, parts: list[Row]) -> int:
        """Read what is removed by now, also videos of this unit by another name of their place; the list's version."""
        self.removed.refresh()
        places = {source_place(source) for source in self.removed.sources}
        self.removed.take(
            Entry(None, part["url"]) for part in parts if places and place(part["url"], part["container"]) in places
        )
        return self.removed.version

    def _take_out(self, rows: list[Row], tar: TarRef | None) -> bool:
        """Take the clips that are removed by now out of the tar, which is put; whether there are any."""
        there = [row for row in rows if row["offset"] is not None]
        if tar is None or not any(self.removed.has(row["key"], row["source"]) for row in there):
            return False
        try:
            return blank(self.store, f"{self.task.name}/{tar.name}", self.removed)
        except FileNotFoundError:  # `gc` took it, as the unit is done
            return True

    def _cut_all(
        self, job: UnitJob, parts: list[Row], scratch: Path, tar_path: Path
    ) -> tuple[list[Row], TarRef | None]:
        rows: list[Row] = []
        with TarWriter(tar_path) as tar:
            settled = self._settled(job) if job.retry else {}
            for part in parts:
                if part["url"] in self.removed.sources:
                    rows.append(masked(error_row(part, "")))
                    continue
                if part["url"] in settled:
                    rows += self._copied(tar, settled[part["url"]])
                    settled[part["url"]] = []  # all its parts in this unit at once
                    continue
                for row, file in self._guarded(job, part, scratch):
                    row |= {name: part[name] for name in self.task.passthrough}
                    row = {**dict.fromkeys(LOCATION), **self.removed.mask(row)}  # noqa: PLW2901
                    rows.append(row)
                    if file is not None:
                        if row["kept"]:
                            row.update(asdict(self._pack(tar, row, file)))
                        file.unlink()
                        grow(scratch, tar_path.stat().st_size + self._num_fetched)
            if tar.num_samples == 0:
                tar.abort()
                return rows, None
            written = tar.close()
        name = tar_name("shards", job.name, job.generation, written.sha256)
        self.store.put_file(f"{self.task.name}/{name}", tar_path)
        for row in rows:
            if row["offset"] is not None:
                row["shard"] = name
        return rows, TarRef(name, written.num_bytes, written.sha256)

    def _settled(self, job: UnitJob) -> dict[str, list[Row]]:
        """For a retry: the rows of each video of this unit that gave no error in the generation before."""
        log = RowsLog(self.store, self.task.name)
        path = log.path(job.name, job.generation - 1)
        table, _ = decode_rows(self.store.read(path), f"{self.store.url}/{path}")
        by_source: dict[str, list[Row]] = {}
        for row in table.to_pylist():
            by_source.setdefault(row["source"], []).append(self.removed.mask(row))
        return {url: rows for url, rows in by_source.items() if all(row["error"] is None for row in rows)}

    def _copied(self, tar: TarWriter, rows: list[Row]) -> list[Row]:
        """Clips of the generation before, as they are, into the new tar."""
        columns = {**CLIP_COLUMNS, **self.task.passthrough}
        for row in rows:
            if row["offset"] is None:
                continue  # removed
            data = self.store.read_range(f"{self.task.name}/{row['shard']}", row["offset"], row["size"])
            if sha256_hex(data) != row["sha256"]:
                raise IntegrityError(
                    f"{self.task.name}/{row['shard']}: clip {row['key']} is damaged: run `shardpipe verify`"
                )
            tar.add(f"{row['key']}.json", sidecar(row, columns))
            row["offset"], row["size"] = tar.add(f"{row['key']}.mp4", data)  # its xxh128 stays
        return rows

    def _pack(self, tar: TarWriter, row: Row, file: Path) -> Packed:
        columns = {**CLIP_COLUMNS, **self.task.passthrough}
        tar.add(f"{row['key']}.json", sidecar(row, columns))
        return tar.add_file(f"{row['key']}.mp4", file)

    def _guarded(self, job: UnitJob, part: Row, scratch: Path) -> Iterator[tuple[Row, Path | None]]:
        """The clips of one part. Whatever goes wrong with the video is one error row; what is the machine's fault (a full
        disk) fails the unit instead, so that no such row is committed.
        """
        label = part_label(part)
        if label in job.poisoned:
            yield error_row(part, job.poisoned[label]), None
            return
        begin, end = part["start_edge_s"] or 0.0, part["end_edge_s"]
        self.watch.begin(job.name, "cut", [label], self.task.clip_timeout_s + (part["size"] or 0) / SLOWEST_READ)
        num = 0
        try:
            with open_source(part, scratch, self._cache, self._last) as media:
                facts = probe(media, sparing=True)
                span = min(end or facts.end_s, facts.end_s) - max(begin, facts.start_s)
                self.watch.begin(job.name, "cut", [label], self.task.clip_timeout_s + TIMES_DURATION * max(span, 1.0))
                scenes = (self.task.detector, self.task.policy)
                where = Part(part["part"], part["start_edge_s"], part["end_edge_s"])
                for row, file in cut_part(media, part["url"], facts, where, scenes, self.task.write, scratch):
                    num += 1
                    self._num_fetched = getattr(media, "num_fetched", 0)
                    yield row, file
                self.store.count_read(getattr(media, "num_fetched", int(part["cost"] or 0)))
        except Exception as exc:
            if isinstance(exc, StoreError):
                raise
            if isinstance(exc, OSError) and exc.errno in MACHINE:
                raise StoreError(
                    f"{label} was not cut, which is no fault of its own: {exc} (in the scratch folder {scratch.parent.parent}). Mend "
                    "that and run again"
                ) from exc
            if not isinstance(exc, MediaError | OSError):
                log.exception("cut of %s failed", label)
            text = str(exc) if isinstance(exc, MediaError | OSError) else f"{type(exc).__name__}: {exc}"
            yield error_row(part, text), None
        finally:
            self.watch.end(num)

    def _encode(self, job: UnitJob, rows: list[Row], tar: TarRef | None) -> bytes:
        columns = {**CLIP_COLUMNS, **self.task.passthrough, **STATE, **LOCATION}
        meta = RowsMeta(
            fingerprint=self.task.fingerprint,
            unit=job.name,
            generation=job.generation,
            tar=tar,
            counts=count(rows),
        )
        return encode_rows(columns, rows, meta)


def _guess(parts: Sequence[Row]) -> int:
    """About how many bytes of scratch a unit needs: its tar, and what is fetched of one remote video at a time."""
    costs = [float(part["cost"] or 0) for part in parts]
    return round(sum(costs) + max(costs, default=0.0))


def error_row(part: Mapping[str, Any], message: str) -> Row:
    """The row of a video (or part) that gave no clips."""
    own = video_id(part["url"])
    key = f"{own}_p{part['part']}" if part["part"] else own
    empty = dict.fromkeys([*CLIP_COLUMNS, *LOCATION])
    state = {"kept": False, "dropped_by": "error: cut", "error": for_row(message)}
    return {**empty, "key": key, "source": part["url"], "video_id": own, **state}

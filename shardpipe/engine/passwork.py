"""Doing units of a pass: fold, rules and cheap stages first, one decode, the other stages by batch, rows last.

    begin(unit 2)  fold ─ rules ─ stages without frames ─ rules ─▶ clips to decode ─┐
                                                                                    ▼ (decode processes)
    finish(unit 1) batches of decoded clips ─ stage ─ rules ─ stage ─ ... ─▶ rows, committed

Two units are in flight, so that decoders and models do not wait for a unit's last clips or its commit.
"""

import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from shardpipe.core.errors import IncompleteError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.shared import SharedStage
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.clipmedia import MediaSource
from shardpipe.engine.counts import outcome_of
from shardpipe.engine.decoders import Decoded, DecodeProcess, Decoder, InProcessDecoder
from shardpipe.engine.flow import DecodeFlow, Ticket
from shardpipe.engine.passweights import check_loads
from shardpipe.engine.program import StageStep, Step, union_requests
from shardpipe.engine.reuse import Reuse, settle
from shardpipe.engine.sink import Sink
from shardpipe.engine.stagebatch import ClipState, run_stage
from shardpipe.engine.tasks import PassTask
from shardpipe.engine.units import input_layers
from shardpipe.engine.worker import Jobs, Watch, failed
from shardpipe.storage.dataset import Fold, View
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.rows import RowsMeta
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale

MAX_BATCH_BYTES = 256 << 20
"""A batch is run when its frames take so much memory, full or not."""

UNITS_IN_FLIGHT = 2


@dataclass
class _Flight:
    """A unit in flight."""

    job: UnitJob
    fold: Fold
    clips: list[ClipState]
    done: "queue.SimpleQueue[tuple[Ticket, Decoded]]"
    num_decoding: int = 0
    ready: list[ClipState] = field(default_factory=list)  # clips that need no decode
    decode_cpu_s: float = 0.0
    gpu_s: float = 0.0
    num_decoded: int = 0
    num_from_stills: int = 0
    committed: RowsMeta | None = None  # by another worker, before this one began


class PassWorker:
    """A worker of a pass: its stages are set up once, its decoders live as long as it does."""

    def __init__(self, task: PassTask, store: Store, device: str, watch: Watch) -> None:
        self.task = task
        self.device = device
        self.watch = watch
        self.store = MeteredStore(store)
        self.meter = Meter(self.store)
        self.view = View(self.store, input_layers(self.store, task.inputs))
        self.sink = Sink(self.store, task)
        self.reuse = Reuse(self.store, task)
        program = task.program
        cut = program.num_before_frames
        self._early, self._late = program.steps[:cut], program.steps[cut:]
        self._for_others = program.for_others
        self._framed = [step for step in self._late if isinstance(step, StageStep) and step.requests]
        self._media = MediaSource(self.store, num_stills=program.num_stills, stills_only=program.stills_only)
        self._flow = self._start_decoding()
        try:
            for step in program.stages:
                check_loads(task.name, step)
                step.stage.setup(device)
        except BaseException:
            self.close()
            raise

    def _start_decoding(self) -> DecodeFlow | None:
        if not self._framed:
            return None
        decoders: list[Decoder] = [InProcessDecoder()]
        if self.task.decoders:
            processes = [
                DecodeProcess(timeout_s=self.task.clip_timeout_s, memory_bytes=self.task.clip_memory)
                for _ in range(self.task.decoders)
            ]
            for process in processes:
                process.start()
            decoders = list(processes)
        # a batch at the model, and the whole next one: else the model would wait for what was not decoded meanwhile
        return DecodeFlow(decoders, max_held=2 * self.task.batch_clips + 2 * len(decoders))

    def close(self) -> None:
        """End the decoders."""
        if self._flow is not None:
            self._flow.close()

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """Units in order, the next one begun as soon as it is there, while batches of the one at hand still run."""
        flights: deque[_Flight] = deque()
        while True:
            job = jobs.get(wait=not flights) if len(flights) < UNITS_IN_FLIGHT else None
            if job is not None:
                try:
                    flights.append(self._begin(job))
                except Exception as exc:  # noqa: BLE001  one unit's failure must not end the others
                    yield failed(job, exc)
            elif flights:
                flight = flights[0]
                try:
                    outcome = self._advance(flight)
                except Exception as exc:  # noqa: BLE001
                    self._drain(flight)
                    outcome = failed(flight.job, exc)
                if outcome is not None:
                    flights.popleft()
                    yield outcome
            else:
                return

    def _begin(self, job: UnitJob) -> _Flight:
        fold = self._fold(job)
        if (there := self.sink.there(job)) is not None:
            return _Flight(job, fold, [], queue.SimpleQueue(), committed=there)
        clips = [ClipState(row["key"], row) for row in fold.rows if row["kept"]]
        if job.retry:
            settle(self.store, self.task, job, clips)
        self.reuse.fill(fold.unit, [clip for clip in clips if clip.alive])
        flight = _Flight(job, fold, clips, queue.SimpleQueue())
        for batch in self._batches(flight, clips):
            self._run_steps(flight, self._early, batch, {})
        for clip in clips:
            media = self._media.of(clip.row, self._requests(clip)) if clip.alive else None
            clip.unserved = media.unserved if media is not None else {}
            requests = self._requests(clip)
            if media is not None and requests:
                assert self._flow is not None
                flight.num_decoding += 1
                flight.num_decoded += media.is_decoded
                flight.num_from_stills += media.uses_stills
                self._flow.submit(Ticket(clip, flight.done), media.fetch, requests)
            else:
                flight.ready.append(clip)
        return flight

    def _fold(self, job: UnitJob) -> Fold:
        unit, part = job.name, None
        if self.task.unit_clips is not None:
            unit, _, number = job.name.rpartition("-")
            part = int(number)
        if not self.view.listed(unit):
            self.view.refresh()
        fold = self.view.fold(unit)
        if part is not None:
            size = self.task.unit_clips or 1
            fold = replace(fold, rows=fold.rows[part * size : (part + 1) * size])
        return fold

    def _needed(self, clip: ClipState) -> list[StageStep]:
        """The stages that this clip's frames are decoded for."""
        return [step for step in self._framed if self._wants(clip, step)]

    def _requests(self, clip: ClipState) -> tuple[FrameRequest, ...]:
        """The distinct frames that these want, less those that nothing may serve."""
        return tuple(each for each in union_requests(self._needed(clip))[0] if each not in clip.unserved)

    def _wants(self, clip: ClipState, step: StageStep) -> bool:
        """Whether this clip goes through a stage: not where its result, or that of all whom it works for, is reused."""
        if isinstance(step.stage, SharedStage):
            return any(other.result_id not in clip.reused for other in self._for_others[step.stage.column])
        return step.result_id not in clip.reused

    def _advance(self, flight: _Flight) -> Outcome | None:
        """Run what is ready, or else a batch as it comes out of the decoders; commit the unit where nothing is left."""
        ready, flight.ready = flight.ready, []
        for batch in self._batches(flight, ready):
            self._run_steps(flight, self._late, batch, {})
        if flight.num_decoding:
            self._run_decoded(flight)
            return None
        won = flight.committed or self.sink.commit(flight.job, flight.fold, flight.clips)
        self._check_current(flight, won)
        decode_cpu_s = flight.decode_cpu_s if self.task.decoders else 0.0
        usage = self.meter.lap(extra_cpu_s=decode_cpu_s, gpu_s=flight.gpu_s)
        usage = replace(usage, num_decoded=flight.num_decoded, num_from_stills=flight.num_from_stills)
        return outcome_of(flight.job.name, won.counts, usage, was_done=flight.committed is not None)

    def _check_current(self, flight: _Flight, won: RowsMeta) -> None:
        """Raise IncompleteError where another worker's rows are there, and were made from rows that count no more."""
        if won.inputs != flight.fold.inputs:
            self.view.refresh()
            if reason := stale(won, self._fold(flight.job).inputs):
                raise IncompleteError(
                    f"unit {flight.job.name} of {self.task.name} was done meanwhile by a worker that came too late: its "
                    f"rows {reason}. Run again"
                )

    def _run_decoded(self, flight: _Flight) -> None:
        decoded: dict[str, Decoded] = {}
        try:
            batch = self._take_decoded(flight, decoded)
            for part in self._batches(flight, batch):
                self._run_steps(flight, self._late, part, decoded)
        finally:
            for frames in decoded.values():
                frames.release()

    def _take_decoded(self, flight: _Flight, decoded: dict[str, Decoded]) -> list[ClipState]:
        """A batch of clips as they come out of the decoders; their frames go into `decoded`."""
        batch: list[ClipState] = []
        num_bytes = 0
        while flight.num_decoding and len(batch) < self.task.batch_clips and num_bytes < MAX_BATCH_BYTES:
            ticket, frames = flight.done.get()
            flight.num_decoding -= 1
            batch.append(ticket.subject)
            decoded[ticket.subject.key] = frames
            num_bytes += frames.num_bytes
            flight.decode_cpu_s += frames.cpu_s
            if frames.raised is not None:
                raise frames.raised
        return batch

    def _drain(self, flight: _Flight) -> None:
        """Give back the frames of a unit that failed."""
        while flight.num_decoding:
            flight.done.get()[1].release()
            flight.num_decoding -= 1

    def _batches(self, flight: _Flight, clips: Sequence[ClipState]) -> Iterator[list[ClipState]]:
        """Clips that may run together; one that was in a batch when a worker died runs alone."""
        suspects = flight.job.suspects
        plain = [clip for clip in clips if clip.key not in suspects]
        size = self.task.batch_clips
        for i in range(0, len(plain), size):
            yield plain[i : i + size]
        for clip in clips:
            if clip.key in suspects:
                yield [clip]

    def _run_steps(
        self, flight: _Flight, steps: Sequence[Step], batch: list[ClipState], decoded: dict[str, Decoded]
    ) -> None:
        for step in steps:
            alive = [clip for clip in batch if clip.alive]
            if not alive:
                return
            if isinstance(step, StageStep):
                self._run_stage(flight, step, [clip for clip in alive if self._wants(clip, step)], decoded)
            else:
                reasons = step.dropped_by([clip.row for clip in alive], self.task.program.schema)
                for clip, reason in zip(alive, reasons, strict=True):
                    clip.dropped_by = reason

    def _run_stage(self, flight: _Flight, step: StageStep, clips: list[ClipState], decoded: dict[str, Decoded]) -> None:
        ready, frame_sets = [], []
        for clip in clips:
            frames = decoded.get(clip.key)
            what, _, reason = flight.job.poisoned.get(clip.key, "").partition(": ")
            if what == step.stage.type:
                clip.fail(step, reason)
            elif (missing := clip.error_before(step)) is not None:
                clip.fail(step, missing)
            elif step.requests and frames is not None and frames.error is not None:
                clip.fail(step, frames.error)
            else:
                ready.append(clip)
                frame_sets.append(self._frames_for(step, clip, frames))
        if not ready:
            return
        began = time.monotonic()
        self.watch.begin(flight.job.name, step.stage.type, [clip.key for clip in ready], self.task.batch_timeout_s)
        try:
            run_stage(step, ready, frame_sets)
        finally:
            self.watch.end(len(ready))
        if self.device != "cpu" and step.stage.uses_device:
            flight.gpu_s += time.monotonic() - began

    def _frames_for(self, step: StageStep, clip: ClipState, decoded: Decoded | None) -> tuple[Frames, ...]:
        """The frames of a clip that this stage asked for, out of the union."""
        if decoded is None or not step.requests:
            return ()
        requests = self._requests(clip)
        there = next(each for each in step.requests if each in requests)
        # what a shared step makes of `there` in place of frames that are not to be had, nobody reads: who asked has failed
        found = [requests.index(each if each in requests else there) for each in step.requests]
        return tuple(decoded.frame_sets[i] for i in found)

"""Doing units of a pass: fold, rules and cheap stages first, one decode, the other stages by batch, rows last.

    begin(unit 2)  fold ─ rules ─ stages without frames ─ rules ─▶ clips to decode ─┐
                                                                                    ▼ (decode processes)
    events         decoded clips, a batch at a time ─▶ steps ─▶ AsyncStage ─▶ (sent, answered later) ─▶ steps ─▶ through
    commit(unit 1) where all its clips are through ─▶ rows

Two units are in flight, so that decoders and models do not wait for a unit's last clips or its commit; with an AsyncStage, as
many as its clips in flight need.
"""

import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace

from shardpipe.core.asyncstage import AsyncStage, Opened
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import outcome_of
from shardpipe.engine.passes.clipmedia import MediaSource
from shardpipe.engine.passes.decoders import Decoded, DecodeProcess, Decoder, InProcessDecoder
from shardpipe.engine.passes.engines import engine_mates, joined_opens
from shardpipe.engine.passes.flight import Flight
from shardpipe.engine.passes.flow import DecodeFlow, Ticket
from shardpipe.engine.passes.inflight import Answered, EngineGoneError
from shardpipe.engine.passes.lookthrough import LookThrough
from shardpipe.engine.passes.passweights import check_loads
from shardpipe.engine.passes.reuse import Reuse, settle
from shardpipe.engine.passes.sink import Sink
from shardpipe.engine.passes.stagebatch import ClipState
from shardpipe.engine.passes.steprun import StepRunner
from shardpipe.engine.tasks import PassTask
from shardpipe.engine.units import input_layers
from shardpipe.engine.worker import Jobs, Watch, failed
from shardpipe.storage.dataset import Fold, View
from shardpipe.storage.lookback import NAMES
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.rows import RowsMeta
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale

MAX_BATCH_BYTES = 256 << 20
"""A batch is run when its frames take so much memory, full or not."""

UNITS_IN_FLIGHT = 2
MOST_UNITS_IN_FLIGHT = 64
"""With AsyncStages, whose clips in flight may be of many small units."""


class PassWorker:
    """A worker of a pass: its stages are set up once, its decoders live as long as it does."""

    def __init__(self, task: PassTask, store: Store, device: str, watch: Watch) -> None:
        self.task = task
        self.device = device
        self.store = MeteredStore(store)
        self.meter = Meter(self.store)
        self.view = View(self.store, input_layers(self.store, task.inputs))
        self.sink = Sink(self.store, task, self.view)
        self.reuse = Reuse(self.store, task)
        program = task.program
        self._events: queue.SimpleQueue[tuple[Ticket, Decoded] | Answered] = queue.SimpleQueue()
        self._steps = StepRunner(task, device, watch, self._events.put)
        self._media = MediaSource(self.store, num_stills=program.num_stills, stills_only=program.stills_only)
        self._opened: list[Opened] = []
        self._looked: LookThrough | None = None
        self._flow = self._start_decoding()
        try:
            self._set_up_stages()
        except BaseException:
            self.close()
            raise

    def _set_up_stages(self) -> None:
        """Stages with an engine of their own last: it fills what the others leave of a device."""
        steps = self.task.program.stages
        for step in steps:
            check_loads(self.task.name, step)
        for step in steps:
            if not isinstance(step.stage, AsyncStage):
                step.stage.setup(self.device.split(",")[0])
        if self.task.program.looking_back:
            self._looked = LookThrough(self.view, self.task.program)
        waiting = [step.stage for step in steps if isinstance(step.stage, AsyncStage)]
        while waiting:
            stages = engine_mates(waiting)
            opened = joined_opens(stages).open(self.device.split(","))
            self._opened.append(opened)
            for stage in stages:
                stage.use(opened)
                waiting.remove(stage)

    def _start_decoding(self) -> DecodeFlow | None:
        if not self._steps.framed:
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
        max_held = 2 * self.task.batch_clips + 2 * len(decoders) + self._steps.most_held_in_flight
        return DecodeFlow(decoders, max_held=max_held)

    def close(self) -> None:
        """End the decoders and engines."""
        for opened in self._opened:
            opened.close()
        if self._flow is not None:
            self._flow.close()
        self._media.close()

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """Units in order, the next ones begun as soon as they are there, while clips of those at hand still run."""
        flights: list[Flight] = []
        while True:
            job = None
            if self._may_begin(flights):
                job = jobs.get(wait=not flights, beyond=len(flights) >= UNITS_IN_FLIGHT)
            if job is not None:
                try:
                    flights.append(self._begin(job))
                except Exception as exc:  # noqa: BLE001  one unit's failure must not end the others
                    yield failed(job, exc)
            elif not flights:
                return
            else:
                yield from self._advance(flights)

    def _may_begin(self, flights: Sequence[Flight]) -> bool:
        if len(flights) < UNITS_IN_FLIGHT:
            return True
        wanted = self._steps.most_in_flight
        num_left = sum(flight.num_left for flight in flights)
        return wanted > 0 and len(flights) < MOST_UNITS_IN_FLIGHT and num_left < wanted + 2 * self.task.batch_clips

    def _begin(self, job: UnitJob) -> Flight:
        self.view.removed.refresh()
        version = self.view.removed.version
        try:
            return self._begin_now(job)
        except IntegrityError:  # a result of before is gone, with its clip
            self.view.removed.refresh()
            if self.view.removed.version == version:
                raise
            return self._begin(job)

    def _begin_now(self, job: UnitJob) -> Flight:
        fold = self._fold(job)
        if (there := self.sink.there(job)) is not None:
            return Flight(job, fold, [], committed=there)
        places = self._looked.places(fold.unit) if self._looked is not None else {}
        clips = [ClipState(row["key"], row, place=places.get(row["key"])) for row in fold.rows if row["kept"]]
        flight = Flight(job, fold, clips)
        try:
            if job.retry:
                settle(self.store, self.task, job, flight.clips, fold.inputs)
            self.reuse.fill(fold.unit, [clip for clip in flight.clips if clip.alive])
            self._steps.run_early(flight, flight.clips)
            for clip in flight.clips:
                if clip.alive:
                    self._start(flight, clip)
            self._media.go()
        except BaseException:
            self._abandon(flight)
            raise
        return flight

    def _start(self, flight: Flight, clip: ClipState) -> None:
        """Have a clip decoded, if one of its stages wants frames."""
        flight.num_left += 1
        media = self._media.of(clip.row, self._steps.requests(clip))
        clip.unserved = media.unserved
        requests = self._steps.requests(clip)
        if not requests:
            flight.ready.append(clip)
            return
        assert self._flow is not None
        flight.num_decoding += 1
        flight.num_decoded += media.is_decoded
        flight.num_from_stills += media.uses_stills
        self._flow.submit(Ticket((flight, clip), self._events), media.ask(), requests)

    def _fold(self, job: UnitJob) -> Fold:
        unit, part = job.name, None
        if self.task.unit_clips is not None:
            unit, _, number = job.name.rpartition("-")
            part = int(number)
        fold = self.view.fold(unit)
        if self._looked is not None:
            fold = self._looked.checked(fold)
        if part is not None:
            size = self.task.unit_clips or 1
            fold = replace(fold, rows=fold.rows[part * size : (part + 1) * size])
        return fold

    def _advance(self, flights: list[Flight]) -> Iterator[Outcome]:
        """Run what can be run, else wait for the next event; commit the units of which nothing is left."""
        self._steps.send()
        if not any(flight.ready or not flight.num_left for flight in flights):
            self._take_events()
        for flight in list(flights):
            try:
                self._run_ready(flight)
                if flight.num_left:
                    continue
                outcome = self._commit(flight)
            except Exception as exc:  # noqa: BLE001  one unit's failure must not end the others
                self._abandon(flight)
                outcome = replace(failed(flight.job, exc), engine_gone=isinstance(exc, EngineGoneError))
            flights.remove(flight)
            yield outcome

    def _take_events(self) -> None:
        """Wait for an event, and take all that are there: clips that were decoded, and answers."""
        event = self._events.get()
        while True:
            if isinstance(event, Answered):
                self._steps.take_answer(event)
            else:
                self._take_decoded(*event)
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return

    def _take_decoded(self, ticket: Ticket, frames: Decoded) -> None:
        flight, clip = ticket.subject
        flight.num_decoding -= 1
        flight.decode_cpu_s += frames.cpu_s
        if flight.failure is not None:
            frames.release()
            return
        flight.failure = frames.raised
        flight.frames[clip.key] = frames
        flight.arrived.append(clip)

    def _run_ready(self, flight: Flight) -> None:
        """The steps of clips that need no decode, of a batch that was decoded, and of those that were answered."""
        if flight.failure is not None:
            raise flight.failure
        ready, flight.ready = flight.ready, []
        self._steps.run_late(flight, ready)
        while batch := flight.next_batch(self.task.batch_clips, MAX_BATCH_BYTES):
            self._steps.run_late(flight, batch)
        self._steps.run_answered(flight)

    def _abandon(self, flight: Flight) -> None:
        """Give back the frames of a unit that failed, and those that are still to come."""
        self._steps.forget(flight)
        flight.failure = flight.failure or IncompleteError(f"unit {flight.job.name} failed")
        flight.abandon()

    def _commit(self, flight: Flight) -> Outcome:
        won = flight.committed or self.sink.commit(flight.job, flight.fold, flight.clips)
        self._check_current(flight, won)
        decode_cpu_s = flight.decode_cpu_s if self.task.decoders else 0.0
        usage = self.meter.lap(extra_cpu_s=decode_cpu_s, gpu_s=flight.gpu_s + self._steps.lap_gpu_s())
        usage = replace(
            usage,
            num_decoded=flight.num_decoded,
            num_from_stills=flight.num_from_stills,
            num_idle=flight.num_idle,
            idle_s=flight.idle_s,
        )
        return outcome_of(flight.job.name, won.counts, usage, was_done=flight.committed is not None)

    def _check_current(self, flight: Flight, won: RowsMeta) -> None:
        """Raise IncompleteError where another worker's rows are there, and were made from rows that count no more."""
        if won.inputs != flight.fold.inputs:
            self.view.refresh()
            inputs = self.view.fold(flight.fold.unit, ()).inputs
            if self._looked is not None:
                inputs[NAMES] = self.view.names_so_far()[flight.fold.unit]
            if reason := stale(won, inputs):
                raise IncompleteError(
                    f"unit {flight.job.name} of {self.task.name} was done meanwhile by a worker that came too late: its "
                    f"rows {reason}. Run again"
                )

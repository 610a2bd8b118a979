"""Running the steps of a pass on batches of clips, from whichever step on: rules, stages, and stages that answer later."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from shardpipe.core.asyncstage import AsyncStage
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.shared import SharedStage
from shardpipe.engine.passes.flight import Flight
from shardpipe.engine.passes.inflight import Answered, InFlight, Sent
from shardpipe.engine.passes.program import StageStep, Step
from shardpipe.engine.passes.rules import RuleSet
from shardpipe.engine.passes.stagebatch import ClipState, run_stage
from shardpipe.engine.tasks import PassTask
from shardpipe.engine.worker import Watch


class StepRunner:
    """The steps of one pass, as one worker runs them.

    framed: its stages that see frames.
    """

    def __init__(self, task: PassTask, device: str, watch: Watch, answered: Callable[[Answered], None]) -> None:
        program = task.program
        self._schema = program.schema
        self._device = device
        self._watch = watch
        self._batch_timeout_s = task.batch_timeout_s
        self._batch_clips = task.batch_clips
        cut = program.num_before_frames
        self._early, self._late = program.steps[:cut], program.steps[cut:]
        self._for_others = program.for_others
        self.framed = [step for step in self._late if isinstance(step, StageStep) and step.requests]
        self._last_framed = max((at for at, step in enumerate(self._late) if step in self.framed), default=-1)
        self._in_flight = InFlight(watch, answered)
        self._answered: dict[str, list[Answered]] = defaultdict(list)  # by unit

    @property
    def most_in_flight(self) -> int:
        """How many clips its AsyncStages take at once; 0 where it has none."""
        return max((stage.max_in_flight for _, stage in self._async_stages()), default=0)

    @property
    def most_held_in_flight(self) -> int:
        """Of how many clips the frames are held while an AsyncStage has them, since a later stage wants them too."""
        return sum(stage.max_in_flight for at, stage in self._async_stages() if at < self._last_framed)

    def _async_stages(self) -> Iterator[tuple[int, AsyncStage]]:
        for at, step in enumerate(self._late):
            if isinstance(step, StageStep) and isinstance(step.stage, AsyncStage):
                yield at, step.stage

    def requests(self, clip: ClipState) -> tuple[FrameRequest, ...]:
        """The distinct frames that this clip's stages want, less those that nothing may serve."""
        wanted = dict.fromkeys(each for step in self.framed if self._wants(clip, step) for each in step.requests)
        return tuple(each for each in wanted if each not in clip.unserved)

    def run_early(self, flight: Flight, clips: Sequence[ClipState]) -> None:
        """The steps before any frame is needed."""
        for batch in self._batches(flight, clips):
            self._run(flight, self._early, 0, batch)

    def run_late(self, flight: Flight, clips: Sequence[ClipState], start: int = 0) -> None:
        """The other steps, from number `start` on. Clips that an AsyncStage has go on when it has answered."""
        for batch in self._batches(flight, clips):
            here = self._run(flight, self._late, start, batch)
            flight.end(here)

    def send(self) -> None:
        """Hand to AsyncStages what they take now."""
        for sent in self._in_flight.send():
            if sent.at >= self._last_framed:
                sent.flight.release(sent.clip)

    def take_answer(self, answered: Answered) -> None:
        """An answer has come; `run_answered` of its unit goes on with it."""
        self._in_flight.back(answered)
        if answered.sent.flight.failure is None:
            self._answered[answered.sent.flight.job.name].append(answered)

    def run_answered(self, flight: Flight) -> None:
        """Go on with the clips that were answered; raises what ends the unit."""
        by_step: dict[int, list[Answered]] = defaultdict(list)
        for each in self._answered.pop(flight.job.name, ()):
            by_step[each.sent.at].append(each)
        for at, group in by_step.items():
            for each in group:
                if each.raised is not None:
                    raise each.raised
                each.sent.clip.take(each.sent.step, each.result)
            self.run_late(flight, [each.sent.clip for each in group], at + 1)

    def forget(self, flight: Flight) -> None:
        """The unit failed: nothing more of it is sent."""
        self._in_flight.forget(flight)
        self._answered.pop(flight.job.name, None)

    def lap_gpu_s(self) -> float:
        """Seconds in which an AsyncStage had its device since this was last asked; 0 on a CPU."""
        busy_s = self._in_flight.lap_busy_s()
        uses_gpu = self._device != "cpu" and any(stage.uses_device for _, stage in self._async_stages())
        return busy_s if uses_gpu else 0.0

    def _batches(self, flight: Flight, clips: Sequence[ClipState]) -> Iterator[list[ClipState]]:
        """Clips that may run together; one that was in a batch when a worker died runs alone."""
        suspects = flight.job.suspects
        plain = [clip for clip in clips if clip.key not in suspects]
        for i in range(0, len(plain), self._batch_clips):
            yield plain[i : i + self._batch_clips]
        for clip in clips:
            if clip.key in suspects:
                yield [clip]

    def _run(self, flight: Flight, steps: Sequence[Step], start: int, batch: list[ClipState]) -> list[ClipState]:
        """The steps of a batch; those of its clips that are not with an AsyncStage now."""
        here = batch
        for at in range(start, len(steps)):
            step = steps[at]
            alive = [clip for clip in here if clip.alive]
            if not alive:
                break
            if isinstance(step, RuleSet):
                reasons = step.dropped_by([clip.row for clip in alive], self._schema)
                for clip, reason in zip(alive, reasons, strict=True):
                    clip.dropped_by = reason
                continue
            for clip in alive:
                clip.take_reused(step)
            ready = self._ready(flight, step, [clip for clip in alive if self._wants(clip, step)])
            if isinstance(step.stage, AsyncStage):
                self._in_flight.put([Sent(flight, clip, step, at, frames) for clip, frames in ready])
                away = {clip.key for clip, _ in ready}
                here = [clip for clip in here if clip.key not in away]
            elif ready:
                self._run_stage(flight, step, ready)
        return here

    def _wants(self, clip: ClipState, step: StageStep) -> bool:
        """Whether this clip goes through a stage: not where its result, or that of all whom it works for, is reused."""
        if isinstance(step.stage, SharedStage):
            return any(other.result_id not in clip.reused for other in self._for_others[step.stage.column])
        return step.result_id not in clip.reused

    def _ready(
        self, flight: Flight, step: StageStep, clips: Sequence[ClipState]
    ) -> list[tuple[ClipState, tuple[Frames, ...]]]:
        """The clips that a stage can work on, with their frames; the others have failed."""
        ready = []
        for clip in clips:
            frames = flight.frames.get(clip.key)
            what, _, reason = flight.job.poisoned.get(clip.key, "").partition(": ")
            if what == step.stage.type:
                clip.fail(step, reason)
            elif (missing := clip.error_before(step)) is not None:
                clip.fail(step, missing)
            elif step.requests and frames is not None and frames.error is not None:
                clip.fail(step, frames.error)
            else:
                ready.append((clip, self._frames_for(flight, step, clip)))
        return ready

    def _run_stage(
        self, flight: Flight, step: StageStep, ready: Sequence[tuple[ClipState, tuple[Frames, ...]]]
    ) -> None:
        clips = [clip for clip, _ in ready]
        began = time.monotonic()
        self._watch.begin(flight.job.name, step.stage.type, [clip.key for clip in clips], self._batch_timeout_s)
        try:
            run_stage(step, clips, [frames for _, frames in ready])
        finally:
            self._watch.end(len(clips))
        if self._device != "cpu" and step.stage.uses_device:
            flight.gpu_s += time.monotonic() - began

    def _frames_for(self, flight: Flight, step: StageStep, clip: ClipState) -> tuple[Frames, ...]:
        """The frames of a clip that this stage asked for, out of the union."""
        decoded = flight.frames.get(clip.key)
        if decoded is None or not step.requests:
            return ()
        requests = self.requests(clip)
        there = next(each for each in step.requests if each in requests)
        # what a shared step makes of `there` in place of frames that are not to be had, nobody reads: who asked has failed
        found = [requests.index(each if each in requests else there) for each in step.requests]
        return tuple(decoded.frame_sets[i] for i in found)

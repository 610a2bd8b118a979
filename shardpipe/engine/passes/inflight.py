"""Clips that are with AsyncStages: sent as far as these take them, answered in any order, whichever unit they are of.

    put ─▶ waiting, a queue a stage ─▶ send: submit, max_in_flight at a time ─▶ future ─▶ events.put(Answered)

A clip that was there when a worker died is sent alone, once all others are answered.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from shardpipe.core.asyncstage import AsyncStage
from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.engine.passes.flight import Flight
from shardpipe.engine.passes.program import StageStep
from shardpipe.engine.passes.stagebatch import ClipState, seal
from shardpipe.engine.worker import Watch


class EngineGoneError(UnitError):
    """What answers the clips of an AsyncStage is gone, or refuses all of them: no unit can be done with it."""


@dataclass(frozen=True)
class Sent:
    """A clip of a unit at an AsyncStage, which is step number `at`."""

    flight: Flight
    clip: ClipState
    step: StageStep
    at: int
    frames: tuple[Frames, ...]

    @property
    def is_suspect(self) -> bool:
        """Whether it was in flight when a worker died."""
        return self.clip.key in self.flight.job.suspects


@dataclass(frozen=True)
class Answered:
    """What came back of a clip."""

    sent: Sent
    result: Result
    raised: EngineGoneError | None = None


class InFlight:
    """Who waits to be sent, and who is on the way."""

    def __init__(self, watch: Watch, answered: Callable[[Answered], None]) -> None:
        self._watch = watch
        self._answered = answered
        self._waiting: dict[int, deque[Sent]] = {}
        self._num_sent: Counter[int] = Counter()
        self._busy_since: float | None = None
        self._idle_since: float | None = None
        self._busy_s = 0.0

    @property
    def num_sent(self) -> int:
        """Clips that are on the way."""
        return self._num_sent.total()

    def put(self, clips: Sequence[Sent]) -> None:
        """Queue clips for their stage."""
        for each in clips:
            self._waiting.setdefault(each.at, deque()).append(each)

    def send(self) -> list[Sent]:
        """Send what may be sent now; those that were, so that frames that nobody else needs can be given back."""
        sent: list[Sent] = []
        for at, queue in self._waiting.items():
            while queue and self._may_go(queue[0]):
                each = queue.popleft()
                sent.append(each)
                if each.is_suspect:
                    self._ask_alone(each)
                else:
                    self._num_sent[at] += 1
                    self._send(each)
        return sent

    def back(self, answered: Answered) -> None:
        """Count an answer in: its place is free."""
        sent = answered.sent
        if sent.is_suspect:
            return
        self._num_sent[sent.at] -= 1
        self._watch.answered(sent.flight.job.name, sent.clip.key)
        if not self.num_sent:
            now = time.monotonic()
            assert self._busy_since is not None
            self._busy_s += now - self._busy_since
            self._busy_since, self._idle_since = None, now

    def lap_busy_s(self) -> float:
        """Seconds in which something was on the way since this was last asked."""
        now = time.monotonic()
        busy_s, self._busy_s = self._busy_s, 0.0
        if self._busy_since is not None:
            busy_s += now - self._busy_since
            self._busy_since = now
        return busy_s

    def forget(self, flight: Flight) -> None:
        """Send no more clips of a unit that failed."""
        for queue in self._waiting.values():
            left = [each for each in queue if each.flight is not flight]
            queue.clear()
            queue.extend(left)

    def _may_go(self, first: Sent) -> bool:
        if self._suspect_waits() and not first.is_suspect:
            return False
        if first.is_suspect:
            return self.num_sent == 0
        stage = first.step.stage
        assert isinstance(stage, AsyncStage)
        return self._num_sent[first.at] < stage.max_in_flight

    def _suspect_waits(self) -> bool:
        return any(queue and queue[0].is_suspect for queue in self._waiting.values())

    def _send(self, sent: Sent) -> None:
        now = time.monotonic()
        if self._busy_since is None:
            self._busy_since = now
            if self._idle_since is not None:
                sent.flight.num_idle += 1
                sent.flight.idle_s += now - self._idle_since
        self._watch.sent(sent.flight.job.name, sent.step.stage.type, sent.clip.key)
        future = _submitted(sent)
        future.add_done_callback(lambda done: self._answered(_answer(sent, done)))

    def _ask_alone(self, sent: Sent) -> None:
        self._watch.begin(sent.flight.job.name, sent.step.stage.type, [sent.clip.key], float("inf"))
        try:
            self._answered(_answer(sent, _submitted(sent)))
        finally:
            self._watch.end(0)


def _submitted(sent: Sent) -> "Future[Result]":
    """The future of a clip's result; one that holds the exception where it could not even be submitted."""
    stage = sent.step.stage
    assert isinstance(stage, AsyncStage)
    seal(sent.frames)
    try:
        return stage.submit(ClipView(sent.clip.key, MappingProxyType(sent.clip.row), sent.frames, sent.clip.place))
    except Exception as exc:  # noqa: BLE001  of a stage, as in `process`
        failed: Future[Result] = Future()
        failed.set_exception(exc)
        return failed


def _answer(sent: Sent, done: "Future[Any]") -> Answered:
    """A future's result, or its exception as the clip's error; a UnitError or ConfigError is no fault of the clip."""
    try:
        return Answered(sent, done.result())
    except (UnitError, ConfigError) as exc:
        return Answered(sent, ClipError(str(exc)), raised=EngineGoneError(str(exc)))
    except BaseException as exc:  # noqa: BLE001  of a stage; a cancelled future too
        return Answered(sent, ClipError(f"{type(exc).__name__}: {exc}"))

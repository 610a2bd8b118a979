"""Stages that answer later, for tests of how passes run them: a pool of threads stands for the engine."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from support.fakes import ONE_FRAME, note, start_of

from shardpipe.core.asyncstage import AsyncStage, Opens
from shardpipe.core.columns import Writes, int64
from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.core.frames import FrameRequest
from shardpipe.core.stage import ClipError, ClipView, Result

OPENED: list["Pool"] = []
"""What was opened in this process."""


class Pool:
    """Answers in threads; knows how many requests it had at once."""

    def __init__(self, size: int) -> None:
        self._threads = ThreadPoolExecutor(size)
        self._lock = threading.Lock()
        self.num_in = self.most_in = 0
        self.is_closed = self.is_gone = False
        OPENED.append(self)

    def submit(self, work: Any) -> "Future[Result]":
        with self._lock:
            self.num_in += 1
            self.most_in = max(self.most_in, self.num_in)
        future: Future[Result] = self._threads.submit(work)
        future.add_done_callback(self._left)
        return future

    def _left(self, _: "Future[Result]") -> None:
        with self._lock:
            self.num_in -= 1

    def close(self) -> None:
        self.is_closed = True
        self._threads.shutdown()


@dataclass(frozen=True)
class PoolSpec:
    """Pools of one name are one; the larger size counts."""

    name: str
    size: int = field(compare=False)
    num_devices: int = 0

    def joined(self, other: object) -> "PoolSpec | None":
        same = isinstance(other, PoolSpec) and other.name == self.name
        return PoolSpec(self.name, max(self.size, other.size)) if same else None

    def open(self, devices: Sequence[str]) -> Pool:
        return Pool(self.size)


class Later(AsyncStage):
    """`later`: 1000 times where the clip starts; `seen`: frames that it had. Later clips of a unit are answered first.

    how: what it does with clips that start at `at_ms`: `raise` in submit, an `error`, an exception in the `future`, `gone` (the engine),
    `misset` (a ConfigError), `kill` of the process; and once, leaving a file named in FAKE_KILLED: `kill once`, `gone once` (the engine
    answers nobody any more).
    """

    type: Literal["later"] = "later"
    column: str = "later"
    pool: str = "one"
    in_flight: int = 4
    frames_wanted: bool = False
    wait_s: float = 0.0
    how: str = ""
    at_ms: int = 1000

    @property
    def frames(self) -> FrameRequest | None:
        return ONE_FRAME if self.frames_wanted else None

    @property
    def writes(self) -> Writes:
        return {self.column: int64, f"{self.column}_seen": int64}

    @property
    def opens(self) -> Opens:
        return PoolSpec(self.pool, self.in_flight)

    @property
    def max_in_flight(self) -> int:
        return self.in_flight

    def submit(self, view: ClipView) -> "Future[Result]":
        note(self, [view])
        how = self.how if start_of(view.key) == self.at_ms else ""
        if how == "raise":
            raise RuntimeError("not this one")
        start, num_seen = start_of(view.key), len(view.frames) if self.frames_wanted else 0
        return self.opened.submit(lambda: self._answer(how, start, num_seen))  # type: ignore[no-any-return]

    def _answer(self, how: str, start: int, num_seen: int) -> Result:
        time.sleep(self.wait_s / (1 + start / 1000))
        if how == "error":
            return ClipError("no answer")
        if how == "future":
            raise RuntimeError("broke off")
        if how == "misset":
            raise ConfigError("the engine has no such setting")
        if how == "gone once" and _is_first():
            self.opened.is_gone = True
        if how == "gone" or self.opened.is_gone:
            raise UnitError("the engine is gone")
        if how == "kill" or (how == "kill once" and _is_first()):
            os.kill(os.getpid(), signal.SIGKILL)
        return {self.column: start, f"{self.column}_seen": num_seen}


def _is_first() -> bool:
    try:
        with open(os.environ["FAKE_KILLED"], "x", encoding="ascii"):  # noqa: PTH123  exclusive
            return True
    except FileExistsError:
        return False

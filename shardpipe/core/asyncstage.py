"""A stage whose clips are answered one by one, in any order, while others are on their way: a captioner, a remote scorer.

    clip's frames ─▶ submit ─▶ Future ┐   as many at a time as `max_in_flight` says, of all units that a worker has;
    clip's frames ─▶ submit ─▶ Future ┤   a clip goes on to the pass's next steps as soon as its own answer is there
    clip's frames ─▶ submit ─▶ Future ┘

What answers (an engine with a large model, a client of a server) is opened once a worker, after all other stages are set up, and
shared by the stages of a pass that name the same.
"""

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol, Self

from pydantic import PrivateAttr

from shardpipe.core.errors import StageError
from shardpipe.core.stage import ClipView, Result, Stage


class Opened(Protocol):
    """What answers, once it is open."""

    def close(self) -> None:
        """End it; what has no answer yet gets none."""


class Opens(Protocol):
    """What an AsyncStage needs opened: a value, equal where it names the same engine."""

    @property
    def num_devices(self) -> int:
        """The devices that it needs at once."""

    def joined(self, other: "Opens") -> Self | None:
        """One that serves both; None where the other is another engine."""

    def open(self, devices: Sequence[str]) -> Any:  # noqa: ANN401  an Opened with whatever its stages call
        """Open it on these torch devices; a ShardpipeError where it cannot be."""


class AsyncStage(Stage):
    """A stage that hands each clip to what it `opens`, and has its result later. Subclasses give `opens` and `submit`."""

    _opened: Any = PrivateAttr(default=None)

    @property
    @abstractmethod
    def opens(self) -> Opens:
        """What answers its clips."""

    @property
    @abstractmethod
    def max_in_flight(self) -> int:
        """How many clips a worker has submitted and not answered at most."""

    @abstractmethod
    def submit(self, view: ClipView) -> "Future[Result]":
        """Begin with a clip. Its frames may be read until this returns: copy what is needed later. Must not block for long.

        The future gives a result as `process` does. An exception in it becomes the clip's error; but a UnitError (the server is
        gone) or ConfigError is none of the clip's: it ends the unit without an error in any row, and its worker, so that the next
        one opens what answers anew.
        """

    @property
    def uses_device(self) -> bool:
        """Where it computes on a device of the worker's own."""
        return self.opens.num_devices > 0

    @property
    def opened(self) -> Any:  # noqa: ANN401
        """What `opens` opened; StageError before `use` or `setup`."""
        if self._opened is None:
            raise StageError(f"{self.type}: submit was called before setup")
        return self._opened

    def use(self, opened: Opened) -> None:
        """Take what the pass opened, for this stage and others."""
        self._opened = opened

    def setup(self, device: str) -> None:
        """Open one for this stage alone."""
        self.use(self.opens.open([device]))

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """All of a batch at once, for whoever has no other work meanwhile."""
        futures = [self.submit(view) for view in batch]
        return [future.result() for future in futures]

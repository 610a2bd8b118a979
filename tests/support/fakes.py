"""Stages for tests of the engine: they need no model, say when they are called, and fail as they are told.

Importable in spawned workers (`from support.fakes import Scored`). Each call is noted: in `CALLS` of this process and,
where the environment names a file in `FAKE_CALLS`, as a line `TYPE KEY` there, whichever process it is in.
"""

import ctypes
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from shardpipe.core.columns import Member, Writes, float64, int64, string
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result, Stage

CALLS: list[tuple[str, str]] = []
"""(stage type, clip key) of each clip that a stage of this process was given."""

CALLS_FILE = "FAKE_CALLS"
ONE_FRAME = FrameRequest(sampling=Uniform(n=1), long_side=32, pixels="gray")
_ANSWERS = itertools.count(1)


def note(stage: Stage, batch: Sequence[ClipView]) -> None:
    CALLS.extend((stage.type, view.key) for view in batch)
    if path := os.environ.get(CALLS_FILE):
        lines = "".join(f"{stage.type} {view.key}\n" for view in batch)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(lines)


def start_of(key: str) -> int:
    """Where a clip starts in its video, milliseconds."""
    return int(key.rsplit("_", 1)[1])


class Scored(Stage):
    """`score`: where the clip starts, in seconds. `frames_wanted`: it looks at a frame of each clip first."""

    type: Literal["scored"] = "scored"
    frames_wanted: bool = False
    column: str = "score"

    @property
    def frames(self) -> FrameRequest | None:
        return ONE_FRAME if self.frames_wanted else None

    @property
    def writes(self) -> Writes:
        return {self.column: float64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        if self.frames_wanted:
            assert all(view.frames.data.shape[0] == 1 for view in batch)
        return [{self.column: start_of(view.key) / 1000} for view in batch]


class Fickle(Stage):
    """`answer`: another number at each call, in this process and in any other."""

    type: Literal["fickle"] = "fickle"

    @property
    def writes(self) -> Writes:
        return {"answer": int64, "blob": Member("npy")}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        answers = [time.time_ns() + next(_ANSWERS) for _ in batch]
        return [{"answer": answer, "blob": str(answer).encode()} for answer in answers]


class Blob(Stage):
    """A member beside a column: `blob`, as KEY.npy."""

    type: Literal["blob"] = "blob"

    @property
    def writes(self) -> Writes:
        return {"blob_bytes": int64, "blob": Member("npy")}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        blobs = [f"blob of {view.key}".encode() * 40 for view in batch]
        return [{"blob_bytes": len(blob), "blob": blob} for blob in blobs]


class Worded(Stage):
    """`text`: reads `score`."""

    type: Literal["worded"] = "worded"

    @property
    def reads(self) -> Sequence[str]:
        return ("score",)

    @property
    def writes(self) -> Writes:
        return {"text": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        return [{"text": f"a clip of score {view.row['score']}"} for view in batch]


class Broken(Stage):
    """`fine`: 1. Goes wrong in the way `how` for clips that start in `at_s` (whole seconds) of a video."""

    type: Literal["broken"] = "broken"
    how: Literal["raise", "too few", "error", "segfault", "hang", "exit", "nan", "wrong type"] = "raise"
    at_s: tuple[int, ...] = (1,)
    healed: ClassVar[bool] = False
    """Set in this process (or `FAKE_HEALED` for all): nothing goes wrong any more."""

    @property
    def writes(self) -> Writes:
        return {"fine": int64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        bad = [view for view in batch if start_of(view.key) // 1000 in self.at_s]
        if self.healed or "FAKE_HEALED" in os.environ or not bad:
            return [{"fine": 1} for _ in batch]
        return self._fail(batch, bad)

    def _fail(self, batch: Sequence[ClipView], bad: Sequence[ClipView]) -> Sequence[Result]:
        match self.how:
            case "raise":
                raise RuntimeError(f"cannot do {bad[0].key}")
            case "too few":
                return [{"fine": 1}] * (len(batch) - len(bad))
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(1000)
        wrong: Result = {"error": ClipError("I cannot score this"), "nan": {"fine": float("nan")}}.get(
            self.how, {"fine": "one"}
        )
        return [wrong if view in bad else {"fine": 1} for view in batch]

"""Stages for the benchmarks: one that does nothing, and one that stands for a device by sleeping."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

from pydantic import PrivateAttr

from shardpipe.core.columns import Writes, int64
from shardpipe.core.frames import FrameRequest, Rate
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.models.generate.request import Request
from shardpipe.stages.caption import Caption


class Nothing(Stage):
    """Writes a constant; needs no frames."""

    type: Literal["nothing"] = "nothing"

    @property
    def writes(self) -> Writes:
        """One column."""
        return {"one": int64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """The constant."""
        return [{"one": 1} for _ in batch]


class Sleeper(Stage):
    """Sleeps for each clip as a busy device would, and leaves in `log` when it was at work."""

    type: Literal["sleeper"] = "sleeper"
    sleep_s: float = 0.0
    log: str = ""
    _spans: list[tuple[float, float, int]] = PrivateAttr(default_factory=list)

    @property
    def frames(self) -> FrameRequest:
        """Frames as the scorers want them."""
        return FrameRequest(Rate(4.0), long_side=256)

    @property
    def writes(self) -> Writes:
        """One column."""
        return {"num_seen_frames": int64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Sleep, and count frames."""
        began = time.monotonic()
        if self.sleep_s:
            time.sleep(self.sleep_s * len(batch))
        self._spans.append((began, time.monotonic(), len(batch)))
        Path(self.log).with_suffix(f".{id(self)}").write_text(json.dumps(self._spans), encoding="utf-8")
        return [{"num_seen_frames": len(view.frames)} for view in batch]


class TimedCaption(Caption):
    """A captioner that leaves in `log` when a clip was submitted, and when it was answered."""

    type: Literal["timed_caption"] = "timed_caption"  # type: ignore[assignment]
    log: str = ""

    def submit(self, view: ClipView) -> "Future[Result]":
        """As a captioner, with a line for each end."""
        self._note()
        made = super().submit(view)
        made.add_done_callback(lambda _: self._note())
        return made

    def request_of(self, view: ClipView) -> Request:
        """What it asks of a clip."""
        made = self._request(view, next(iter(self.prompts.templates.values())))
        assert isinstance(made, Request)
        return made

    def _note(self) -> None:
        with Path(self.log).open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()}\n")

"""A stage that says which frames of a numbered video it was given; importable in spawned workers."""

from collections.abc import Sequence
from typing import Literal

from support.numbered import read_number

from shardpipe.core.columns import Writes, float64, int64, list_of
from shardpipe.core.frames import Fractions, FrameRequest, Uniform
from shardpipe.core.stage import ClipView, Result, Stage


class Seen(Stage):
    """The numbers drawn in the frames that it sees, and their times."""

    type: Literal["seen"] = "seen"
    column: str = "seen"
    num: int | None = None
    tolerance_s: float = 0.0
    pixels: Literal["rgb", "gray"] = "gray"

    @property
    def frames(self) -> FrameRequest:
        sampling = Uniform(self.num) if self.num else Fractions((0.1, 0.5, 0.9))
        return FrameRequest(sampling, short_side=64, pixels=self.pixels, tolerance_s=self.tolerance_s)

    @property
    def writes(self) -> Writes:
        return {self.column: list_of(int64), f"{self.column}_times_s": list_of(float64), f"{self.column}_mean": float64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [
            {
                self.column: [read_number(each if each.ndim == 2 else each[..., 1]) for each in view.frames.data],
                f"{self.column}_times_s": view.frames.times_s,
                f"{self.column}_mean": float(view.frames.data.mean()),
            }
            for view in batch
        ]

"""Cuts at fixed intervals, for footage without scenes. Needs no frames."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from shardpipe.core.detector import Detector

MAX_CUTS = 1_000_000


class Fixed(Detector):
    """A cut every `every_s` seconds, from the start of the window."""

    type: Literal["fixed"] = "fixed"
    every_s: float = Field(default=5.0, ge=0.04, description="seconds from cut to cut")

    @property
    def longest(self) -> tuple[str, float]:
        """`every_s`."""
        return "every_s", self.every_s

    def boundaries(self, start_s: float, end_s: float) -> Sequence[float]:
        """start_s + every_s, start_s + 2 every_s ... before end_s."""
        num_cuts = min(MAX_CUTS, int(max(0.0, end_s - start_s) / self.every_s) + 1)
        cuts = (start_s + i * self.every_s for i in range(1, num_cuts + 1))
        return tuple(cut for cut in cuts if cut < end_s - 1e-6)

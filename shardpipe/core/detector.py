"""The class that authors of scene detectors extend. It sees small frames in order, and names cuts as it finds them."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Transition:
    """What lies between two scenes, seconds: a hard cut has start_s == end_s (the new scene's first frame);
    a gradual one (fade, dissolve) belongs to neither scene."""

    start_s: float
    end_s: float


class Detector(BaseModel, ABC):
    """A way to find scenes. Subclasses are pydantic models: fields are config.

    A detector with `size` None needs no frames: `boundaries` gives all its cuts from the video's times alone.
    Otherwise the engine calls `start`, then `process` for each frame in order of time, then `finish`.
    A detector must depend on at most `lead_in_s` of frames before a cut, so that a video may be split into units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: ClassVar[int] = 1

    type: str

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the bgr frames it wants, aspect ratio not kept; None if it needs none."""
        return None

    @property
    def lead_in_s(self) -> float:
        """Seconds of frames before a time that influence whether it is a cut."""
        return 0.0

    def boundaries(self, start_s: float, end_s: float) -> Sequence[float]:
        """All cuts of a video whose window is [start_s, end_s), for a detector that needs no frames."""
        return ()

    def start(self, fps: float) -> "DetectorRun":
        """A fresh state for one video (or one unit of it)."""
        raise NotImplementedError(f"detector {self.type} has size None and sees no frames")

    @property
    def identity(self) -> dict[str, Any]:
        """What determines its cuts: type, version and fields."""
        return {"version": self.version, **self.model_dump(mode="json")}


class DetectorRun(ABC):
    """A detector at work on one run of frames."""

    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """See the next frame (uint8 [H, W, 3]); give the transitions that are certain now, in order of time."""
        raise NotImplementedError

    def finish(self) -> Sequence[Transition]:
        """Transitions that were still open when the frames ended."""
        return ()

"""The class that authors of scene detectors extend. It sees small frames in order, and names cuts as it finds them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, order=True)
class Transition:
    """What lies between two scenes, seconds: a hard cut has start_s == end_s (the new scene's first frame);
    a gradual one (fade, dissolve) belongs to neither scene.
    """

    start_s: float
    end_s: float

    @property
    def is_gradual(self) -> bool:
        """Whether there are frames that belong to neither scene."""
        return self.end_s > self.start_s


class Detector(BaseModel, ABC):
    """A way to find scenes. Subclasses are pydantic models: fields are config.

    A detector with `size` None needs no frames: `boundaries` gives all its cuts from the video's times alone.
    Otherwise the engine calls `start`, then `process` for each frame in order of time, then `finish`.
    A video may be split into units, so a cut may depend only on frames near it: the engine begins `lead_in_s` before
    the first cut that it needs, and earlier still where the run is not yet `settled` by then.

    `finds_gradual`: it gives gradual transitions itself; otherwise the engine looks for them on the same frames.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1
    finds_gradual: ClassVar[bool] = False

    type: str

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the bgr frames it wants, aspect ratio not kept; None if it needs none."""
        return None

    @property
    def uses_device(self) -> bool:
        """Whether it computes on a GPU where there is one."""
        return False

    def placed(self, device: str) -> "Detector":  # noqa: ARG002  those of subclasses
        """Itself, to compute on a worker's device (a torch device string) where the config names none."""
        return self

    @property
    def lead_in_s(self) -> float:
        """Seconds of frames before a time that mostly suffice to tell whether it is a cut."""
        return 0.0

    @property
    def longest(self) -> tuple[str, float] | None:
        """The longest scene that it can find, seconds, and the field that says so; None if a scene may be of any length."""
        return None

    def boundaries(self, start_s: float, end_s: float) -> Sequence[float]:  # noqa: ARG002  those of subclasses
        """All cuts of a video whose window is [start_s, end_s), for a detector that needs no frames."""
        return ()

    def start(self, fps: float) -> "DetectorRun":
        """A fresh state for one video (or one unit of it); `fps` is its average frame rate."""
        raise NotImplementedError(f"detector {self.type} has size None and sees no frames")

    @property
    def identity(self) -> dict[str, Any]:
        """What determines its cuts: type, version and fields."""
        return {"version": self.version, **self.model_dump(mode="json")}


class DetectorRun(ABC):
    """A detector at work on one run of frames."""

    @abstractmethod
    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """The transitions that are certain now, in order of time, after seeing the next frame.

        bgr: uint8 [H, W, 3], of the detector's `size`. Do not change it.
        """

    def finish(self) -> Sequence[Transition]:
        """Transitions that were still open when the frames ended."""
        return ()

    @property
    def settled(self) -> bool:
        """Whether cuts from here on would be the same had the run begun earlier in the video."""
        return True

    def certain_until(self, now_s: float) -> float:
        """The time before which no transition starts that is not given yet; `now_s` is the last frame's time."""
        return now_s - 1.0

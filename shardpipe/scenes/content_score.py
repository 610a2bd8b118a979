"""What `adaptive` and `content` share: PySceneDetect's frame score, its weights, and its way to say a time."""

from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import ContentDetector

SIZE = (256, 144)
"""(width, height) of the frames that are compared: PySceneDetect, too, scales a video down to about 256 wide."""

TICKS_PER_S = 1_000_000
TICK = Fraction(1, TICKS_PER_S)


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


KernelSize = Annotated[int, Field(ge=3, le=99), AfterValidator(_odd)]
"""Side of the square by which edges are thickened before they are compared, pixels."""


class Weights(BaseModel):
    """How much each part of the difference between two frames counts. The defaults are PySceneDetect's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    delta_hue: float = Field(default=1.0, ge=0)
    delta_sat: float = Field(default=1.0, ge=0)
    delta_lum: float = Field(default=1.0, ge=0)
    delta_edges: float = Field(default=0.0, ge=0, description="needs edges of every frame: slower")

    @model_validator(mode="after")
    def _some(self) -> "Weights":
        if not any(self.model_dump().values()):
            raise ValueError("at least one weight must be above 0")
        return self

    def components(self) -> "ContentDetector.Components":
        """The same as PySceneDetect's tuple."""
        from scenedetect.detectors import ContentDetector  # noqa: PLC0415  0.3 s, and only where frames are seen

        return ContentDetector.Components(**self.model_dump())


@cache
def fast(detector: "type[ContentDetector]") -> "type[ContentDetector]":
    """One of PySceneDetect's detectors with its frame score computed by OpenCV in place of numpy: the same numbers
    at a third of the cost. With edges, its own computation is kept.
    """
    from scenedetect.detectors import ContentDetector  # noqa: PLC0415

    base: Any = detector

    class Fast(base):  # type: ignore[misc]
        _last_frame: Any

        def _calculate_frame_score(self, timecode: "FrameTimecode", frame_img: NDArray[np.uint8]) -> float:
            if self._weights.delta_edges > 0 or self.stats_manager is not None:
                return float(super()._calculate_frame_score(timecode, frame_img))
            now = cv2.split(cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV))
            before, self._last_frame = self._last_frame, ContentDetector._FrameData(*now, edges=None)  # noqa: SLF001
            if before is None:
                return 0.0
            size = float(now[0].size)
            hue, sat, lum = before.hue, before.sat, before.lum
            changes = [cv2.norm(a, b, cv2.NORM_L1) / size for a, b in zip(now, (hue, sat, lum), strict=True)]
            weighed = sum(change * weight for change, weight in zip(changes, self._weights, strict=False))
            return float(weighed / sum(abs(weight) for weight in self._weights))

    made: type[ContentDetector] = Fast
    return made


def rate(fps: float) -> Fraction:
    """A frame rate as the exact fraction that it stands for (29.97 is 30000/1001); 25 where it is unknown."""
    from scenedetect.common import framerate_to_fraction  # noqa: PLC0415

    found: Fraction = framerate_to_fraction(fps) if fps > 0 else Fraction(25)
    return found


def timecode(time_s: float, fps: Fraction) -> "FrameTimecode":
    """A real presentation time, as PySceneDetect's detectors take it; `fps` counts the frames of a minimum length."""
    from scenedetect.common import FrameTimecode, Timecode  # noqa: PLC0415

    return FrameTimecode(Timecode(pts=round(time_s * TICKS_PER_S), time_base=TICK), fps=fps)

"""Hard cuts by PySceneDetect's ContentDetector: a frame whose change is above a fixed threshold."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.detector import Detector, DetectorRun, Transition
from shardpipe.scenes.content_score import SIZE, KernelSize, Weights, fast, rate, timecode

if TYPE_CHECKING:
    from scenedetect.common import FrameTimecode


QUIET_S = 60.0


class Content(Detector):
    """Cuts where a frame differs from the last by at least `threshold`.

    Fields and defaults are those of PySceneDetect 0.7's ContentDetector, whose cuts these are.
    """

    type: Literal["content"] = "content"
    threshold: float = Field(default=27.0, ge=0, le=255, description="change of a frame, 0 to 255, that is a cut")
    min_scene_len: int | float = Field(default=15, ge=0, description="between cuts: 15 is frames, 0.6 is seconds")
    weights: Weights = Weights()
    luma_only: bool = Field(default=False, description="compare brightness alone; `weights` do not count then")
    kernel_size: KernelSize | None = Field(default=None, description="for delta_edges; null: by the frame's size")
    filter_mode: Literal["merge", "suppress"] = Field(
        default="merge", description="cuts closer than min_scene_len: merged into one, or all but the first left out"
    )

    @property
    def size(self) -> tuple[int, int]:
        """256x144."""
        return SIZE

    @property
    def lead_in_s(self) -> float:
        """Enough for the minimum length at usual frame rates, and a cut to settle on in most videos."""
        return 10.0

    def start(self, fps: float) -> DetectorRun:
        """A fresh state."""
        return ContentRun(self, fps)


class ContentRun(DetectorRun):
    """PySceneDetect's detector without its minimum length, and its own filter for that after it.

    The filter remembers. It is settled after a change with the minimum length free of changes on both sides, as it
    is then in one state whatever came before; or when a minute went by without one.
    """

    def __init__(self, config: Content, fps: float) -> None:
        from scenedetect.detector import FlashFilter  # noqa: PLC0415  0.3 s, and only where frames are seen
        from scenedetect.detectors import ContentDetector  # noqa: PLC0415

        self._rate = rate(fps)
        self._min_len = config.min_scene_len
        self._detector = fast(ContentDetector)(
            threshold=config.threshold,
            min_scene_len=0,
            weights=config.weights.components(),
            luma_only=config.luma_only,
            kernel_size=config.kernel_size,
        )
        mode = FlashFilter.Mode.MERGE if config.filter_mode == "merge" else FlashFilter.Mode.SUPPRESS
        self._filter = FlashFilter(mode=mode, length=config.min_scene_len)
        self._last_s = -math.inf
        self._quiet_since: FrameTimecode | None = None
        self._alone = False  # the last change had the minimum length free of changes before it
        self._settled = False
        length = config.min_scene_len
        self._open_s = length + 0.5 if isinstance(length, float) else 2 * (length + 1) / float(self._rate) + 0.5

    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """A cut is known at its frame; one that closes a run of merged cuts, the minimum length later."""
        at = timecode(time_s, self._rate)
        changed = bool(self._detector.process_frame(at, bgr))
        self._settle(at, changed=changed)
        if changed:
            self._last_s = time_s
        if not self._filter.filter(timecode=at, above_threshold=changed):
            return ()
        return (Transition(self._last_s, self._last_s),)

    def _settle(self, at: "FrameTimecode", *, changed: bool) -> None:
        if self._settled:
            return
        quiet = self._quiet_since is not None and bool((at - self._quiet_since) >= self._min_len)
        if self._quiet_since is None:
            self._quiet_since = at
        if changed:
            self._alone, self._quiet_since = quiet, at
        elif quiet and self._alone:
            self._settled = True
        else:
            self._settled = bool((at - self._quiet_since) >= QUIET_S)

    @property
    def settled(self) -> bool:
        """Whether the filter's state no longer depends on where the run began."""
        return self._settled

    def certain_until(self, now_s: float) -> float:
        """The last change, as long as it may still be given as the end of a run of merged cuts."""
        return min(now_s, self._last_s) if now_s - self._last_s < self._open_s else now_s

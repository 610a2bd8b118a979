"""Hard cuts by PySceneDetect's AdaptiveDetector: a frame that changes far more than its neighbours do."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.detector import Detector, DetectorRun, Transition
from shardpipe.scenes.content_score import SIZE, KernelSize, Weights, fast, rate, timecode

if TYPE_CHECKING:
    from scenedetect.common import FrameTimecode


class Adaptive(Detector):
    """Cuts where a frame's change is `threshold` times that of its neighbours: robust to camera motion.

    Fields and defaults are those of PySceneDetect 0.7's AdaptiveDetector, whose cuts these are.
    """

    type: Literal["adaptive"] = "adaptive"
    threshold: float = Field(default=3.0, gt=0, description="PySceneDetect's adaptive_threshold; lower: more cuts")
    min_content_val: float = Field(default=15.0, ge=0, description="least change of a frame, 0 to 255, to be a cut")
    min_scene_len: int | float = Field(default=15, ge=0, description="between cuts: 15 is frames, 0.6 is seconds")
    window_width: int = Field(
        default=2, ge=1, le=60, description="neighbours on each side that a frame is held against"
    )
    weights: Weights = Weights()
    luma_only: bool = Field(default=False, description="compare brightness alone; `weights` do not count then")
    kernel_size: KernelSize | None = Field(default=None, description="for delta_edges; null: by the frame's size")

    @property
    def size(self) -> tuple[int, int]:
        """256x144."""
        return SIZE

    @property
    def lead_in_s(self) -> float:
        """Enough for the minimum length at usual frame rates, twice."""
        return 2.0

    def start(self, fps: float) -> DetectorRun:
        """A fresh state."""
        return AdaptiveRun(self, fps)


class AdaptiveRun(DetectorRun):
    """PySceneDetect's detector with no minimum length, and its rule of the minimum length after it.

    The rule is kept apart because it remembers: whether a cut counts depends on the last one that counted. The run is
    settled once a gap as long as the minimum is free of changes, as the next one counts then in any case.
    """

    def __init__(self, config: Adaptive, fps: float) -> None:
        from scenedetect.detectors import AdaptiveDetector  # noqa: PLC0415  0.3 s, and only where frames are seen

        self._rate = rate(fps)
        self._min_len = config.min_scene_len
        self._detector = fast(AdaptiveDetector)(
            adaptive_threshold=config.threshold,
            min_scene_len=0,
            window_width=config.window_width,
            min_content_val=config.min_content_val,
            weights=config.weights.components(),
            luma_only=config.luma_only,
            kernel_size=config.kernel_size,
        )
        self._recent: deque[tuple[FrameTimecode, float]] = deque(maxlen=config.window_width + 1)
        self._last_cut: FrameTimecode | None = None
        self._last_change: FrameTimecode | None = None
        self._settled = False

    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """A cut is known `window_width` frames later."""
        at = timecode(time_s, self._rate)
        self._recent.append((at, time_s))
        if self._last_cut is None:
            self._last_cut = self._last_change = at
        if not self._detector.process_frame(at, bgr):
            if not self._settled:
                self._settled = self._long_enough(self._last_change, self._recent[0][0])
            return ()
        changed, changed_s = self._recent[0]
        self._settled = self._settled or self._long_enough(self._last_change, changed)
        self._last_change = changed
        if not self._long_enough(self._last_cut, changed):
            return ()
        self._last_cut = changed
        return (Transition(changed_s, changed_s),)

    def _long_enough(self, since: "FrameTimecode | None", until: "FrameTimecode") -> bool:
        return since is None or bool((until - since) >= self._min_len)

    @property
    def settled(self) -> bool:
        """Whether the minimum length has passed once without a change."""
        return self._settled

    def certain_until(self, now_s: float) -> float:
        """The oldest frame whose neighbours have not all been seen."""
        return self._recent[0][1] if len(self._recent) == self._recent.maxlen else now_s - 1.0

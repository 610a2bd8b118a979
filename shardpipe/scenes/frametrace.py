"""The last seconds of a video as thumbnails and a few numbers a frame: what fades and dissolves are found on."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

THUMB = (32, 18)
DETAIL = (128, 72)
FIRST_FRAMES = 1024


class FrameTrace:
    """A window over the newest `keep_s` seconds of frames; indices count from its oldest frame.

    times: float64 [N] seconds. thumbs: float32 [N, 18 * 32 * 3], 0 to 255. energy: float64 [N], mean square of the
    differences of neighbouring pixels (luma, 128 pixels wide). contrast: float64 [N], standard deviation of the
    thumbnail around each channel's mean. level: float64 [N], mean of the thumbnail.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times = np.empty(FIRST_FRAMES, np.float64)
        self._numbers = np.empty((FIRST_FRAMES, 3), np.float64)
        self._thumbs = np.empty((FIRST_FRAMES, THUMB[0] * THUMB[1] * 3), np.float32)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, time_s: float, bgr: NDArray[np.uint8]) -> None:
        """The next frame, uint8 [H, W, 3]."""
        if self._end == len(self._times):
            self._make_room(time_s)
        at = self._end
        half = cv2.resize(bgr, DETAIL, interpolation=cv2.INTER_AREA)
        thumb = cv2.resize(half, THUMB, interpolation=cv2.INTER_AREA)
        detail = cv2.cvtColor(half, cv2.COLOR_BGR2GRAY)
        across = cv2.norm(detail[:, 1:], detail[:, :-1], cv2.NORM_L2SQR)
        down = cv2.norm(detail[1:], detail[:-1], cv2.NORM_L2SQR)
        (b, g, r), (db, dg, dr) = (each.ravel().tolist() for each in cv2.meanStdDev(thumb))
        self._times[at] = time_s
        self._thumbs[at] = thumb.reshape(-1)
        self._numbers[at] = (across + down) / detail.size, math.sqrt((db * db + dg * dg + dr * dr) / 3), (b + g + r) / 3
        self._end += 1

    def _make_room(self, now_s: float) -> None:
        """Forget what is too old; grow where that is not enough (high frame rates)."""
        old = int(np.searchsorted(self._times[self._start : self._end], now_s - self._keep_s))
        kept = slice(self._start + old, self._end)
        count = kept.stop - kept.start
        size = len(self._times) if count <= len(self._times) // 2 else 2 * len(self._times)
        for name in ("_times", "_numbers", "_thumbs"):
            before = getattr(self, name)
            after = before if size == len(before) else np.empty((size, *before.shape[1:]), before.dtype)
            after[:count] = before[kept].copy()
            setattr(self, name, after)
        self._start, self._end = 0, count

    @property
    def times(self) -> NDArray[np.float64]:
        """See the class."""
        return self._times[self._start : self._end]

    @property
    def thumbs(self) -> NDArray[np.float32]:
        """See the class."""
        return self._thumbs[self._start : self._end]

    @property
    def energy(self) -> NDArray[np.float64]:
        """See the class."""
        return self._numbers[self._start : self._end, 0]

    @property
    def contrast(self) -> NDArray[np.float64]:
        """See the class."""
        return self._numbers[self._start : self._end, 1]

    @property
    def level(self) -> NDArray[np.float64]:
        """See the class."""
        return self._numbers[self._start : self._end, 2]

    def index(self, time_s: float) -> int:
        """The first frame at or after a time; N if there is none."""
        return int(np.searchsorted(self.times, time_s - 1e-6))

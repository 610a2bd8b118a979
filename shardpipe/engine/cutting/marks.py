"""Telling the cutter of boundaries while the frames around them are still in hand."""

import math
from typing import Protocol

from av.video.frame import VideoFrame

from shardpipe.core.scene import EPS_S, ScenePolicy


class Watcher(Protocol):
    """The part of `media.cutter.Cutter` that follows a decode."""

    def see(self, frame: VideoFrame) -> None:
        """The next frame, in the order shown."""

    def mark(self, pts: int) -> None:
        """A clip starts at the frame `pts`, seen a few frames ago at most, or the one before it ends there."""


class Marker:
    """Passes frames on, and marks each boundary as soon as it is known: cuts, and the windows of long scenes.

    Marks are hints. A boundary that is not marked in time costs the cutter a second decode of the frames around it,
    a mark that comes to nothing costs it a few encoded frames.
    """

    def __init__(self, watcher: Watcher, policy: ScenePolicy, *, ends_s: tuple[float | None, ...] = ()) -> None:
        self._watcher = watcher
        self._max_s = policy.max_s or math.inf
        self._trim_s = policy.trim_s
        self._splits = policy.long == "split"
        self._start_s: float | None = None  # of the scene, or of the window in it
        self._opens_s: float | None = None  # a scene starts with the first frame at or after this
        self._ends_s = sorted(end for end in ends_s if end is not None)
        self._last: tuple[int, float] | None = None

    def see(self, frame: VideoFrame, pts: int, time_s: float) -> None:
        """The next frame."""
        self._watcher.see(frame)
        if self._last is None and self._opens_s is None:
            self._opens_s = time_s + self._trim_s
        if self._opens_s is not None and time_s >= self._opens_s - EPS_S:
            self._watcher.mark(pts)
            self._start_s, self._opens_s = time_s, None
        if self._start_s is not None and time_s > self._start_s + self._max_s + EPS_S and self._last is not None:
            self._watcher.mark(self._last[0])
            self._start_s = self._last[1] if self._splits and self._last[1] > self._start_s else None
        while self._ends_s and time_s > self._ends_s[0] + EPS_S:
            self._ends_s.pop(0)
            if self._last is not None:
                self._watcher.mark(self._last[0])
        self._last = (pts, time_s)

    def cut(self, pts: int, time_s: float) -> None:
        """A scene ends, and another starts at a frame that was seen."""
        self._watcher.mark(pts)
        if self._trim_s:
            self._start_s, self._opens_s = None, time_s + self._trim_s
        else:
            self._start_s = time_s

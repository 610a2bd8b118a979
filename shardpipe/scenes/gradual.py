"""Dissolves and fades, found on the small frames that a cut detector sees anyway.

A dissolve shows (1 - a) A + a B while a goes from 0 to 1, A and B being the scenes around it; a fade is a dissolve to
or from black or white. For a frame C between two frames A and B of different scenes three things then hold, whatever
moves in them, and a pan, zoom, or moving object breaks at least one:

* C is a point on the line from A to B: the residual of C on that line is small (on thumbnails, where motion is small);
* its contrast drops: the energy of its gradients is (1 - a)^2 that of A and a^2 that of B, as the two pictures'
  gradients do not correlate. In a pan it stays that of A and B, twice as much. This is the variance parabola of
  A. M. Alattar, "Detecting and compressing dissolve regions in video sequences" (ISCAS 1993), taken on gradients as
  in R. Lienhart, "Reliable transition detection in videos" (IJIG 2001);
* a rises in step with time, without a jump: the linear mixing model of W. A. C. Fernando et al., "Fade and dissolve
  detection in uncompressed and compressed video sequences" (ICIP 1999).

Where it begins and ends is what position and energy say together, by least squares (`rampfit.py`); a fade ends where
energy and contrast stop rising. Only frames within 3.5 s of a transition decide on it, and times are compared on an absolute
grid, so a run that begins earlier finds the same ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.detector import Detector, DetectorRun, Transition
from shardpipe.scenes.frametrace import FrameTrace
from shardpipe.scenes.mixing import LONGEST_FADE_S, dissolve_at, fade_from, fade_to, is_flash, is_plain
from shardpipe.scenes.rampfit import LEVEL_S

SIZE = (256, 144)
LEAD_IN_S = 7.0
LOOK_S = 2.6
"""How far after a moment frames are needed to tell whether it is the middle of a dissolve."""

GRID_PER_S = 12
"""Moments a second that are tried as the middle of a dissolve."""

MAX_RAMP_S = LONGEST_FADE_S + LEVEL_S
"""How far from black or white the longest fade may end, and a dissolve begin before the moment that gives it away."""

PLAIN_S = 0.6
"""How far after a frame others are needed to tell whether it is black or white."""

SAME_RUN_S = 0.2
FLASH_S = 0.5
END_S = 1.0
"""A fade at the very end ends so long after the last frame: past the end of the video."""


class Gradual(Detector):
    """Fades and dissolves of about 0.2 to 2.5 s."""

    version: ClassVar[int] = 2
    finds_gradual: ClassVar[bool] = True

    type: Literal["gradual"] = "gradual"

    @property
    def size(self) -> tuple[int, int]:
        """256x144; frames of any size from 64x36 do."""
        return SIZE

    @property
    def lead_in_s(self) -> float:
        """The frames around a transition."""
        return LEAD_IN_S

    def start(self, fps: float) -> "GradualRun":  # noqa: ARG002  times alone count
        """A fresh state."""
        return GradualRun()


@dataclass
class _Plain:
    """A run of black or white frames. ramp_s: when the fade into it begins, None if there is none."""

    first_s: float
    last_s: float
    ramp_s: float | None


class GradualRun(DetectorRun):
    """Looks `LOOK_S` behind the newest frame for dissolves, and on both sides of each run of plain frames for fades."""

    def __init__(self) -> None:
        self._trace = FrameTrace(keep_s=2 * MAX_RAMP_S + LOOK_S)
        self._first_s: float | None = None
        self._moment = 0  # the next of the grid
        self._judged_s = -math.inf  # the last frame that was told plain or not
        self._plain: _Plain | None = None  # the newest run of plain frames, as long as a fade out of it may follow

    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """A dissolve is given about 2.6 s after its middle, a fade about 4 s after its last black or white frame."""
        if self._first_s is None:
            self._first_s = time_s
            self._moment = math.ceil(time_s * GRID_PER_S)
        self._trace.add(time_s, bgr)
        found = self._fades(time_s - PLAIN_S)
        if self._moment <= (time_s - LOOK_S) * GRID_PER_S:
            found += self._dissolves(time_s - LOOK_S)
        return found

    def finish(self) -> Sequence[Transition]:
        """What the last frames allow to say; a fade to black at the very end is one."""
        if not len(self._trace):
            return ()
        found = self._fades(math.inf)
        if self._plain is not None:
            found += self._judge(len(self._trace))
        return found + self._dissolves(math.inf)

    @property
    def settled(self) -> bool:
        """Whether the frames so far reach back far enough, and do not begin in black."""
        if self._first_s is None:
            return False
        began_plain = self._plain is not None and self._plain.first_s <= self._first_s
        return float(self._trace.times[-1]) - self._first_s >= LEAD_IN_S - 0.5 and not began_plain

    def certain_until(self, now_s: float) -> float:
        """A transition starts up to its whole length before the moment that gives it away."""
        return min(now_s - LOOK_S, now_s if self._plain is None else self._plain.first_s) - MAX_RAMP_S

    def _dissolves(self, until_s: float) -> list[Transition]:
        found: list[Transition] = []
        trace = self._trace
        last = math.floor(min(until_s, float(trace.times[-1])) * GRID_PER_S)
        for moment in range(self._moment, last + 1):
            dissolve = dissolve_at(trace, trace.index(moment / GRID_PER_S))
            if dissolve is not None and dissolve not in found:
                found.append(dissolve)
        self._moment = max(self._moment, last + 1)
        return found

    def _fades(self, until_s: float) -> list[Transition]:
        """Tell the frames up to `until_s` plain or not; the fades that are certain then."""
        found: list[Transition] = []
        trace = self._trace
        times = trace.times
        for at in range(int(np.searchsorted(times, self._judged_s, side="right")), len(times)):
            time_s = float(times[at])
            if time_s > until_s:
                break
            self._judged_s = time_s
            if is_plain(trace, at):
                if self._plain is not None and time_s - self._plain.last_s > SAME_RUN_S:
                    found += self._judge(at)
                if self._plain is None:
                    self._plain = _Plain(time_s, time_s, fade_to(trace, at))
                self._plain.last_s = time_s
            elif self._plain is not None and time_s - self._plain.last_s > MAX_RAMP_S:
                found += self._judge(at)
        return found

    def _judge(self, until: int) -> list[Transition]:
        """The transition around the last run of plain frames, if there is a fade into it or out of it."""
        plain, self._plain = self._plain, None
        trace = self._trace
        if plain is None:
            return []
        last = trace.index(plain.last_s)
        end_s = fade_from(trace, last, until)
        if plain.ramp_s is None and end_s is None:
            return []
        start_s = plain.first_s if plain.ramp_s is None else plain.ramp_s
        if end_s is None:
            end_s = float(trace.times[last + 1]) if last + 1 < len(trace) else plain.last_s + END_S
        if plain.last_s - plain.first_s < FLASH_S and is_flash(trace, start_s, end_s):
            return []
        return [Transition(start_s, end_s)]

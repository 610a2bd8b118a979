"""A tracker that knows where the points of a rendered case are: tracks as the best network would give them, a little noisy."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from support.camera_suite import Case, Thing, _matrix, _thing

Place = NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """Points of a case's clip, whose sampled frames lie at `times_s`; they hang on to the background, or to the thing they lie on."""

    case: Case
    times_s: NDArray[np.float64]
    noise_px: float = 0.3
    _masks: dict[tuple[Thing, int], NDArray[np.float32]] = field(default_factory=dict)

    def __call__(
        self, pictures: NDArray[np.uint8], points: NDArray[np.float32], frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See Tracker."""
        scale = pictures.shape[2] / self.case.size[0]
        matrices = [_matrix(self.case, self.case.move(time_s)) for time_s in self.times_s]
        at = np.zeros((len(pictures), len(points), 2))
        seen = np.ones(at.shape[:2], bool)
        for n, (point, frame) in enumerate(zip(points / scale, frames, strict=True)):
            on = next((thing for thing in self.case.things if self._covers(thing, point, frame)), None)
            there = np.linalg.solve(matrices[frame][:, :2], point - matrices[frame][:, 2])
            for t in range(len(pictures)):
                if on is None:
                    at[t, n] = matrices[t][:, :2] @ there + matrices[t][:, 2]
                    seen[t, n] = not any(self._covers(thing, at[t, n], t) for thing in self.case.things)
                else:
                    (was, size), (now, grown) = self._centre(on, frame), self._centre(on, t)
                    at[t, n] = (point - was) / size * grown + now
        at += np.random.default_rng(0).normal(size=at.shape) * self.noise_px
        return (at * scale).astype(np.float32), seen

    def _covers(self, thing: Thing, point: Place, frame: int) -> bool:
        width, height = self.case.size
        x, y = int(point[0]), int(point[1])
        if (thing, frame) not in self._masks:
            drawn, _ = _thing(thing, self.case.size, float(self.times_s[frame]), self.case.duration_s)
            self._masks[thing, frame] = drawn
        mask = self._masks[thing, frame]
        return 0 <= x < width and 0 <= y < height and bool(mask[y, x] > 0.5)

    def _centre(self, thing: Thing, frame: int) -> tuple[Place, float]:
        """Where a thing is, and its size, as the suite draws it."""
        (width, height), duration_s = self.case.size, self.case.duration_s
        time_s = float(self.times_s[frame])
        along = thing.speed * (time_s - duration_s / 2)
        if thing.swing:
            along = thing.speed * duration_s / 6 * np.sin(2 * np.pi * time_s / duration_s * 1.5)
        angle = np.deg2rad(thing.direction)
        centre = np.array([width / 2 + along * width * np.cos(angle), height / 2 + along * width * np.sin(angle)])
        return centre, float(np.exp(thing.grow * (time_s - duration_s / 2)))

"""Global motion from the tracks of points: how the whole picture moves, turns and grows, whatever moves inside it. All numpy.

A grid of points is set down on a frame each second and followed to all frames around it. Between a key frame and each of the next
ones, the similarity that most of the points seen in both agree on is the camera; so slow moves part from the noise of single steps.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import FrameRequest, Frames, Rate
from shardpipe.stages._active import active_part
from shardpipe.stages._corners import LOST, MIN_CORNERS, prepare
from shardpipe.stages._global_motion import CLEAR_SHARE, MIN_SHARE, WORN, GlobalMotion
from shardpipe.stages._motion_frames import FRAMES_PER_S
from shardpipe.stages._similarity import STILL, Fit, Matches, Points, Similarity, Weights, agreement

TRACK_FRAMES = FrameRequest(Rate(FRAMES_PER_S, min_frames=8), long_side=512)
"""Colour frames, as many as the other engine looks at, of about the size that the network sees."""

STRETCH = 60
"""Frames that are tracked at once, at most; stretches are equally long."""

KEY_EVERY = 10
GRID = 10
"""Points each way, as Open-Sora takes."""


class NotFiniteError(ValueError):
    """A network gave NaN or infinity."""


class Tracker(Protocol):
    """Follows points through pictures."""

    def __call__(
        self, pictures: NDArray[np.uint8], points: NDArray[np.float32], frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pictures [T, H, W, 3] and points [N, 2], x and y in pixels, each on one of `frames` [N]: where each is in every picture,
        before that frame and after it, [T, N, 2], and whether it is seen there, [T, N].
        """


def grayed(frames: Frames) -> Frames:
    """The same frames in gray."""
    return Frames(np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in frames.data]), frames.times_s)


def tracked_motion(frames: Frames, gray: Frames, tracker: Tracker) -> GlobalMotion:
    """What the whole picture did, of at least two frames, which are there in colour and in `gray`. No point of a grid reaches less
    far than the picture, so `reaches` is empty. Raises NotFiniteError for tracks that are NaN or infinite.
    """
    top, bottom, left, right = active_part(gray.data)
    pictures = prepare(gray.data[:, top:bottom, left:right])
    height, width = pictures[0].even.shape
    shown = np.ascontiguousarray(frames.data[:, top:bottom, left:right])
    steps: list[Similarity | None] = []
    num_stretches = max(1, -(-(len(shown) - 1) // (STRETCH - 1)))
    edges = np.linspace(0, len(shown) - 1, num_stretches + 1).round().astype(int).tolist()
    for first, last in pairwise(edges):
        stretch = shown[first : last + 1]
        steps += _steps(_tracks(stretch, tracker, (width, height)))
    return GlobalMotion(steps, (width, height), [], pictures)


def _tracks(pictures: NDArray[np.uint8], tracker: Tracker, size: tuple[int, int]) -> "Tracks":
    """The tracks of a grid set down on every `KEY_EVERY`-th picture, in pixels of a picture of `size` (width, height)."""
    height, width = pictures.shape[1:3]
    middles = (np.arange(GRID) + 0.5) / GRID
    grid = np.stack(np.meshgrid(middles * width, middles * height), axis=-1).reshape(-1, 2).astype(np.float32)
    keys = np.arange(0, len(pictures), KEY_EVERY)
    at, seen = tracker(pictures, np.tile(grid, (len(keys), 1)), np.repeat(keys, len(grid)))
    if not np.isfinite(at).all():
        raise NotFiniteError("the network gave a track that is NaN or infinite")
    half = (size[0] / 2, size[1] / 2)
    places = (at[..., 0] * (size[0] / width) - half[0] + 1j * (at[..., 1] * (size[1] / height) - half[1])).astype(
        np.complex64
    )
    inside = (np.abs(places.real) < half[0]) & (np.abs(places.imag) < half[1])
    return Tracks(places, seen & inside, half)


@dataclass(frozen=True)
class Tracks:
    """places: complex64 [T, N], from the picture's centre; seen: bool [T, N], inside the picture. half: of its width and height."""

    places: Points
    seen: NDArray[np.bool_]
    half: tuple[float, float]

    def fit(self, first: int, last: int, guess: Similarity) -> Fit:
        """The similarity from one picture to a later one that most points seen in both agree on; an empty Fit for too few."""
        start = np.flatnonzero(self.seen[first])
        ahead = guess.of(self.places[first, start])
        found = self.seen[last, start]
        kept = (np.abs(ahead.real) < self.half[0]) & (np.abs(ahead.imag) < self.half[1])
        weights = self._outward(self.places[first, start])
        if found.sum() < MIN_CORNERS:
            return Fit()
        both = start[found]
        matches = Matches(
            both,
            self.places[first, both],
            self.places[last, both],
            weights[found],
            LOST * float(weights[kept & ~found].sum()),
        )
        return agreement(matches, guess, np.random.default_rng(0))

    def _outward(self, places: Points) -> Weights:
        """What points count, as corners do: less in the middle, where things are."""
        out = np.maximum(np.abs(places.real) / self.half[0], np.abs(places.imag) / self.half[1])
        return (0.25 + 1.25 * out**2).astype(np.float32)

    def worn(self, key: int, at: int) -> bool:
        """Whether a key frame has served long enough, or few of its points are still seen."""
        return at - key >= KEY_EVERY or (self.seen[key] & self.seen[at]).sum() < WORN * self.seen[key].sum()


def _steps(tracks: Tracks) -> list[Similarity | None]:
    """The similarity from each picture of a stretch to the next; None where none can be told."""
    steps: list[Similarity | None] = []
    key, to_last, step = 0, STILL, STILL
    for i in range(1, len(tracks.places)):
        fit = tracks.fit(key, i, step.after(to_last))
        if fit.share < CLEAR_SHARE and key != i - 1 and (near := tracks.fit(i - 1, i, step)).share > fit.share:
            key, to_last, fit = i - 1, STILL, near
        if fit.share < MIN_SHARE or len(fit.agreeing) < MIN_CORNERS:
            steps.append(None)
            key, to_last, step = i, STILL, STILL
            continue
        step = fit.similarity.after(to_last.inverse())
        steps.append(step)
        to_last = fit.similarity
        if tracks.worn(key, i):
            key, to_last = i, STILL
    return steps

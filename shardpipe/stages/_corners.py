"""Corners of a key frame, and where they are in later frames."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._shift import Gray, Thumb, phase_shift
from shardpipe.stages._similarity import STILL, Fit, Matches, Points, Similarity, Weights, agreement

WORK_SIDE = 128
CELL = 10
WINDOW = (11, 11)
LEVELS = 1
EVEN_OVER = (13, 13)
CONTRAST = 36.0
MIDDLE = 128.0
NOISE_FLOORS = 4.0
FLOORS = (3.0, 5.0)  # codecs leave still blocks of a gray level or two in plain parts of moving pictures
WEAKEST = 2e-4
FAINTEST = 7  # noise is evened out to about 6
ROUND = 0.04  # an edge, which can be found anywhere along itself, has less contrast along than across
MATCHED = 0.7
UNCHANGED = 0.45
LOST = 0.3
SIDESTEP_PX = 4
DISTINCT = 0.6
MARGIN_PX = 2
MIN_CORNERS = 8
MIN_MATCHED = 0.1


@dataclass(frozen=True)
class Picture:
    """A frame of at most 128 pixels with its contrast evened out, and the same at half the size."""

    even: Gray
    half: Thumb


@dataclass
class Key:
    """A key frame and its corners.

    relief: mean absolute contrast around each. outward: what each counts, 0.25 at the centre to 1.5 at the picture's
    edges, which things in front of the camera cover less. weights: the same, but less for corners that went other
    ways than the camera before. first: how many agreed in the first frame after it.
    """

    picture: Picture
    x: NDArray[np.intp]
    y: NDArray[np.intp]
    relief: NDArray[np.float32]
    corners: Points = field(init=False)
    outward: Weights = field(init=False)
    weights: Weights = field(init=False)
    first: int = 0

    def __post_init__(self) -> None:
        height, width = self.picture.even.shape
        self.corners = (self.x - width / 2 + 1j * (self.y - height / 2)).astype(np.complex64)
        out = np.maximum(np.abs(self.corners.real) / (width / 2), np.abs(self.corners.imag) / (height / 2))
        self.outward = (0.25 + 1.25 * out**2).astype(np.float32)
        self.weights = self.outward.copy()

    def learn(self, fit: Fit) -> None:
        """Takes notice of which corners moved with the camera."""
        self.first = self.first or len(fit.agreeing)
        astray = fit.straying
        self.weights[astray] = np.maximum(self.weights[astray] * 0.7, self.outward[astray] * 0.4)

    def distinct(self) -> "Key":
        """The same with only those corners that could not be mistaken for what lies 4 pixels beside them, as a piece of
        an edge or of a smooth shade could.
        """
        even = self.picture.even
        height, width = even.shape
        wide = np.pad(even, SIDESTEP_PX, mode="reflect" if min(even.shape) > SIDESTEP_PX else "edge")
        unlike = np.full(len(self.x), np.inf)
        for down in (0, SIDESTEP_PX, 2 * SIDESTEP_PX):
            for right in (0, SIDESTEP_PX, 2 * SIDESTEP_PX):
                if (down, right) != (SIDESTEP_PX, SIDESTEP_PX):
                    beside = wide[down : down + height, right : right + width]
                    unlike = np.minimum(unlike, cv2.blur(cv2.absdiff(even, beside), WINDOW)[self.y, self.x])
        own = unlike > DISTINCT * self.relief
        return Key(self.picture, self.x[own], self.y[own], self.relief[own])

    def unchanged_share(self, picture: Picture) -> float:
        """The weighted share of the corners around which `picture` looks the same, 0 to 1."""
        if not len(self.x):
            return 0.0
        change = cv2.blur(cv2.absdiff(self.picture.even, picture.even), WINDOW)[self.y, self.x]
        return self.share(np.flatnonzero(change < UNCHANGED * self.relief))

    def share(self, numbers: NDArray[np.intp]) -> float:
        """What these corners count of all, by place and contrast, 0 to 1."""
        counts = self.outward * self.relief
        return float(counts[numbers].sum() / counts.sum())


def prepare(frames: Iterable[Gray]) -> list[Picture]:
    """Shrinks frames to a long side of 128, and evens out the contrast above noise, so that faint and dark parts count
    too.
    """
    small = [_shrunk(frame) for frame in frames]
    floor = float(np.clip(NOISE_FLOORS * _noise(small), *FLOORS))
    return [_evened(each, floor) for each in small]


def _shrunk(frame: Gray) -> NDArray[np.float32]:
    scale = min(1.0, WORK_SIDE / max(frame.shape))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _noise(small: list[NDArray[np.float32]]) -> float:
    """Standard deviation of what changes in the stillest tenth of the picture, in the stillest of a few moments."""
    moments = np.unique(np.linspace(0, max(0, len(small) - 2), 6).round().astype(int))
    change = [float(np.percentile(cv2.blur(cv2.absdiff(small[i], small[i + 1]), WINDOW), 10)) for i in moments]
    return min(change) * math.sqrt(math.pi) / 2


def _evened(small: NDArray[np.float32], floor: float) -> Picture:
    """Contrast over the local standard deviation; what is fainter than `floor` gray levels stays faint."""
    height, width = small.shape
    mean = cv2.blur(small, EVEN_OVER)
    variance = np.maximum(cv2.sqrBoxFilter(small, -1, EVEN_OVER) - mean * mean, 0)
    contrast = (small - mean) / (np.sqrt(variance) + floor) * CONTRAST + MIDDLE
    even = contrast.clip(0, 255).astype(np.uint8)
    half = cv2.resize(even, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return Picture(even, half.astype(np.float32))


def key_frame(picture: Picture) -> Key:
    """The best corner (Shi and Tomasi 1994) of each 10x10 pixels, so that no thing rich in corners outvotes a plain
    background.
    """
    even = picture.even
    rows, columns = even.shape[0] // CELL, even.shape[1] // CELL
    contrast = cv2.cornerEigenValsAndVecs(even, 5, 3)[: rows * CELL, : columns * CELL, :2]
    weak, strong = contrast.min(axis=2), contrast.max(axis=2)
    strength = np.where(weak > ROUND * strong, weak, 0)
    cells = strength.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(rows * columns, CELL * CELL)
    good = np.flatnonzero(cells.max(1, initial=0) > WEAKEST)
    best = cells[good].argmax(1) if len(good) else good
    x, y = good % columns * CELL + best % CELL, good // columns * CELL + best // CELL
    relief = cv2.blur(cv2.absdiff(even, cv2.blur(even, WINDOW)), WINDOW)[y, x]
    clear = relief > FAINTEST
    return Key(picture, x[clear], y[clear], relief[clear].astype(np.float32))


def jump(last: Picture, picture: Picture) -> Similarity:
    """The shift of the whole picture, by phase correlation; still where there is none."""
    dx, dy = phase_shift(last.half, picture.half)
    return Similarity(1, complex(2 * dx, 2 * dy)) if dx or dy else STILL


def follow(key: Key, picture: Picture, guess: Similarity, rng: np.random.Generator) -> Fit:
    """The similarity from the key frame to `picture`: the corners are looked for near where `guess` puts them (pyramids
    of Lucas and Kanade); those whose surroundings do not look alike are lost. An empty Fit if too few are found.
    """
    height, width = picture.even.shape
    ahead = guess.of(key.corners)
    inside = (np.abs(ahead.real) < width / 2 - MARGIN_PX) & (np.abs(ahead.imag) < height / 2 - MARGIN_PX)
    numbers = np.flatnonzero(inside)
    if len(numbers) < MIN_CORNERS:
        return Fit()
    start, weights = key.corners[inside], key.weights[inside]
    near, status, error = cv2.calcOpticalFlowPyrLK(
        key.picture.even,
        picture.even,
        _pixels(start, width, height),
        _pixels(ahead[inside], width, height),
        winSize=WINDOW,
        maxLevel=LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
        minEigThreshold=1e-3,
    )
    alike = (status[:, 0] > 0) & (error[:, 0] < MATCHED * key.relief[inside])
    if alike.sum() < max(MIN_CORNERS, MIN_MATCHED * len(start)):
        return Fit()
    end = (near[:, 0, 0] - width / 2 + 1j * (near[:, 0, 1] - height / 2)).astype(np.complex64)
    lost = LOST * float(weights[~alike].sum())
    return agreement(Matches(numbers[alike], start[alike], end[alike], weights[alike], lost), guess, rng)


def _pixels(points: Points, width: int, height: int) -> NDArray[np.float32]:
    """[N, 1, 2] x and y from the upper left."""
    xy = np.empty((len(points), 1, 2), np.float32)
    xy[:, 0, 0], xy[:, 0, 1] = points.real + width / 2, points.imag + height / 2
    return xy

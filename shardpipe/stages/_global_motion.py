"""Global motion: how the whole picture moves, turns and grows from frame to frame, whatever moves inside it.

Corners spread over a key frame are followed by Lucas-Kanade into the frames after it; the similarity that most of them
agree on (weighted towards the picture's edges, which things in front of the camera cover less) is the camera. A key
frame serves as long as enough of its corners are found, so slow moves add up over seconds instead of drowning in the
noise of single steps.

Points are complex numbers x + iy in pixels from the picture's centre, y down; a similarity maps p to `a * p + b`, so
`abs(a)` is its scale and the angle of `a` its turn.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames
from shardpipe.stages._shift import Gray, phase_shift

Points = NDArray[np.complex64]

WORK_SIDE = 128
CELL = 8
WEAKEST = 2e-4
MATCHED = 0.7
STILL_BONUS = 1.6
STILL_SHARE = 0.2
UNCHANGED = 0.45
UNMATCHED = 0.3
WINDOW = (11, 11)
LEVELS = 2
TRIALS = 60
INLIER_PX = 1.0


@dataclass(frozen=True)
class Similarity:
    """p -> a * p + b."""

    a: complex = 1.0 + 0.0j
    b: complex = 0.0j

    def after(self, first: "Similarity") -> "Similarity":
        """First `first`, then this."""
        return Similarity(self.a * first.a, self.a * first.b + self.b)

    def inverse(self) -> "Similarity":
        """The way back."""
        return Similarity(1 / self.a, -self.b / self.a)

    def of(self, points: Points) -> Points:
        """Where `points` go."""
        return (points * np.complex64(self.a) + np.complex64(self.b)).astype(np.complex64)


STILL = Similarity()


@dataclass(frozen=True)
class Fit:
    """A similarity and what speaks for it: the weighted share of the followed corners that obey it, and their number."""

    similarity: Similarity
    share: float
    agreeing: NDArray[np.intp]
    straying: NDArray[np.intp]

    @property
    def good(self) -> bool:
        """Whether it is the camera rather than chance."""
        return self.share >= MIN_SHARE and len(self.agreeing) >= MIN_CORNERS


MIN_SHARE = 0.3
MIN_CORNERS = 8
CLEAR_SHARE = 0.5
NONE = np.zeros(0, np.intp)
NOTHING = Fit(STILL, 0.0, NONE, NONE)


@dataclass(frozen=True)
class _Picture:
    """A frame made ready: contrast evened out; and that at half the size."""

    even: Gray
    thumb: NDArray[np.float32]


@dataclass
class _Key:
    """A key frame and its corners. Corners that went other ways than the camera lose weight for the next frames."""

    picture: _Picture
    corners: Points
    weights: NDArray[np.float32]
    relief: NDArray[np.float32]
    y: NDArray[np.intp]
    x: NDArray[np.intp]
    outward: NDArray[np.float32]
    first: int = 0

    def learn(self, fit: "Fit") -> None:
        """Takes notice of which corners moved with the camera."""
        self.first = self.first or len(fit.agreeing)
        self.weights[fit.straying] = np.maximum(self.weights[fit.straying] * 0.7, self.outward[fit.straying] * 0.4)

    def still_share(self, picture: "_Picture") -> float:
        """The share of the corners around which nothing has changed."""
        change = cv2.blur(cv2.absdiff(self.picture.even, picture.even), WINDOW)
        return float(self.outward[change[self.y, self.x] < UNCHANGED * self.relief].sum() / (self.outward.sum() + 1e-9))


def global_motion(frames: Frames) -> tuple[list[Similarity | None], float]:
    """The similarity from each frame to the next, in pixels of `work_size`, None where it could not be told; and the
    long side of that working size in pixels."""
    rng = np.random.default_rng(0)
    steps: list[Similarity | None] = []
    picture = _prepare(frames.data[0])
    key, to_last, step = _key(picture), STILL, STILL
    for i in range(1, len(frames)):
        last, picture = picture, _prepare(frames.data[i])
        guess = step.after(to_last)
        fit = _follow(key, picture, guess, rng)
        if abs(guess.b) + 40 * abs(guess.a - 1) > 1 and key.still_share(picture) > STILL_SHARE:
            fit = max(fit, _follow(key, picture, STILL, rng), key=lambda each: each.share)
        if fit.share < CLEAR_SHARE:
            key, to_last, fit = _second_try(key, to_last, fit, (last, picture), step, rng)
        if not fit.good:
            steps.append(None)
            key, to_last, step = _key(picture), STILL, STILL
            continue
        step = fit.similarity.after(to_last.inverse())
        steps.append(step)
        to_last = fit.similarity
        key.learn(fit)
        if len(fit.agreeing) < 0.5 * key.first:
            key, to_last = _key(picture), STILL
    return steps, float(max(picture.even.shape))


def _second_try(key, to_last, fit, pictures, step, rng):
    """Jumps, and a new key frame, where the old one no longer explains what is seen."""
    last, picture = pictures
    jump = _jump(last, picture)
    if jump is not STILL:
        fit = max(fit, _follow(key, picture, jump.after(to_last), rng), key=lambda each: each.share)
    if fit.share >= CLEAR_SHARE or key.picture is last:
        return key, to_last, fit
    fresh = _key(last)
    near = max(
        (_follow(fresh, picture, g, rng) for g in ((step, jump) if jump is not STILL else (step,))),
        key=lambda each: each.share,
    )
    return (fresh, STILL, near) if near.share > fit.share else (key, to_last, fit)


def _prepare(frame: Gray) -> _Picture:
    """Shrinks to a long side of 128, and evens out the contrast, so that faint and dark parts count too."""
    scale = min(1.0, WORK_SIDE / max(frame.shape))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    detail = small - cv2.blur(small, (17, 17))
    spread = np.sqrt(np.maximum(cv2.blur(detail * detail, (17, 17)), 0))
    even = np.clip(detail * (36 / (spread + 3)) + 128, 0, 255).astype(np.uint8)
    thumb = cv2.resize(even.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return _Picture(even, thumb)


def _key(picture: _Picture) -> _Key:
    """The best corner of each cell of 8x8 pixels, so that no thing rich in corners outvotes a plain background."""
    even = picture.even
    rows, columns = even.shape[0] // CELL, even.shape[1] // CELL
    strength = cv2.cornerMinEigenVal(even, 5)
    cells = strength[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL).swapaxes(1, 2)
    cells = cells.reshape(rows * columns, CELL * CELL)
    best = cells.argmax(1)
    strong = cells.max(1, initial=0) > WEAKEST
    cell = np.arange(rows * columns)
    x = (cell % columns * CELL + best % CELL)[strong]
    y = (cell // columns * CELL + best // CELL)[strong]
    relief = cv2.blur(cv2.absdiff(even, cv2.blur(even, WINDOW)), WINDOW)[y, x].astype(np.float32)
    corners = _complex(np.stack([x, y], axis=1).astype(np.float32), even.shape)
    outward = np.maximum(np.abs(corners.real) / (even.shape[1] / 2), np.abs(corners.imag) / (even.shape[0] / 2))
    weights = (0.25 + 1.25 * outward**2).astype(np.float32)
    return _Key(picture, corners, weights.copy(), relief, y, x, weights)


def _complex(xy: NDArray[np.float32], shape: tuple[int, ...]) -> Points:
    """[N, 2] pixels to complex numbers from the centre."""
    return (xy[:, 0] - shape[1] / 2 + 1j * (xy[:, 1] - shape[0] / 2)).astype(np.complex64)


def _pixels(points: Points, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The inverse of `_complex`, [N, 1, 2]."""
    return np.stack([points.real + shape[1] / 2, points.imag + shape[0] / 2], axis=1)[:, None].astype(
        np.float32, order="C"
    )


def _jump(last: _Picture, picture: _Picture) -> Similarity:
    """A shift of the whole picture, by phase correlation."""
    dx, dy = phase_shift(last.thumb, picture.thumb)
    return Similarity(1, complex(2 * dx, 2 * dy)) if dx or dy else STILL


def _follow(key: _Key, picture: _Picture, guess: Similarity, rng: np.random.Generator) -> Fit:
    """The similarity from the key frame to `picture`, found near a guess."""
    height, width = picture.even.shape
    ahead = guess.of(key.corners)
    inside = (np.abs(ahead.real) < width / 2 - 2) & (np.abs(ahead.imag) < height / 2 - 2)
    if inside.sum() < MIN_CORNERS:
        return NOTHING
    start, weights = key.corners[inside], key.weights[inside]
    near = _pixels(ahead[inside], picture.even.shape)
    found, status, error = cv2.calcOpticalFlowPyrLK(
        key.picture.even,
        picture.even,
        _pixels(start, picture.even.shape),
        near,
        winSize=WINDOW,
        maxLevel=LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 0.02),
        minEigThreshold=1e-3,
    )
    ok = (status[:, 0] > 0) & (error[:, 0] < MATCHED * key.relief[inside])
    if ok.sum() < max(MIN_CORNERS, 0.1 * len(start)):
        return NOTHING
    end = _complex(found[:, 0], picture.even.shape)
    lost = float(weights[~ok].sum()) * UNMATCHED
    return _agree(np.flatnonzero(inside)[ok], start[ok], end[ok], weights[ok], lost, [STILL, guess], rng)


def _agree(
    which: NDArray[np.intp],
    start: Points,
    end: Points,
    weights: NDArray[np.float32],
    lost: float,
    known: list[Similarity],
    rng: np.random.Generator,
) -> Fit:
    """MSAC over pairs of corners, then least squares over those that agree."""
    one, two = rng.integers(0, len(start), (2, TRIALS))
    keep = np.abs(start[one] - start[two]) > 8
    one, two = one[keep], two[keep]
    a = (end[two] - end[one]) / (start[two] - start[one])
    a = np.append(a, [each.a for each in known])
    b = np.append(end[one] - a[: len(one)] * start[one], [each.b for each in known])
    off = np.abs(a[:, None] * start + b[:, None] - end)
    votes = (np.maximum(0, 1 - (off / INLIER_PX) ** 2) * weights).sum(1)
    votes[len(one)] *= STILL_BONUS
    votes[(np.abs(a) < 0.5) | (np.abs(a) > 2)] = 0
    best = int(np.argmax(votes))
    a_best, b_best = complex(a[best]), complex(b[best])
    reach = INLIER_PX
    for _ in range(4):
        off = np.abs(a_best * start + b_best - end)
        w = np.maximum(0, 1 - (off / reach) ** 2) * weights
        if (w > 0).sum() < 3:
            return NOTHING
        p, q = np.average(start, weights=w), np.average(end, weights=w)
        around, to = start - p, end - q
        a_best = complex((w * to * around.conj()).sum() / (w * np.abs(around) ** 2).sum())
        b_best = complex(q - a_best * p)
        reach = float(np.clip(4 * np.median(off[w > 0]), 0.3, INLIER_PX))
    off = np.abs(a_best * start + b_best - end)
    agree = off < INLIER_PX
    share = float(weights[agree].sum() / (weights.sum() + lost))
    if abs(a_best - 1) * 40 + abs(b_best) < 0.5:
        share = min(1.0, share * STILL_BONUS)
    return Fit(Similarity(a_best, b_best), share, which[agree], which[off > 1.5 * INLIER_PX])

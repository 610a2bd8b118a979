"""Similarities: shift, turn and growth of a picture, and the one that most of its corners agree on.

Points are complex numbers x + iy in pixels from the picture's centre, y down; a similarity maps p to `a * p + b`, so
`abs(a)` is its growth and the angle of `a` its turn, clockwise on the screen.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.complex64]
Weights = NDArray[np.float32]

TRIALS = 60
FAR_APART_PX = 10.0
INLIER_PX = 1.0
STRAY_PX = 1.5
REACHES_PX = (1.0, 0.7, 0.5)
MOST = 0.6  # a share that no thing in front of the camera is expected to reach
STILL_PX = 0.5
STILL_BONUS = 1.6  # corners that stay where they are by chance, or with a thing that the camera follows, are rare
HALF, TWICE = 0.5, 2.0
ARM_PX = 43.0  # mean distance of points from the centre of a picture of 128 pixels


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

    @property
    def size_px(self) -> float:
        """About how far it moves the points of a picture of 128 pixels."""
        return abs(self.b) + ARM_PX * abs(self.a - 1)


STILL = Similarity()
NONE: NDArray[np.intp] = np.zeros(0, np.intp)


def area(points: Points) -> float:
    """Of the box around points."""
    return float(np.ptp(points.real) * np.ptp(points.imag))


@dataclass(frozen=True)
class Fit:
    """A similarity and what speaks for it.

    share: weight of the corners that obey it, of all that were followed, those lost counting less; up to 1.6 times
    that for standing still. agreeing, straying: indices of the corners that obey it, and that go other ways.
    """

    similarity: Similarity = STILL
    share: float = 0.0
    agreeing: NDArray[np.intp] = field(default_factory=lambda: NONE)
    straying: NDArray[np.intp] = field(default_factory=lambda: NONE)


@dataclass(frozen=True)
class Matches:
    """Corners found again: their numbers, places before and after, weights; and the weight of those that were lost."""

    which: NDArray[np.intp]
    start: Points
    end: Points
    weights: Weights
    lost: float


def agreement(found: Matches, guess: Similarity, rng: np.random.Generator) -> Fit:
    """The similarity with the most weight of corners near where it puts them (MSAC, Torr and Zisserman 2000).

    Tried are standing still, `guess`, `guess` with the shift corrected, and, unless most corners agree on one of those,
    the similarities of random pairs of corners; the best is refined by least squares over the corners that agree.
    """
    start, end, weights = found.start, found.end, found.weights
    rest = end - np.complex64(guess.a) * start
    shifted = Similarity(guess.a, complex(_middle(rest.real), _middle(rest.imag)))
    known = (STILL, guess, shifted)
    a, b = np.array([each.a for each in known]), np.array([each.b for each in known])
    votes = _votes(a, b, found)
    votes[0] *= STILL_BONUS
    total = float(weights.sum())
    if votes.max() < MOST * total:
        one, two = rng.integers(0, len(start), (2, TRIALS))
        apart = np.abs(start[one] - start[two]) > FAR_APART_PX
        one, two = one[apart], two[apart]
        turns = (end[two] - end[one]) / (start[two] - start[one])
        shifts = end[one] - turns * start[one]
        a, b, votes = np.append(a, turns), np.append(b, shifts), np.append(votes, _votes(turns, shifts, found))
    best = int(np.argmax(votes))
    similarity = _least_squares(Similarity(complex(a[best]), complex(b[best])), found)
    off = np.abs(similarity.of(start) - end)
    agree = off < INLIER_PX
    share = float(weights @ agree) / (total + found.lost)
    if similarity.size_px < STILL_PX:
        share = min(1.0, share * STILL_BONUS)
    return Fit(similarity, share, found.which[agree], found.which[off > STRAY_PX])


def _middle(values: NDArray[np.float32]) -> float:
    """The (upper) median, at a tenth of the cost of numpy's for a hundred values."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def _votes(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating], found: Matches) -> NDArray[np.float64]:
    """For each similarity, the weight of the corners near where it puts them; 0 for those that no camera makes."""
    off = a.astype(np.complex64)[:, None] * found.start + b.astype(np.complex64)[:, None] - found.end
    near = 1 - (off.real**2 + off.imag**2) * np.float32(1 / INLIER_PX**2)
    votes = np.asarray(np.maximum(near, 0, out=near) @ found.weights, np.float64)
    votes[(np.abs(a) < HALF) | (np.abs(a) > TWICE)] = 0
    return votes


def _least_squares(similarity: Similarity, found: Matches) -> Similarity:
    """Refined over the corners near where it puts them, ever nearer."""
    start, end = found.start, found.end
    moments = np.stack([np.ones_like(start), start, end, start.conj() * end, start * start.conj()])
    for reach_px in REACHES_PX:
        off = similarity.of(start) - end
        near = 1 - (off.real**2 + off.imag**2) * np.float32(1 / reach_px**2)
        weights = np.maximum(near, 0, out=near) * found.weights
        if np.count_nonzero(weights) <= 2:  # noqa: PLR2004  two corners fit any similarity
            break
        total, starts, ends, cross, spread = map(complex, moments @ weights)
        a = (cross - starts.conjugate() * ends / total) / (spread.real - abs(starts) ** 2 / total.real)
        similarity = Similarity(a, (ends - a * starts) / total)
    return similarity

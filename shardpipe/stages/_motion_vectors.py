"""Speeds out of a codec's motion vectors."""

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.frames import Frames

MIN_SHARE = 0.5
"""Of its cells that must have a vector for a frame to count: what is coded by itself (a cut) leaves stray ones."""
FAR = 1.5
"""So much faster than the frames around it is a frame that refers to a frame further away than it is taken to."""
AROUND = 2  # frames each way


def vector_speeds(frames: Frames, *, long_side: int) -> NDArray[np.float32]:
    """Speeds float32 [N] of all cells of all frames that have vectors, in pixels a second in a picture of this long side;
    empty where there are none: a codec that gives none, or a clip of keyframes.
    """
    vectors = frames.vectors
    speeds = np.hypot(vectors[..., 0], vectors[..., 1]).reshape(len(vectors), -1) * np.float32(long_side)
    known = np.isfinite(speeds)
    counted = known.mean(axis=1) >= MIN_SHARE
    speeds, known = speeds[counted], known[counted]
    means = np.array([speed[has].mean() for speed, has in zip(speeds, known, strict=True)])
    near = [i for i in range(len(means)) if means[i] <= FAR * _around(means, i)]
    found: NDArray[np.float32] = speeds[near][known[near]]
    return found


def _around(means: NDArray[np.float64], i: int) -> float:
    """The median of the frames around frame `i`, itself one of them."""
    return float(np.median(means[max(0, i - AROUND) : i + AROUND + 1]))

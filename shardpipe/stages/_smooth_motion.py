"""Global motion of pictures without corners: soft shades, as of fog or a sky, laid one over the other."""

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._align import Alignment, Pyramid, align, pyramids, slopes
from shardpipe.stages._blocks import grid_of
from shardpipe.stages._similarity import STILL, Similarity

OVERLAP = 0.6
SHADED = 0.75  # gray levels a pixel
SHADED_SHARE = 0.4  # of the blocks
LEAST_ACROSS = 0.05
EXPLAINED = 0.2


def smooth_steps(data: NDArray[np.uint8]) -> tuple[list[Similarity | None], tuple[int, int]]:
    """The similarity from each frame of uint8 [T, H, W] (without black bars) to the next, None where it cannot be told; and the
    (width, height) of the picture in whose pixels they are.
    """
    pictures = pyramids(data)
    height, width = pictures[0].picture.shape
    if not all(map(is_shaded, (pictures[0], pictures[len(pictures) // 2], pictures[-1]))):
        return [None] * (len(pictures) - 1), (width, height)
    steps: list[Similarity | None] = []
    key, at, step = pictures[0], STILL, STILL
    for i in range(1, len(pictures)):
        found = align(key, pictures[i], step.after(at))
        if not explains(found) and key is not pictures[i - 1]:
            key, at = pictures[i - 1], STILL
            found = align(key, pictures[i], step)
        if not explains(found):
            steps.append(None)
            key, at, step = pictures[i], STILL, STILL
            continue
        step, at = found.similarity.after(at.inverse()), found.similarity
        steps.append(step)
        if float(found.inside.mean()) < OVERLAP:
            key, at = pictures[i], STILL
    return steps, (width, height)


def is_shaded(picture: Pyramid) -> bool:
    """Whether most of a picture has slopes, and not all of them along one line, along which nothing would be seen to move."""
    shaded = grid_of(picture.slope) > SHADED
    if float(shaded.mean()) < SHADED_SHARE:
        return False
    across, down = slopes(picture.picture)
    mixed = float((down * across).sum())
    tensor = np.array([[float((across * across).sum()), mixed], [mixed, float((down * down).sum())]])
    least, most = np.linalg.eigvalsh(tensor)
    return bool(least > LEAST_ACROSS * most)


def explains(found: Alignment) -> bool:
    """Whether a picture laid over another leaves little of its shades."""
    if not found.fits or not found.inside.any():
        return False
    shown, expected = found.shown[found.inside], found.expected[found.inside]
    left: NDArray[np.float32] = shown - expected
    return float(np.sqrt(np.mean(left * left))) < EXPLAINED * float(shown.std())

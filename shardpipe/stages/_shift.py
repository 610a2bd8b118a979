"""The displacement of a whole picture between two frames, by phase correlation: a first guess for large moves."""

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Thumb = NDArray[np.float32]

THUMB_SIDE = 64
CLEARLY_BETTER = 0.8
MIN_SIDE = 8


def thumb(frame: Gray) -> Thumb:
    """float32 copy of a gray frame uint8 [H, W], shrunk by area to a long side of 64 (never enlarged)."""
    height, width = frame.shape
    scale = min(1.0, THUMB_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def phase_shift(first: Thumb, second: Thumb) -> tuple[float, float]:
    """How far (x, y) the content of `first` lies from its place in `second`, in pixels of the thumbs; (0, 0) where
    that does not explain the second picture clearly better than no move at all.
    """
    height, width = first.shape
    if min(height, width) < MIN_SIDE:
        return 0.0, 0.0
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(first - first.mean(), second - second.mean(), window)
    x, y = round(dx), round(dy)
    if (x == 0 and y == 0) or abs(x) > width * 0.6 or abs(y) > height * 0.6:
        return 0.0, 0.0
    moved = _difference(first, second, x, y)
    return (float(dx), float(dy)) if moved < CLEARLY_BETTER * _difference(first, second, 0, 0) else (0.0, 0.0)


def _difference(first: Thumb, second: Thumb, x: int, y: int) -> float:
    """Mean absolute difference where `first`, moved by (x, y), overlaps `second`."""
    height, width = first.shape
    here = first[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    there = second[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    return float(np.abs(here - there).mean())

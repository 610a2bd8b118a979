"""Means over the blocks of a small picture."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 8

Grid = NDArray[np.float32]


def grid_of(values: NDArray[Any]) -> Grid:
    """The mean of each block of about 8 x 8 pixels of [H, W]: float32 [max(1, H // 8), max(1, W // 8)]."""
    height, width = values.shape
    size = max(1, width // BLOCK_PX), max(1, height // BLOCK_PX)
    return np.asarray(
        cv2.resize(values.astype(np.float32, copy=False), size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
    )

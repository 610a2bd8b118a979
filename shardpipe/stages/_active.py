"""The part of the picture inside black bars, whose edges stand still whatever moves."""

import numpy as np
from numpy.typing import NDArray

BAR_LEVEL = 20
MIN_ACTIVE = 0.4


def without_bars(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures of uint8 [T, H, W] without black bars: a view of them."""
    top, bottom, left, right = active_part(data)
    return data[:, top:bottom, left:right]


def active_part(data: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the picture of uint8 [T, H, W] without black bars. The whole picture where that
    leaves little: it is dark, not barred.
    """
    brightest = data[:: max(1, len(data) // 16)].max(axis=0)
    height, width = brightest.shape
    rows = np.flatnonzero(brightest.max(axis=1) > BAR_LEVEL)
    columns = np.flatnonzero(brightest.max(axis=0) > BAR_LEVEL)
    if len(rows) < MIN_ACTIVE * height or len(columns) < MIN_ACTIVE * width:
        return 0, height, 0, width
    inset_y, inset_x = (2 if len(rows) < height else 0), (2 if len(columns) < width else 0)
    top, bottom = int(rows[0]) + inset_y, int(rows[-1]) + 1 - inset_y
    left, right = int(columns[0]) + inset_x, int(columns[-1]) + 1 - inset_x
    return top, bottom, left, right

"""A thing that alone moves before a ground without corners, which could be taken for the motion of the whole picture."""

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._align import pyramids
from shardpipe.stages._global_motion import GlobalMotion
from shardpipe.stages._stillness import unusual

COMPACT = 0.29  # of the picture: a thing of a quarter of it, and what is around its corners
COVERED = 0.45
NEARLY_ALL = 88  # percentile


def is_lone_thing(motion: GlobalMotion, data: NDArray[np.uint8]) -> bool:
    """Whether all that is known to move lies close together, and most of the picture, of frames uint8 [T, H, W] without black
    bars, is at nearly all times what it is at most times.
    """
    if not motion.reaches or np.percentile(motion.reaches, NEARLY_ALL) > COMPACT:
        return False
    changed = unusual(pyramids(data)).mean(axis=(1, 2))
    return float(np.percentile(changed, NEARLY_ALL)) < COVERED

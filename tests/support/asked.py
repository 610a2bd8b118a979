"""Requests about pictures that tell which clip they are of."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from support.numbered import paint

from shardpipe.models.generate.request import Request


def numbered_frames(*numbers: int) -> NDArray[np.uint8]:
    """RGB frames uint8 [T, 96, 128, 3] with these numbers drawn in them."""
    planes = [np.ascontiguousarray(paint(number, (128, 96)).transpose(1, 2, 0)[..., [0, 2, 1]]) for number in numbers]
    return np.stack([cv2.cvtColor(each, cv2.COLOR_YCrCb2RGB) for each in planes])


def asked(key: str, *numbers: int, **settings: Any) -> Request:
    """A request about frames with these numbers, half a second apart; without numbers about nothing."""
    given: dict[str, Any] = {}
    if numbers:
        given = {"frames": numbered_frames(*numbers), "times_s": np.arange(len(numbers)) * 0.5, "duration_s": 4.0}
    return Request(key, **{"prompt": "What is it?", **given, "timeout_s": 20.0, **settings})

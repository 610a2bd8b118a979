"""Real frames for the tests of stages: read once, changed, encoded again, scored."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.stage import ClipError, Stage
from shardpipe.testing import make_clip, score_clip

VIDEOS = Path(__file__).parents[1] / "assets" / "videos"
Shot = Literal["bigbuckbunny", "bikes", "carphone_pristine"]
Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]


@cache
def shot(name: Shot, *, first: int = 0, count: int = 36, width: int | None = None) -> tuple[Picture, ...]:
    """`count` frames of a real video from number `first` on, uint8 [H, W, 3] in rgb, even sizes, read only.

    They are scaled to `width` where that is given, with the aspect ratio kept.
    """
    pictures: list[Picture] = []
    with av.open(str(VIDEOS / f"{name}.mp4")) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i >= first + count:
                break
            if i >= first:
                rgb = frame.to_ndarray(format="rgb24")
                if width is not None:
                    size = width, round(rgb.shape[0] * width / rgb.shape[1])
                    rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
                picture = np.ascontiguousarray(rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2])
                picture.flags.writeable = False
                pictures.append(picture)
    return tuple(pictures)


def scored(
    stage: Stage | Mapping[str, Any],
    folder: Path,
    pictures: tuple[Picture, ...],
    *,
    change: Change = lambda picture: picture,
    crf: int = 18,
    fps: int = 25,
) -> Mapping[str, Any]:
    """The stage's columns for `pictures`, each changed, encoded to an mp4 in `folder`."""
    path = make_clip(folder / "clip.mp4", pictures=map(change, pictures), crf=crf, fps=fps)
    result = score_clip(stage, path)
    assert not isinstance(result, ClipError)
    return result

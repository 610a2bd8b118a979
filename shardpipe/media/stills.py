"""Cached frames of a clip (the still pictures that the stage `frames` keeps) as what a frame request gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Frames, Spread
from shardpipe.core.stills import is_part, may_serve
from shardpipe.media.pick import Indices, picture_size, spread
from shardpipe.media.pixels import PixelReader

AMBIGUOUS_S = 0.001
"""Containers round times: a frame so little later than a wanted time may be the one on screen then."""


@dataclass(frozen=True)
class StillFacts:
    """What is known of a clip's stills without reading them.

    times_s: float64 [N], when each is shown, seconds after the clip's first frame. num_asked: how many were asked for.
    size, clip_size: (width, height) of the stills, and of the clip as displayed. duration_s, num_frames: the clip's.
    """

    times_s: NDArray[np.float64]
    num_asked: int
    size: tuple[int, int]
    clip_size: tuple[int, int]
    duration_s: float
    num_frames: int


def picks(request: FrameRequest, facts: StillFacts) -> Indices | None:
    """Which stills a request gets, in order; None where it must be decoded.

    They are large enough, and either the very frames that are requested (it asks for an odd part of as many), or each
    within the tolerance, as many as it wants or all that the clip has.
    """
    if not may_serve(facts.num_asked, request) or not isinstance(request.sampling, Spread):
        return None
    wanted = picture_size(request, facts.clip_size)
    if wanted[0] > facts.size[0] or wanted[1] > facts.size[1]:
        return None
    times_s = spread(request.sampling, facts.duration_s)
    exact = _exact(len(times_s), times_s, facts) if is_part(facts.num_asked, request) else None
    return _near(times_s, request.tolerance_s, facts) if exact is None and request.tolerance_s > 0 else exact


def why_not(request: FrameRequest, facts: StillFacts) -> str:
    """Why `picks` gives None for a request that other clips' stills may serve, in words."""
    wanted = picture_size(request, facts.clip_size)
    if wanted[0] > facts.size[0] or wanted[1] > facts.size[1]:
        return f"they are of {facts.size[0]}x{facts.size[1]} pixels, and it wants {wanted[0]}x{wanted[1]}"
    if request.tolerance_s == 0 or not isinstance(request.sampling, Spread):
        return (
            "the clip has fewer frames than were asked for, and which are on screen at the wanted times cannot be told"
        )
    distance = np.abs(facts.times_s[None] - spread(request.sampling, facts.duration_s)[:, None]).min(axis=1)
    if distance.max() > request.tolerance_s:
        return (
            f"the nearest to a wanted time is {distance.max():.3g} s away, and tolerance_s is {request.tolerance_s:g}"
        )
    return f"they are {len(facts.times_s)}, too few for {len(distance)} times"


def _exact(num: int, wanted_s: NDArray[np.float64], facts: StillFacts) -> Indices | None:
    if len(facts.times_s) == facts.num_asked:
        step = facts.num_asked // num
        return np.arange(num) * step + step // 2
    late = facts.times_s[None] - wanted_s[:, None]  # a clip of fewer frames: some are on screen at several times
    if np.any((late > 0) & (late < AMBIGUOUS_S)):
        return None
    return np.unique(np.maximum(np.searchsorted(facts.times_s, wanted_s, side="right") - 1, 0))


def _near(wanted_s: NDArray[np.float64], tolerance_s: float, facts: StillFacts) -> Indices | None:
    distance = np.abs(facts.times_s[None] - wanted_s[:, None])
    nearest = distance.argmin(axis=1)
    found = np.unique(nearest)
    enough = len(found) == len(wanted_s) or len(facts.times_s) == facts.num_frames
    return found if enough and distance.min(axis=1).max() <= tolerance_s else None


@dataclass(frozen=True)
class Stills:
    """A clip's stills as read. data: number to webp bytes. picks: which of them each request gets."""

    facts: StillFacts
    data: Mapping[int, bytes]
    picks: Mapping[FrameRequest, Indices]

    def frames(self, request: FrameRequest, allocate: Callable[[tuple[int, ...]], NDArray[np.uint8]]) -> Frames:
        """The Frames of a request of `picks`, shrunk by area as decoded frames are. Raises MediaError."""
        chosen = self.picks[request]
        width, height = picture_size(request, self.facts.clip_size)
        shape = (len(chosen), height, width)
        array = allocate(shape if request.pixels == "gray" else (*shape, 3))
        reader = PixelReader(width, height, request.pixels, turn=0)
        for into, index in zip(array, chosen.tolist(), strict=True):
            picture = self._decoded(index)
            if picture.shape == into.shape:
                into[...] = picture
            else:
                reader.read(av.VideoFrame.from_ndarray(picture, format="rgb24"), into)
        return Frames(array, self.facts.times_s[chosen])

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        """A still, uint8 [H, W, 3]."""
        picture = cv2.imdecode(np.frombuffer(self.data[index], np.uint8), cv2.IMREAD_COLOR)
        width, height = self.facts.size
        if picture is None or picture.shape != (height, width, 3):
            raise MediaError(f"its cached frame {index} is no picture of {width}x{height}: run `shardpipe verify`")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

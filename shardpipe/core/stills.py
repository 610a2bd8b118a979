"""Cached frames: how the stage `frames` names the still pictures that it keeps of a clip, and what later passes take
in place of decoding. All pure.
"""

from collections.abc import Iterable

from shardpipe.core.frames import FrameRequest, Spread, Uniform

TIMES_S, ASKED, WIDTH, HEIGHT = "frames_times_s", "frames_asked", "frames_width", "frames_height"
"""Columns beside the stills: when each is shown, how many were asked for (at the middle of as many equal parts of the
clip; a shorter clip has fewer), and their size as displayed."""

MAX_STILLS = 64


def still_name(index: int) -> str:
    """What the stage calls still number `index`, from 0."""
    return f"frames_{index:02d}"


def still_ext(index: int) -> str:
    """The extension of its member, `KEY.f00.webp`: readers of WebDataset split keys at the first dot and decode by the last."""
    return f"f{index:02d}.webp"


def num_stills(extensions: Iterable[str]) -> int:
    """How many stills, from the first on, a Dataset with these members has."""
    there = set(extensions)
    return next((i for i in range(MAX_STILLS) if still_ext(i) not in there), MAX_STILLS)


def may_serve(num: int, request: FrameRequest) -> bool:
    """Whether `num` stills of a clip could be what is requested, if they are large enough and near enough in time."""
    if num == 0 or request.pixels == "mv" or not isinstance(request.sampling, Spread):
        return False
    return request.tolerance_s > 0 or is_part(num, request)


def is_part(num: int, request: FrameRequest) -> bool:
    """Whether the wanted times are among those of `num` stills: the middles of an odd part of as many parts."""
    sampling = request.sampling
    return isinstance(sampling, Uniform) and num % sampling.n == 0 and num // sampling.n % 2 == 1

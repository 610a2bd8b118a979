"""Cached frames: how the stage `frames` names the still pictures that it keeps of a clip, and what later passes take
in place of decoding. All pure.
"""

from collections.abc import Iterable

from shardpipe.core.frames import Fractions, FrameRequest, Numbers, Pairs, Rate, Sampling, Spread, Uniform

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


def odd_parts(num: int) -> list[int]:
    """How many frames at the middle of equal parts are among `num` such: 9, 3 and 1 of 9."""
    return [part for part in range(num, 0, -1) if is_part(num, FrameRequest(Uniform(part)))]


def in_words(request: FrameRequest) -> str:
    """A request, for a message: `4 frames at the middle of equal parts (short_side 224, tolerance_s 0)`."""
    sides = [f"{name} {side}" for name in ("short_side", "long_side") if (side := getattr(request, name))]
    if request.pixels == "mv":
        return f"motion vectors of {_times(request.sampling)}"
    return f"{_times(request.sampling)} ({', '.join([*sides, f'tolerance_s {request.tolerance_s:g}'])})"


def _times(sampling: Sampling) -> str:
    match sampling:
        case Uniform(n):
            return f"{n} {'frame' if n == 1 else 'frames'} at the middle of equal parts"
        case Fractions(at):
            return f"frames at {', '.join(f'{each:g}' for each in at)} of the clip"
        case Rate(per_s):
            return f"{per_s:g} frames a second"
        case Pairs(per_s, gap_s):
            return f"{per_s:g} pairs a second of frames {gap_s:g} s apart"
        case Numbers(at):
            return f"frames number {', '.join(map(str, at[:8]))}{' ...' if len(at) > 8 else ''}"  # noqa: PLR2004  a line

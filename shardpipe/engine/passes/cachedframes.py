"""Which stages of a pass take cached frames, and which must decode: told before anything runs. All pure."""

from collections.abc import Iterator

from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import FrameRequest, Spread, Uniform
from shardpipe.core.stage import Stage
from shardpipe.core.stills import in_words, may_serve, odd_parts


def takes_stills(stage: Stage, num_stills: int) -> bool:
    """Whether what it gives may depend on cached frames: its own requests, or those of the steps that it shares."""
    return any(may_serve(num_stills, request) for request in stage_requests(stage))


def must_decode(stage: Stage, num_stills: int) -> bool:
    """Whether so many cached frames can never be all that it wants."""
    return not all(may_serve(num_stills, request) for request in stage_requests(stage))


def stage_requests(stage: Stage) -> Iterator[FrameRequest]:
    """The frames that it wants, itself or of the steps that it shares."""
    for each in (stage, *stage.shares):
        yield from each.frame_requests


def check_never_decodes(where: str, stage: Stage, num_stills: int) -> None:
    """Raise ConfigError for a stage that would have to decode, of a pass with `frames_from: members_only`."""
    for request in stage_requests(stage):
        if may_serve(num_stills, request):
            continue
        wants = f"{where} wants {in_words(request)}, and frames_from is members_only"
        if not num_stills:
            raise ConfigError(
                f"{wants}, but the input of its pass has no cached frames: put a stage `frames` into a pass before, and take "
                "that as `from`; or let it decode with `frames_from: members`"
            )
        raise ConfigError(
            f"{wants}, but the {num_stills} cached frames of its input can never be these: {_ways_out(stage, request, num_stills)}"
        )


def _ways_out(stage: Stage, request: FrameRequest, num_stills: int) -> str:
    fields = type(stage).model_fields
    ways = []
    if isinstance(request.sampling, Spread) and "tolerance_s" in fields:
        ways.append("set its tolerance_s above 0")
    if isinstance(request.sampling, Uniform) and request.pixels != "mv":
        if "num_frames" in fields:
            parts = " or ".join(map(str, odd_parts(num_stills)))
            ways.append(f"set its num_frames to {parts} (an odd part of {num_stills})")
        ways.append(f"keep {request.sampling.n} frames, or an odd multiple of that")
    ways.append("move it to a pass before those frames are kept")
    return f"{', '.join(ways)}, or let it decode with `frames_from: members`"

"""What a model is told of the frames of a video: when each is shown."""

from typing import Any

from shardpipe.models.generate.request import GenerateError, Request

TICKS_PER_S = 1000
"""The frames of a video are numbered in milliseconds, so that frames at any times have whole numbers."""


def video_metadata(request: Request) -> dict[str, Any]:
    """The metadata of its frames as one video, by the names that transformers and vLLM share.

    `frames_indices` / `fps` is the time of each frame, and T / `total_num_frames` * `fps` how many of them a second has, which
    is all that processors compute from these. Raises GenerateError where the times are not known.
    """
    if request.frames is None or request.times_s is None or len(request.times_s) != len(request.frames):
        raise GenerateError("frames are given as a video, without a time for each")
    indices = [round(float(time_s) * TICKS_PER_S) for time_s in request.times_s]
    total = max(round((request.duration_s or 0.0) * TICKS_PER_S), indices[-1] + 1)
    return {
        "fps": float(TICKS_PER_S),
        "frames_indices": indices,
        "total_num_frames": total,
        "duration": total / TICKS_PER_S,
    }

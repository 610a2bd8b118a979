"""Prove a written clip by its own sample tables, and say what it is."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.cutting import CutClip, CutMethod, Span
from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.encode import Recoder
from shardpipe.media.mp4box import Track, video_track
from shardpipe.media.smartcut import Plan


def prove(path: Path, pts: NDArray[np.int64], base: Fraction, duration: int, *, hides: bool = False) -> Track:
    """The video track of a written mp4, which must show frames at just `pts` (ticks of `base` after its start), begin
    with a keyframe and last `duration` ticks. `hides`: it stores more frames than its edit list shows.

    Removes the file and raises MediaError if it is not so.
    """
    track = video_track(path)
    ticks = base * track.timescale
    shown = track.pts
    if hides:
        shown = shown[(shown >= 0) & (shown < track.duration)]
    wrong = ""
    if ticks.denominator != 1 or not np.array_equal(shown, pts * ticks.numerator):
        wrong = f"shows {len(shown)} frames, or at other times, where {len(pts)} were wanted"
    elif not track.is_sync[0]:
        wrong = "does not begin with a keyframe"
    elif track.num_read < len(track.pts):
        wrong = f"has {len(track.pts)} frames, of which FFmpeg reads {track.num_read}"
    elif track.duration != duration * ticks.numerator:
        wrong = f"lasts {track.duration} ticks, not {duration * ticks.numerator}"
    if wrong:
        path.unlink(missing_ok=True)
        raise MediaError(f"the clip that was written {wrong}")
    return track


def is_cut_short(path: Path) -> bool:
    """Whether FFmpeg would not read all of an mp4's frames. Raises MediaError if it is not whole."""
    track = video_track(path)
    return track.num_read < len(track.pts)


def rate(num_frames: int, seconds: Fraction, facts: VideoFacts) -> float:
    """Frames a second: the source's constant rate where the length is that but for rounding to ticks (of a millisecond in
    mkv), else the average; rounded once. 25 and not 24.999999999999996, so that a rule may ask for `fps = 25`.
    """
    if not facts.is_vfr and abs(num_frames / facts.fps - seconds) <= 2 * facts.time_base:
        return float(facts.fps)
    return float(num_frames / seconds)


def kept_clip(
    path: Path, facts: VideoFacts, plan: Plan, frames: NDArray[np.int64], *, method: CutMethod, has_audio: bool
) -> CutClip:
    """The facts of a clip that keeps the source's codec. Raises MediaError if it is not right."""
    base, duration = facts.time_base, plan.end - plan.start
    track = prove(path, frames - plan.start, base, duration, hides=method == "editlist")
    width, height = facts.display_size
    return CutClip(
        file=path,
        method=method,
        span=Span(plan.start, plan.end),
        start_s=float(plan.start * base),
        end_s=float(plan.end * base),
        num_frames=len(frames),
        num_encoded=plan.num_head + plan.num_tail,
        codec=facts.codec,
        width=width,
        height=height,
        fps=rate(len(frames), duration * base, facts),
        pix_fmt=facts.pix_fmt,
        bit_depth=facts.bit_depth,
        color_transfer=facts.color_transfer,
        interlaced=facts.interlaced,
        rotation=facts.rotation,
        sar=facts.sar,
        bit_rate=round(track.num_bytes * 8 / (duration * base)),
        has_audio=has_audio,
    )


def encoded_clip(
    path: Path, facts: VideoFacts, span: Span, recoder: Recoder, frames: NDArray[np.int64], *, has_audio: bool
) -> CutClip:
    """The facts of a clip that was encoded whole, of the span's `frames`. Raises MediaError if it is not right."""
    length = (span.end - span.start) * facts.time_base
    if not recoder.resamples and not np.array_equal(recoder.pts, frames - span.start):
        path.unlink()
        raise MediaError(f"{len(recoder.pts)} frames were encoded, or at other times, where {len(frames)} were wanted")
    track = prove(path, np.array(recoder.pts, np.int64), recoder.base, round(length / recoder.base))
    width, height = recoder.size
    return CutClip(
        file=path,
        method="encode",
        span=span,
        start_s=float(span.start * facts.time_base),
        end_s=float(span.end * facts.time_base),
        num_frames=len(recoder.pts),
        num_encoded=len(recoder.pts),
        codec=recoder.codec,
        width=width,
        height=height,
        fps=float(recoder.rate) if recoder.resamples else rate(len(recoder.pts), length, facts),
        pix_fmt=recoder.pix_fmt,
        bit_depth=10 if recoder.pix_fmt.endswith("10le") else 8,
        color_transfer=facts.color_transfer,
        interlaced=False,
        rotation=0,
        sar=Fraction(1),
        bit_rate=round(track.num_bytes * 8 / length),
        has_audio=has_audio,
    )

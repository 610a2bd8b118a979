"""Cutting one part of one video: scenes, spans, clips, and a row for each.

facts ─▶ detect (frames) or boundaries (none needed) ─▶ spans ─▶ cutter ─▶ KEY.mp4 and its row
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from shardpipe.core.clip import CLIP_COLUMNS, clip_key, video_id
from shardpipe.core.cutting import CutClip, Span, WriteSpec
from shardpipe.core.detector import Detector, Transition
from shardpipe.core.errors import MediaError
from shardpipe.core.scene import (
    EPS_S,
    AnyTime,
    Edge,
    FrameGrid,
    ScenePolicy,
    SceneSpan,
    merge_transitions,
    part_edges,
    spans_between,
    window,
)
from shardpipe.core.video import VideoFacts
from shardpipe.engine.cutting.detect import Detection, Gap, Part, detect
from shardpipe.engine.cutting.marks import Marker
from shardpipe.engine.cutting.scenesettings import needs_frames
from shardpipe.media.cutter import Cutter
from shardpipe.media.decode import decode
from shardpipe.media.source import MediaInput

__all__ = ["Part", "cut_part"]

Row = dict[str, Any]
SLACK_S = 2.0
BEYOND = 0.03  # of a part's length: what lies so far beyond its nominal end is looked at in any case
DROPPED_BY = "error: cut"


@dataclass(frozen=True)
class _Source:
    inp: MediaInput
    url: str
    facts: VideoFacts
    part: Part


def cut_part(  # noqa: PLR0917  seven facts that `engine/cutting/cut.py` has in this order
    inp: MediaInput,
    url: str,
    facts: VideoFacts,
    part: Part,
    scenes: tuple[Detector, ScenePolicy],
    spec: WriteSpec,
    scratch: Path,
) -> Iterator[tuple[Row, Path | None]]:
    """A row and a file for each clip of the part, in order of time; a row without a file for what cannot be cut.

    Rows have all CLIP_COLUMNS, `kept`, `dropped_by` and `error`. The caller owns (and removes) each file before it
    asks for the next. A part without scenes gives nothing. Raises MediaError where the video cannot be opened.
    """
    source = _Source(inp, url, facts, part)
    detector, policy = scenes
    if needs_frames(detector, policy):
        yield from _cut_detected(source, detector, policy, spec, scratch)
    else:
        yield from _cut_nominal(source, detector, policy, spec, scratch)


def _cut_detected(
    source: _Source, detector: Detector, policy: ScenePolicy, spec: WriteSpec, scratch: Path
) -> Iterator[tuple[Row, Path | None]]:
    part, facts = source.part, source.facts
    whole = _decoded_window(part, policy, facts)
    near = _near_window(whole, part, facts)
    with Cutter(source.inp, facts, spec, scratch, window_s=near) as cutter:
        found = detect(source.inp, facts, part, detector=detector, policy=policy, watcher=cutter)
        if not found.pts:
            for gap in found.gaps[:1]:
                yield _error_row(source, _part_key(source), gap.message), None
            return
        times_s = np.array(found.pts, np.float64) * float(facts.time_base)
        grid = FrameGrid(times_s, found.end_s)
        transitions = _with_boundaries(found, detector, policy, grid, facts)
        edges = part_edges(
            policy,
            transitions,
            start_s=float(times_s[0]),
            end_s=found.end_s,
            grid=grid,
            start_edge_s=part.start_edge_s,
            end_edge_s=part.end_edge_s,
        )
        if edges is None:
            return
        spans = spans_between(policy, transitions, edges, grid)
        last_s = max((span.end_s for span in spans), default=0.0)
        if whole is not None and near is not None and last_s > near[1]:
            cutter.widen((whole[0], min(whole[1], last_s + 1.0 / max(1.0, float(facts.fps)))))
        yield from _in_order(source, cutter, spans, _own_gaps(found.gaps, edges, part), min_s=policy.min_s)


def _with_boundaries(
    found: Detection, detector: Detector, policy: ScenePolicy, grid: FrameGrid, facts: VideoFacts
) -> list[Transition]:
    """The transitions found, and the cuts of a detector that needs no frames (but whose gradual ones were looked for)."""
    if detector.size is not None:
        return found.transitions
    first, last = window(policy, start_s=facts.start_s, end_s=facts.end_s, grid=AnyTime())
    cuts = (grid.floor(each) for each in detector.boundaries(first, last))
    return merge_transitions((Transition(each, each) for each in cuts), found.transitions)


def _decoded_window(part: Part, policy: ScenePolicy, facts: VideoFacts) -> tuple[float, float] | None:
    """What of the video the cutter must know: from the part's nominal start to the latest time it may end."""
    starts = [edge for edge in (part.start_edge_s, policy.start_s) if edge is not None]
    ends = [facts.end_s + SLACK_S]
    if policy.end_s is not None:
        ends.append(policy.end_s + SLACK_S)
    if part.end_edge_s is not None and policy.reach_s is not None:
        ends.append(part.end_edge_s + policy.reach_s + SLACK_S)
    if not starts and len(ends) == 1:
        return None
    return max(starts, default=facts.start_s), min(ends)


def _near_window(whole: tuple[float, float] | None, part: Part, facts: VideoFacts) -> tuple[float, float] | None:
    """So much of the window as the cutter is to know at first: most parts end soon after their nominal end."""
    if whole is None or part.end_edge_s is None:
        return whole
    length_s = part.end_edge_s - (part.start_edge_s or facts.start_s)
    return whole[0], min(whole[1], part.end_edge_s + SLACK_S + BEYOND * length_s)


def _own_gaps(gaps: Sequence[Gap], edges: tuple[Edge, Edge], part: Part) -> list[Gap]:
    """The gaps that this part tells of: each is told by one part."""
    first = -math.inf if part.start_edge_s is None else edges[0].after_s
    last = math.inf if part.end_edge_s is None else edges[1].after_s
    return [gap for gap in gaps if first - EPS_S <= gap.start_s < last - EPS_S]


def _in_order(
    source: _Source, cutter: Cutter, spans: Sequence[SceneSpan], gaps: Sequence[Gap], *, min_s: float
) -> Iterator[tuple[Row, Path | None]]:
    found: list[SceneSpan | Gap] = [*spans, *gaps]
    for each in sorted(found, key=lambda one: one.start_s):
        if isinstance(each, SceneSpan):
            yield _cut(source, cutter, each, min_s=min_s)
        else:
            yield _gap_row(source, each), None


def _cut_nominal(
    source: _Source, detector: Detector, policy: ScenePolicy, spec: WriteSpec, scratch: Path
) -> Iterator[tuple[Row, Path | None]]:
    facts = source.facts
    first, last = window(policy, start_s=facts.start_s, end_s=facts.end_s, grid=AnyTime())
    spans = _nominal_spans(source, detector, policy, (first, last))
    if not spans:
        return
    around = (spans[0].start_s - SLACK_S, max(span.end_s for span in spans) + SLACK_S)
    whole = around[0] <= facts.start_s and around[1] >= facts.end_s
    with Cutter(source.inp, facts, spec, scratch, window_s=None if whole else around) as cutter:
        times_s = cutter.frame_pts.astype(np.float64) * float(facts.time_base)
        if not len(times_s):
            raise MediaError("the video has no frames where its header says that they are")
        grid = FrameGrid(times_s, facts.end_s if around[1] >= facts.end_s else float(times_s[-1]))
        snapped = [_snap(span, grid, first, trim_s=policy.trim_s) for span in spans]
        snapped = [span for span in snapped if span.end_s > span.start_s]
        if spec.method == "encode":
            _show(source, cutter, snapped, policy)
        for span in snapped:
            yield _cut(source, cutter, span, min_s=policy.min_s)


def _nominal_spans(
    source: _Source, detector: Detector, policy: ScenePolicy, whole: tuple[float, float]
) -> list[SceneSpan]:
    """The part's spans before they are set on frames: those of the whole video that start between its edges."""
    first, last = whole
    if last <= first:
        return []
    transitions = [Transition(each, each) for each in detector.boundaries(first, last)]
    edges = Edge(first, first), Edge(last, last)
    if policy.max_s is not None and not source.facts.is_vfr:
        starts = [first, *(each.end_s for each in transitions), last]
        if any(b - a > policy.max_s + EPS_S for a, b in pairwise(starts)):
            policy = policy.model_copy(update={"max_s": _whole_frames(policy.max_s, float(source.facts.fps))})
    begin = -math.inf if source.part.start_edge_s is None else source.part.start_edge_s
    end = math.inf if source.part.end_edge_s is None else source.part.end_edge_s
    spans = spans_between(policy, transitions, edges, AnyTime())
    return [span for span in spans if begin - EPS_S <= span.start_s < end - EPS_S]


def _whole_frames(max_s: float, fps: float) -> float:
    """The longest time up to max_s that is a whole number of frames, so that no window is a frame too long."""
    num_frames = math.floor(max_s * fps + EPS_S)
    return num_frames / fps if num_frames >= 1 else max_s


def _snap(span: SceneSpan, grid: FrameGrid, first_s: float, *, trim_s: float) -> SceneSpan:
    """A span from the frame on screen at its start to that at its end; none from before the video's window, or from
    what is trimmed of its scene.
    """
    least_s = max(first_s, span.scene_s + trim_s if trim_s else first_s)
    start_s = grid.ceil(span.start_s) if span.start_s <= least_s + EPS_S else grid.floor(span.start_s)
    return SceneSpan(span.scene_s, start_s, grid.floor(span.end_s))


def _show(source: _Source, cutter: Cutter, spans: Sequence[SceneSpan], policy: ScenePolicy) -> None:
    """Let the cutter see every frame once, in order, where it will encode them all anyway."""
    base = source.facts.time_base
    bounds = iter(sorted({span.start_s for span in spans} | {span.end_s for span in spans}))
    marker = Marker(cutter, policy.model_copy(update={"max_s": None, "trim_s": 0.0}))
    bound = next(bounds, None)
    try:
        for frame in decode(source.inp, start_s=spans[0].start_s, end_s=spans[-1].end_s):
            pts = frame.pts or 0
            time_s = float(pts * base)
            marker.see(frame, pts, time_s)
            while bound is not None and time_s >= bound - EPS_S:
                marker.cut(pts, time_s)
                bound = next(bounds, None)
    except MediaError:
        return  # `cut` meets the same frames, and says so in the rows of the spans that hold them


def _cut(source: _Source, cutter: Cutter, span: SceneSpan, *, min_s: float) -> tuple[Row, Path | None]:
    """Cut one span: its row and its file, or the row of its error. No clip is trimmed to less than `min_s`."""
    base = source.facts.time_base
    ticks = Span(round(span.start_s / base), round(span.end_s / base))
    own = video_id(source.url)
    try:
        spare = max(0.0, span.end_s - span.start_s - min_s)
        clip = cutter.cut(ticks, clip_key(own, span.start_s), max_trim_s=spare)
    except MediaError as error:
        row = _error_row(source, clip_key(own, span.start_s), str(error))
        return {**row, "scene": round(span.scene_s * 1000), **_times(span.start_s, span.end_s)}, None
    return _clip_row(source, clip, span), clip.file


def _clip_row(source: _Source, clip: CutClip, span: SceneSpan) -> Row:
    own = video_id(source.url)
    key = clip_key(own, clip.start_s)
    data = clip.file.read_bytes()
    row: Row = {
        "key": key,
        "path": f"{key}.mp4",
        "source": source.url,
        "video_id": own,
        "scene": round(span.scene_s * 1000),
        **_times(clip.start_s, clip.end_s),
        "num_frames": clip.num_frames,
        "width": clip.width,
        "height": clip.height,
        "aspect_ratio": clip.height / clip.width,
        "resolution": clip.height * clip.width,
        "fps": clip.fps,
        "codec": clip.codec,
        "num_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "has_audio": clip.has_audio,
        "cut_method": clip.method,
        "num_encoded": clip.num_encoded,
        "pix_fmt": clip.pix_fmt,
        "bit_depth": clip.bit_depth,
        "color_transfer": clip.color_transfer,
        "interlaced": clip.interlaced,
        "rotation": clip.rotation,
        "sar": f"{clip.sar.numerator}:{clip.sar.denominator}",
        "bit_rate": clip.bit_rate,
    }
    return {**row, "kept": True, "dropped_by": None, "error": None}


def _times(start_s: float, end_s: float) -> Row:
    return {"start_s": start_s, "end_s": end_s, "duration_s": end_s - start_s}


def _part_key(source: _Source) -> str:
    own = video_id(source.url)
    return f"{own}_p{source.part.index}" if source.part.index else own


def _gap_row(source: _Source, gap: Gap) -> Row:
    row = _error_row(source, clip_key(video_id(source.url), gap.start_s), gap.message)
    return {**row, **_times(gap.start_s, gap.end_s)}


def _error_row(source: _Source, key: str, message: str) -> Row:
    known = {"key": key, "source": source.url, "video_id": video_id(source.url)}
    return {**dict.fromkeys(CLIP_COLUMNS), **known, "kept": False, "dropped_by": DROPPED_BY, "error": message}

"""The detection decode: one pass over a video's frames that finds its transitions and shows each frame to the cutter.

It begins a lead-in before the first transition that it needs, and ends when the unit's end is certain:

      lead-in      │ start edge                           end edge │
    ──────────────▶│ ...frames, transitions...                     │ ─▶ first transition after it, or max_s
                   └ not settled yet? once more, from twice as far back
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from av.video.frame import VideoFrame

from shardpipe.core.detector import Detector, DetectorRun, Transition
from shardpipe.core.errors import MediaError
from shardpipe.core.scene import EPS_S, ScenePolicy, merge_transitions
from shardpipe.core.video import VideoFacts
from shardpipe.engine.cutting.marks import Marker, Watcher
from shardpipe.engine.cutting.scenesettings import looks_for_gradual
from shardpipe.media.decode import SmallBgr, decode
from shardpipe.media.source import MediaInput
from shardpipe.scenes.gradual import LEAD_IN_S, SIZE, Gradual, GradualRun

MAX_ERRORS = 50
"""After so many places that cannot be decoded the rest of a part is given up."""


@dataclass(frozen=True)
class Part:
    """A unit's part of one video. Nominal edges, seconds on the source's own clock; None: the video's own ends."""

    index: int = 0
    start_edge_s: float | None = None
    end_edge_s: float | None = None


@dataclass(frozen=True)
class Gap:
    """Frames that cannot be decoded, [start_s, end_s): in no clip, but in a row that says why."""

    start_s: float
    end_s: float
    message: str


@dataclass
class Detection:
    """What one decode found. pts: int64, ticks, of all good frames; end_s: when the last of them ends.

    transitions: hard and gradual, gaps too, merged, in order of time.
    """

    pts: list[int] = field(default_factory=list)
    end_s: float = 0.0
    transitions: list[Transition] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


def detect(
    inp: MediaInput,
    facts: VideoFacts,
    part: Part,
    *,
    detector: Detector,
    policy: ScenePolicy,
    watcher: Watcher | None = None,
) -> Detection:
    """All transitions that the part's spans depend on, and the frames' times. What cannot be decoded is in `gaps`."""
    edges = [edge for edge in (part.start_edge_s, policy.start_s) if edge is not None and edge > facts.start_s]
    need_s = max(edges, default=None)
    lead_s = max(detector.lead_in_s, LEAD_IN_S if looks_for_gradual(detector, policy) else 0.0)
    while True:
        begin_s = None if need_s is None or need_s - lead_s <= facts.start_s else need_s - lead_s
        run = _Detecting(facts, part, detector, policy, watcher, need_s=None if begin_s is None else need_s)
        if run.over(inp, begin_s):
            return run.result()
        lead_s *= 2


class _Detecting:
    """One try at it. need_s: the time by which the detectors must be settled, and from which the cutter watches."""

    def __init__(
        self,
        facts: VideoFacts,
        part: Part,
        detector: Detector,
        policy: ScenePolicy,
        watcher: Watcher | None,
        *,
        need_s: float | None,
    ) -> None:
        self._facts, self._part, self._detector, self._policy = facts, part, detector, policy
        self._base = float(facts.time_base)
        self._need_s = need_s
        forced_s = None if part.end_edge_s is None or policy.reach_s is None else part.end_edge_s + policy.reach_s
        self._marker = Marker(watcher, policy, ends_s=(policy.end_s, forced_s)) if watcher is not None else None
        self._found = Detection()
        self._cuts: list[Transition] = []
        self._gradual: list[Transition] = []
        self._size: tuple[int, int] | None = None
        self._duration = 1.0 / max(1.0, float(facts.fps))
        self._start_runs()

    def _start_runs(self) -> None:
        detector, fps = self._detector, float(self._facts.fps)
        self._run: DetectorRun | None = detector.start(fps) if detector.size is not None else None
        self._finder: GradualRun | None = None
        if looks_for_gradual(detector, self._policy):
            self._finder = Gradual().start(fps)
        wants = detector.size or (SIZE if self._finder else None)
        self._small = SmallBgr(*wants) if wants is not None else None

    def over(self, inp: MediaInput, begin_s: float | None) -> bool:
        """Decode; False if the detectors were not settled in time."""
        errors = 0
        ended = False
        while not ended:
            try:
                for frame in decode(inp, start_s=begin_s):
                    answer = self._frame(frame)
                    if answer is not None:
                        return answer
                ended = True
            except MediaError as error:
                errors += 1
                begin_s = self._after_error(inp, begin_s, str(error), give_up=errors >= MAX_ERRORS)
                ended = begin_s is None
        self._finish_runs()
        self._missing_end()
        return True

    def _frame(self, frame: VideoFrame) -> bool | None:
        """See a frame; True when all is known, False when the lead-in was too short, None to go on."""
        found, pts = self._found, frame.pts or 0
        time_s = pts * self._base
        if self._need_s is not None and time_s >= self._need_s - EPS_S:
            self._need_s = None
            if not self._settled():
                return False
        if frame.is_corrupt:
            self._corrupt(time_s, frame)
            return None
        self._duration = frame.duration * self._base if frame.duration else self._duration
        found.pts.append(pts)
        found.end_s = time_s + self._duration
        if self._marker is not None and self._need_s is None:
            self._marker.see(frame, pts, time_s)
        size = (frame.width, frame.height)
        if self._size is not None and size != self._size:
            self._add_cuts([Transition(time_s, time_s)])
        self._size = size
        self._process(frame, time_s)
        return True if self._is_over(time_s) else None

    def _process(self, frame: VideoFrame, time_s: float) -> None:
        if self._small is None:
            return
        small = self._small(frame)
        if self._run is not None:
            cuts = self._run.process(time_s, small)
            if cuts:
                self._add_cuts(cuts)
        if self._finder is not None:
            self._gradual += self._finder.process(time_s, small)

    def _add_cuts(self, cuts: Sequence[Transition]) -> None:
        if self._policy.transitions is False:
            cuts = [Transition(each.end_s, each.end_s) for each in cuts]
        self._cuts += cuts
        if self._marker is not None and self._need_s is None:
            for each in cuts:
                self._marker.cut(round(each.end_s / self._base), each.end_s)

    def _settled(self) -> bool:
        runs: tuple[DetectorRun | None, ...] = (self._run, self._finder)
        return all(run is None or run.settled for run in runs)

    def _is_over(self, now_s: float) -> bool:
        """Whether nothing that is still unknown can matter to this part."""
        edge_s, end_s = self._part.end_edge_s, self._policy.end_s
        if (edge_s is None or now_s < edge_s) and (end_s is None or now_s < end_s):
            return False
        runs: tuple[DetectorRun | None, ...] = (self._run, self._finder)
        certain_s = min((run.certain_until(now_s) for run in runs if run is not None), default=now_s)
        if end_s is not None and certain_s > end_s + EPS_S:
            return True
        if edge_s is None or certain_s <= edge_s:
            return False
        if self._policy.reach_s is not None and certain_s > edge_s + self._policy.reach_s + EPS_S:
            return True
        ends = (each.end_s for each in merge_transitions(self._cuts[-50:], self._gradual[-50:]))
        return any(edge_s - EPS_S <= end < certain_s for end in ends)

    def _finish_runs(self) -> None:
        if self._run is not None and self._found.pts:
            self._add_cuts(self._run.finish())
        if self._finder is not None:
            self._gradual += self._finder.finish()

    def _corrupt(self, time_s: float, frame: VideoFrame) -> None:
        until_s = time_s + (frame.duration * self._base if frame.duration else self._duration)
        self._gap(time_s, until_s, f"the frame at {time_s:.3f} s is damaged")

    def _gap(self, start_s: float, end_s: float, message: str) -> None:
        gaps = self._found.gaps
        if gaps and start_s <= gaps[-1].end_s + 1.5 * self._duration:
            gaps[-1] = Gap(gaps[-1].start_s, max(end_s, gaps[-1].end_s), gaps[-1].message)
        else:
            gaps.append(Gap(start_s, end_s, message))

    def _after_error(self, inp: MediaInput, begin_s: float | None, message: str, *, give_up: bool) -> float | None:
        """Note the gap, and find where decoding goes on; None if nowhere."""
        good_s = self._found.end_s if self._found.pts else (begin_s if begin_s is not None else self._facts.start_s)
        on_s = None if give_up else _next_good(inp, max(good_s, begin_s or good_s), self._facts.end_s)
        end_s = on_s if on_s is not None else max(self._facts.end_s, good_s + self._duration)
        self._gap(good_s, end_s, message)
        self._finish_runs()
        self._start_runs()
        return on_s

    def _missing_end(self) -> None:
        """A file that ends before its header says (a broken download) decodes without an error."""
        found, facts = self._found, self._facts
        missing_s = facts.end_s - found.end_s
        if found.pts and missing_s > max(0.5, 3 * self._duration):
            self._gap(found.end_s, facts.end_s, f"the file ends {missing_s:.3f} s before its header says")

    def result(self) -> Detection:
        """All that was found."""
        gaps = [Transition(gap.start_s, gap.end_s) for gap in self._found.gaps]
        self._found.transitions = merge_transitions(self._cuts, [*self._gradual, *gaps])
        return self._found


def _next_good(inp: MediaInput, after_s: float, end_s: float) -> float | None:
    """The time of a frame after `after_s` from which decoding works again; None if there is none before the end."""
    step_s = 0.5
    while after_s + step_s < end_s:
        frames = decode(inp, start_s=after_s + step_s)
        try:
            frame = next(frames, None)
            if frame is not None and frame.pts is not None and frame.time_base is not None:
                return float(frame.pts * frame.time_base)
        except MediaError:
            pass
        step_s *= 2
    return None

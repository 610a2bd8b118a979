"""From transitions to spans: which part of each scene becomes a clip, and where a unit of a long video ends. All pure.

    transitions      │      ▒▒▒        │                 │        hard cuts and gradual ones, in order of time
    scenes     ──────┼──────   ────────┼─────────────────┼──────  what lies between them
    spans      ───── ┼─────    ─────── ┼ ─────── ─────── ┼        trimmed, split, dropped as the policy says

A unit whose nominal edge is E ends at the first transition at or after E, or, where none starts within `max_s` of E,
at E + max_s (plus what is trimmed of a scene). The next unit finds the same point from the same frames. So where cuts lie closer than `max_s`, any unit
size gives the same spans; with `long` truncate or drop it does in any case.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shardpipe.core.detector import Transition

EPS_S = 1e-6


class ScenePolicy(BaseModel):
    """`cut.scenes`: which scenes become clips. Times are seconds on the source's own clock."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_s: float = Field(default=1.0, ge=0, description="shorter scenes, and shorter rests of split ones, are dropped")
    max_s: float | None = Field(default=20.0, gt=0, description="longer scenes are `long`; null: no scene is")
    long: Literal["split", "truncate", "drop"] = Field(
        default="split", description="a long scene: windows of max_s one after the other, the first max_s, or nothing"
    )
    trim_s: float = Field(default=0.0, ge=0, description="taken off both ends of each scene")
    start_s: float | None = Field(default=None, description="only what lies from here on")
    end_s: float | None = Field(default=None, description="only what ends by then")
    transitions: bool | None = Field(
        default=None,
        description="leave fades and dissolves out of clips; null: yes where the detector sees frames anyway",
    )

    @property
    def reach_s(self) -> float | None:
        """How far after a unit's nominal edge it looks for a transition to end at: what lasts longer is long."""
        return None if self.max_s is None else self.max_s + 2 * self.trim_s

    @model_validator(mode="after")
    def _possible(self) -> "ScenePolicy":
        if self.max_s is not None and self.min_s > self.max_s:
            raise ValueError(f"min_s {self.min_s} is above max_s {self.max_s}: no scene would be left")
        if self.start_s is not None and self.end_s is not None and self.start_s >= self.end_s:
            raise ValueError(f"start_s {self.start_s} is not before end_s {self.end_s}: nothing would be left")
        return self


class Grid(Protocol):
    """The times at which frames start."""

    def floor(self, time_s: float) -> float:
        """When the frame on screen at `time_s` started; the first frame's time before that, the end from there on."""

    def ceil(self, time_s: float) -> float:
        """When the first frame at or after `time_s` starts; the end where there is none."""


class FrameGrid:
    """The grid of real frames. times_s: float64 [N], rising, N >= 1; end_s: when the last of them ends."""

    def __init__(self, times_s: NDArray[np.float64], end_s: float) -> None:
        self._times = np.append(times_s, max(end_s, float(times_s[-1])))

    def floor(self, time_s: float) -> float:
        """See Grid."""
        return float(self._times[max(0, int(np.searchsorted(self._times, time_s + EPS_S, side="right")) - 1)])

    def ceil(self, time_s: float) -> float:
        """See Grid."""
        index = int(np.searchsorted(self._times, time_s - EPS_S, side="left"))
        return float(self._times[min(index, len(self._times) - 1)])


class AnyTime:
    """The grid of a video whose frames were not looked at: every time is as good."""

    def floor(self, time_s: float) -> float:
        """The time itself."""
        return time_s

    def ceil(self, time_s: float) -> float:
        """The time itself."""
        return time_s


@dataclass(frozen=True)
class Edge:
    """Where one unit ends and the next begins: the scene before ends at `before_s`, the one after starts at
    `after_s`. `forced`: there was no transition, and it is one scene.
    """

    before_s: float
    after_s: float
    forced: bool = False


@dataclass(frozen=True)
class Scene:
    """What lies between two transitions; `goes_on_before` and `goes_on_after`: another unit has more of it there."""

    start_s: float
    end_s: float
    goes_on_before: bool = False
    goes_on_after: bool = False


@dataclass(frozen=True, order=True)
class SceneSpan:
    """One clip to be cut, [start_s, end_s), out of the scene that starts at `scene_s`."""

    scene_s: float
    start_s: float
    end_s: float


def merge_transitions(cuts: Iterable[Transition], gradual: Iterable[Transition]) -> list[Transition]:
    """All transitions in order of time: those that overlap or touch as one, a cut inside a gradual one left out."""
    merged: list[Transition] = []
    for each in sorted([*cuts, *gradual]):
        if merged and each.start_s <= merged[-1].end_s + EPS_S and (each.is_gradual or merged[-1].is_gradual):
            merged[-1] = Transition(merged[-1].start_s, max(merged[-1].end_s, each.end_s))
        elif not merged or each.start_s > merged[-1].end_s + EPS_S:
            merged.append(each)
    return merged


def unit_edge(
    transitions: Sequence[Transition], edge_s: float, *, reach_s: float | None, end_s: float, grid: Grid
) -> Edge:
    """The point between two units with the nominal edge `edge_s`, of a video (or window of it) that ends at `end_s`.

    It is certain once all transitions are known that start by edge_s + reach_s.
    """
    for each in transitions:
        if each.end_s < edge_s - EPS_S:
            continue
        if reach_s is not None and each.start_s > edge_s + reach_s + EPS_S:
            break
        return Edge(min(each.start_s, end_s), min(each.end_s, end_s))
    if reach_s is None:
        return Edge(end_s, end_s)
    forced = grid.floor(edge_s + reach_s)
    if forced < edge_s - EPS_S:  # one frame is longer than that
        forced = grid.ceil(edge_s)
    return Edge(end_s, end_s) if forced >= end_s - EPS_S else Edge(forced, forced, forced=True)


def part_edges(  # one argument a fact; all that the spans of a unit depend on
    policy: ScenePolicy,
    transitions: Sequence[Transition],
    *,
    start_s: float,
    end_s: float,
    grid: Grid,
    start_edge_s: float | None = None,
    end_edge_s: float | None = None,
) -> tuple[Edge, Edge] | None:
    """Where a unit begins and ends, of a video whose frames lie in [start_s, end_s); None if nothing is its own.

    start_edge_s, end_edge_s: the unit's nominal edges, None at the video's own ends. transitions: merged, in order of
    time; at least those between where this unit starts and `unit_edge` of its end.
    """
    first, last = window(policy, start_s=start_s, end_s=end_s, grid=grid)
    begin, end = Edge(first, first), Edge(last, last)
    if end_edge_s is not None and end_edge_s < last - EPS_S:
        if end_edge_s <= first + EPS_S:
            return None
        end = unit_edge(transitions, end_edge_s, reach_s=policy.reach_s, end_s=last, grid=grid)
    if start_edge_s is not None and start_edge_s > first + EPS_S:
        if start_edge_s >= last - EPS_S:
            return None
        begin = unit_edge(transitions, start_edge_s, reach_s=policy.reach_s, end_s=last, grid=grid)
    return begin, end


def spans_between(
    policy: ScenePolicy, transitions: Sequence[Transition], edges: tuple[Edge, Edge], grid: Grid
) -> list[SceneSpan]:
    """The spans of all scenes between two edges, in order of time."""
    return [span for scene in scenes(transitions, *edges) for span in scene_spans(policy, scene, grid)]


def window(policy: ScenePolicy, *, start_s: float, end_s: float, grid: Grid) -> tuple[float, float]:
    """The part of [start_s, end_s) that the policy's start_s and end_s leave, on frames; start >= end: nothing."""
    first = start_s if policy.start_s is None else max(start_s, grid.ceil(policy.start_s))
    last = end_s if policy.end_s is None else min(end_s, grid.floor(policy.end_s))
    return first, last


def scenes(transitions: Iterable[Transition], begin: Edge, end: Edge) -> Iterator[Scene]:
    """The scenes between two edges, in order of time; none is empty."""
    start_s, goes_on = begin.after_s, begin.forced
    for each in transitions:
        if each.end_s <= start_s + EPS_S:
            continue
        if each.start_s >= end.before_s - EPS_S:
            break
        if each.start_s > start_s + EPS_S:
            yield Scene(start_s, each.start_s, goes_on_before=goes_on)
        start_s, goes_on = each.end_s, False
    if end.before_s > start_s + EPS_S:
        yield Scene(start_s, end.before_s, goes_on_before=goes_on, goes_on_after=end.forced)


def scene_spans(policy: ScenePolicy, scene: Scene, grid: Grid) -> Iterator[SceneSpan]:
    """The spans of one scene: trimmed at its real ends, then split, truncated or dropped where it is too long."""
    start_s = scene.start_s if scene.goes_on_before else grid.ceil(scene.start_s + policy.trim_s)
    end_s = scene.end_s if scene.goes_on_after else grid.floor(scene.end_s - policy.trim_s)
    length_s = scene.end_s - scene.start_s
    is_long = policy.reach_s is not None and length_s > policy.reach_s + EPS_S
    if (is_long or scene.goes_on_before or scene.goes_on_after) and policy.long != "split":
        if policy.long == "drop" or scene.goes_on_before or policy.max_s is None:
            return
        end_s = min(end_s, grid.floor(scene.start_s + policy.trim_s + policy.max_s))
    while end_s - start_s > EPS_S:
        until_s = end_s
        if policy.max_s is not None and end_s - start_s > policy.max_s + EPS_S:
            until_s = min(end_s, window_end(start_s, policy.max_s, grid))
        if until_s - start_s >= policy.min_s - EPS_S:
            yield SceneSpan(scene.start_s, start_s, until_s)
        if policy.long != "split":
            return
        start_s = until_s


def window_end(start_s: float, max_s: float, grid: Grid) -> float:
    """Where a window of at most max_s that starts at `start_s` ends: the last frame's start that is no later, but at
    least one frame on.
    """
    until_s = grid.floor(start_s + max_s)
    return until_s if until_s > start_s + EPS_S else grid.ceil(start_s + 2 * EPS_S)

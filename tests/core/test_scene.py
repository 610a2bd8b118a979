"""From transitions to spans: what the policy promises, for any transitions, frame times and units."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.detector import Transition
from shardpipe.core.scene import (
    AnyTime,
    Edge,
    FrameGrid,
    Scene,
    ScenePolicy,
    SceneSpan,
    merge_transitions,
    part_edges,
    scene_spans,
    spans_between,
    unit_edge,
)

EPS = 1e-6


def spans_of(policy: Any, transitions: Any, times: Any, end: Any, *, unit: Any = None) -> Any:
    grid = FrameGrid(times, end)
    edges = [None]
    if unit:
        edges += [float(edge) for edge in np.arange(times[0] + unit, end + 25, unit)]
    edges.append(None)
    found = []
    for first, last in itertools.pairwise(edges):
        between = part_edges(
            policy, transitions, start_s=times[0], end_s=end, grid=grid, start_edge_s=first, end_edge_s=last
        )
        if between is not None:
            found.append(spans_between(policy, transitions, between, grid))
    return [span for unit_spans in found for span in unit_spans]


def frame_times(rng: Any, num: Any, vfr: Any) -> Any:
    steps = rng.uniform(0.005, 0.2, num) if vfr else np.full(num, 1001 / 30000)
    return np.round(np.cumsum(steps) * 90000) / 90000 + rng.choice([0.0, 1.4, -0.5])


@st.composite
def videos(draw: Any, max_gap_s: Any = None) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    times = frame_times(rng, draw(st.integers(2, 900)), draw(st.booleans()))
    end = float(times[-1] + 0.04)
    found, at = [], float(times[0])
    while True:
        at += rng.uniform(0.05, max_gap_s or draw(st.sampled_from([2.0, 8.0, 30.0])))
        if at >= end:
            break
        first = times[min(np.searchsorted(times, at), len(times) - 1)]
        until = times[min(np.searchsorted(times, at + rng.choice([0, 0, 0.7])), len(times) - 1)]
        found.append(Transition(float(first), float(until)))
        at = float(until)
    return times, end, merge_transitions(found, [])


policies = st.builds(
    ScenePolicy,
    min_s=st.sampled_from([0.0, 0.3, 1.0]),
    max_s=st.sampled_from([1.0, 2.5, 5.0, None]),
    long=st.sampled_from(["split", "truncate", "drop"]),
    trim_s=st.sampled_from([0.0, 0.12]),
    start_s=st.sampled_from([None, 2.0]),
    end_s=st.sampled_from([None, 9.0]),
)


@given(policies, videos(), st.sampled_from([None, 0.7, 3.0, 11.0]))
def test_spans_obey_the_policy(policy: Any, video: Any, unit: Any) -> None:
    times, end, transitions = video
    spans = spans_of(policy, transitions, times, end, unit=unit)
    starts = {float(time) for time in times}
    shortest = float(np.diff([*times, end]).max())
    for span in spans:
        assert span.scene_s <= span.start_s < span.end_s
        assert span.start_s in starts
        assert span.end_s in starts or span.end_s == end
        assert span.start_s >= (policy.start_s or -1) - EPS
        assert span.end_s <= (policy.end_s or math.inf) + EPS
        assert span.end_s - span.start_s >= policy.min_s - EPS
        if policy.max_s is not None:
            assert span.end_s - span.start_s <= max(policy.max_s, shortest) + EPS
        for each in transitions:
            assert span.end_s <= each.start_s + EPS or span.start_s >= each.end_s - EPS
    for one, two in itertools.pairwise(spans):
        assert one.end_s <= two.start_s + EPS


@given(policies, videos(max_gap_s=0.9), st.sampled_from([0.3, 1.0, 2.7, 7.0, 20.0]))
def test_any_unit_size_gives_the_same_spans_where_cuts_are_closer_than_max_s(
    policy: Any, video: Any, unit: Any
) -> None:
    times, end, transitions = video
    assert spans_of(policy, transitions, times, end, unit=unit) == spans_of(policy, transitions, times, end)


@given(policies, videos(), st.sampled_from([0.3, 1.0, 2.7, 7.0]))
def test_truncate_and_drop_never_depend_on_the_unit_size(policy: Any, video: Any, unit: Any) -> None:
    times, end, transitions = video
    policy = policy.model_copy(update={"long": "drop" if policy.long == "split" else policy.long})
    assert spans_of(policy, transitions, times, end, unit=unit) == spans_of(policy, transitions, times, end)


@given(videos(), st.lists(st.floats(0, 40), min_size=2, max_size=6))
def test_unit_edges_never_go_back(video: Any, at: Any) -> None:
    times, end, transitions = video
    grid = FrameGrid(times, end)
    edges = [unit_edge(transitions, each, reach_s=3.0, end_s=end, grid=grid) for each in sorted(at)]
    for one, two in itertools.pairwise(edges):
        assert one.before_s <= one.after_s
        assert one == two or one.after_s <= two.before_s + EPS


def test_long_scenes_are_split_truncated_or_dropped() -> None:
    scene, grid = Scene(10.0, 25.5), FrameGrid(np.arange(0, 40, 0.04), 40.0)
    spans = list(scene_spans(ScenePolicy(max_s=5.0), scene, grid))
    assert [(round(s.start_s, 2), round(s.end_s, 2)) for s in spans] == [(10, 15), (15, 20), (20, 25)]
    assert {span.scene_s for span in spans} == {10.0}
    assert [s.end_s for s in scene_spans(ScenePolicy(max_s=5.0, long="truncate"), scene, grid)] == [pytest.approx(15)]
    assert not list(scene_spans(ScenePolicy(max_s=5.0, long="drop"), scene, grid))
    rest = list(scene_spans(ScenePolicy(max_s=5.0, min_s=0.4), scene, grid))
    assert round(rest[-1].end_s - rest[-1].start_s, 2) == 0.48  # 25.5 is inside the frame from 25.48


def test_windows_at_ntsc_rates_are_never_longer_than_max_s() -> None:
    times = np.arange(3000) * 1001 / 30000
    spans = spans_of(ScenePolicy(max_s=5.0), [], times, 3000 * 1001 / 30000)
    assert len(spans) == 20
    assert max(span.end_s - span.start_s for span in spans) <= 5.0
    assert all(one.end_s == two.start_s for one, two in itertools.pairwise(spans))


def test_a_trimmed_scene_must_still_be_long_enough() -> None:
    assert list(scene_spans(ScenePolicy(trim_s=0.25), Scene(1.0, 2.75), AnyTime())) == [SceneSpan(1.0, 1.25, 2.5)]
    assert not list(scene_spans(ScenePolicy(trim_s=0.4), Scene(1.0, 2.7), AnyTime()))


def test_a_cut_inside_a_gradual_transition_is_part_of_it() -> None:
    cuts = [Transition(at, at) for at in (1.0, 4.5, 5.0, 8.0)]
    gradual = [Transition(4.0, 4.8), Transition(4.7, 5.0)]
    assert merge_transitions(cuts, gradual) == [Transition(1.0, 1.0), Transition(4.0, 5.0), Transition(8.0, 8.0)]


def test_a_unit_ends_at_the_first_transition_at_or_after_its_edge_else_max_s_on() -> None:
    grid = FrameGrid(np.arange(0, 100, 0.1), 100.0)
    transitions = [Transition(9.0, 9.0), Transition(11.5, 12.5), Transition(60.0, 60.0)]
    at = [unit_edge(transitions, edge, reach_s=20.0, end_s=100.0, grid=grid) for edge in (9.0, 9.1, 12.0, 13.0, 90.0)]
    assert at[0] == Edge(9.0, 9.0)
    assert at[1] == at[2] == Edge(11.5, 12.5)
    assert at[3] == Edge(pytest.approx(33.0), pytest.approx(33.0), forced=True)
    assert at[4] == Edge(100.0, 100.0)


@pytest.mark.parametrize(
    "fields", [{"min_s": 3, "max_s": 2}, {"start_s": 5, "end_s": 5}, {"max_s": 0}, {"min_s": float("nan")}, {"mins": 1}]
)
def test_impossible_policies_are_refused(fields: Any) -> None:
    with pytest.raises(ValidationError):
        ScenePolicy(**fields)

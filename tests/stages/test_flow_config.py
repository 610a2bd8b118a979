"""The fields of `flow`: each engine and preset takes its own, and refuses the others' in words."""

import pickle
import subprocess
import sys
from typing import Any

import pytest

from shardpipe.config.load import parse_config
from shardpipe.core.columns import float32, list_of
from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import FrameRequest, Numbers, Pairs, Rate
from shardpipe.stages.flow import Flow

URL = (
    "https://s3.eu-central-1.amazonaws.com/avg-projects/unimatch/pretrained/"
    "gmflow-scale2-regrefine6-mixdata-train320x576-4e7b215d.pth"
)
SPEEDS = {"flow_px_s": float32, "flow_px_s_p90": float32}
TIMES = {"flow_times_s": list_of(float32)}


def stage(**fields: Any) -> Flow:
    return Flow.model_validate({"type": "flow", **fields})


def test_dis_is_the_default_and_is_what_it_was() -> None:
    """Rows that were written before there was another engine are still this stage's."""
    before = {"type": "flow", "version": 1, "engine": "dis", "preset": "ultrafast", "pairs_per_s": 4.5}
    assert stage().identity == stage(engine="dis").identity == Flow().identity == before
    assert stage(preset="medium", pairs_per_s=9).identity == {**before, "preset": "medium", "pairs_per_s": 9.0}
    assert stage().frames == FrameRequest(Rate(9.0, min_frames=8), long_side=256, pixels="gray")
    assert stage().writes == SPEEDS
    assert stage().loads == ()


def test_unimatch_spreads_pairs_unless_told_otherwise() -> None:
    made = stage(engine="unimatch")
    assert (made.preset, made.pairs_per_s, made.max_pairs, made.weights) == ("spread", 2.0, 8, URL)
    assert made.frames == FrameRequest(Pairs(2.0, 0.1, 8), long_side=576)
    assert made.writes == SPEEDS | TIMES
    denser = stage(engine="unimatch", pairs_per_s=5, max_pairs=32)
    assert denser.frames == FrameRequest(Pairs(5.0, 0.1, 32), long_side=576)


@pytest.mark.parametrize(("preset", "step", "last"), [("opensora", 10, 30), ("opensora-1.3", 15, 135)])
def test_open_sora_takes_frames_by_number_and_writes_flow(preset: str, step: int, last: int) -> None:
    made = stage(engine="unimatch", preset=preset)
    assert made.frames == FrameRequest(Numbers(tuple(range(0, last + 1, step))))
    assert made.writes == SPEEDS | TIMES | {"flow": float32}
    assert (made.pairs_per_s, made.max_pairs, made.weights) == (None, None, URL)


def test_the_weights_say_whose_they_are() -> None:
    (published,) = stage(engine="unimatch").loads
    assert (published.role, published.url, published.sha256) == ("flow", URL, None)
    assert published.licence == "not specified (the code is MIT)"
    assert published.source == "https://github.com/autonomousvision/unimatch/blob/master/MODEL_ZOO.md"
    (own,) = stage(engine="unimatch", weights="own.pth").loads
    assert (own.url, own.licence) == ("own.pth", "unknown")


def test_where_the_weights_lie_is_no_part_of_the_identity() -> None:
    assert stage(engine="unimatch").identity == stage(engine="unimatch", weights="/here/w.pth").identity
    assert stage(engine="unimatch").identity == {
        "type": "flow", "version": 1, "engine": "unimatch", "preset": "spread", "pairs_per_s": 2.0, "max_pairs": 8
    }  # fmt: skip
    opensora = stage(engine="unimatch", preset="opensora")
    assert opensora.identity == {"type": "flow", "version": 1, "engine": "unimatch", "preset": "opensora"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"preset": "opensora"},
            "preset: 'opensora' is not allowed; engine dis has the presets ultrafast, fast, medium",
        ),
        (
            {"engine": "unimatch", "preset": "fast"},
            "preset: 'fast' is not allowed; engine unimatch has the presets spread, opensora, opensora-1.3",
        ),
        ({"preset": "slow"}, "preset: 'slow' is not allowed; one of 'ultrafast', 'fast', 'medium', 'spread'"),
        ({"engine": "farneback"}, "engine: 'farneback' is not allowed; one of 'dis', 'unimatch', 'raft', 'mv'"),
        ({"engine": ["dis"]}, "engine: ['dis'] is not allowed"),
        ({"engine": "unimatch", "preset": ["spread"]}, "preset: ['spread'] is not allowed"),
        ({"weights": "a.pth"}, "weights: 'a.pth' is not allowed; engine dis with preset ultrafast takes no weights"),
        ({"max_pairs": 3}, "max_pairs: 3 is not allowed; engine dis with preset ultrafast takes no max_pairs"),
        (
            {"engine": "unimatch", "preset": "opensora", "pairs_per_s": 2},
            "pairs_per_s: 2 is not allowed; engine unimatch with preset opensora takes no pairs_per_s",
        ),
        (
            {"engine": "unimatch", "preset": "opensora-1.3", "max_pairs": 2},
            "max_pairs: 2 is not allowed; engine unimatch with preset opensora-1.3 takes no max_pairs",
        ),
        ({"pairs_per_s": 2}, "pairs_per_s: 2 is not allowed; engine dis takes 4 to 30"),
        ({"pairs_per_s": 31}, "pairs_per_s: 31 is not allowed; engine dis takes 4 to 30"),
        ({"engine": "unimatch", "pairs_per_s": 9}, "pairs_per_s: 9 is not allowed; engine unimatch takes 0.1 to 5"),
        ({"engine": "unimatch", "max_pairs": 33}, "max_pairs: 33 is not allowed; must be less than or equal to 32"),
    ],
)
def test_what_an_engine_does_not_take_is_refused(fields: dict[str, Any], said: str) -> None:
    cut = {"sources": "videos", "scenes": {"type": "fixed", "every_s": 5}}
    passes = [{"name": "score", "from": "clips", "emit": "rows", "stages": [{"type": "flow", **fields}]}]
    with pytest.raises(ConfigError) as caught:
        parse_config({"root": "x", "cut": cut, "passes": passes})
    (line,) = str(caught.value).splitlines()
    assert f"passes.0.stages.0.{said}" in line


@pytest.mark.parametrize(
    "fields", [{}, {"engine": "unimatch"}, {"engine": "unimatch", "preset": "opensora", "weights": "w.pth"}]
)
def test_written_and_read_again_it_is_the_same(fields: dict[str, Any]) -> None:
    made = stage(**fields)
    assert Flow.model_validate(made.model_dump(mode="json")) == made
    assert Flow.model_validate(dict.fromkeys(("preset", "pairs_per_s", "max_pairs", "weights")) | fields) == made
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert made.model_copy(update={"on_error": "keep"}).preset == made.preset


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from shardpipe.stages.flow import Flow\n"
        "made = Flow(engine='unimatch', preset='opensora')\n"
        "print(len(made.loads), made.frames.sampling.at, sorted(made.writes), made.identity['preset'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 (0, 10, 20, 30) ['flow', ")

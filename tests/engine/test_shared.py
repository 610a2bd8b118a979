"""Steps that stages share: joined, run once a clip, on the union of their frames, and left out where nobody reads them."""

from collections.abc import Sequence
from typing import Literal

from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import Columns, float32
from shardpipe.core.frames import FrameRequest, Rate, Uniform
from shardpipe.core.shared import SharedStage
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.engine.passes.passidentity import pass_identity
from shardpipe.engine.passes.program import Program, compile_program
from shardpipe.testing import check_stage

TWO = FrameRequest(Uniform(2), short_side=16)
FAST = FrameRequest(Rate(4.0), short_side=16)


class Means(SharedStage):
    """The mean of each frame."""

    type: Literal["means"] = "means"
    scale: float = 1.0

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [
            ClipError("too dark")
            if view.key == "dark"
            else {
                self.column: {
                    request: frames.data.mean(axis=(1, 2, 3)) * self.scale
                    for request, frames in zip(self.requests, view.frame_sets, strict=True)
                }
            }
            for view in batch
        ]


class Head(Stage):
    """The mean over the frames that it asks for, through the shared step."""

    type: Literal["head"] = "head"
    column: str = "head"
    fast: bool = False
    scale: float = 1.0

    @property
    def shares(self) -> Sequence[SharedStage]:
        return [Means(scale=self.scale, requests=(FAST if self.fast else TWO,))]

    @property
    def writes(self) -> Columns:
        return {self.column: float32}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        (shared,) = self.shares
        assert isinstance(shared, Means)
        return [{self.column: float(shared.made_for(view)[shared.requests[0]].mean())} for view in batch]


def program(*stages: Stage) -> Program:
    return compile_program("score", stages=stages, keep=[], inputs=CLIP_COLUMNS, input_results={}, rename={})


def test_equal_ones_are_joined_before_the_first_reader() -> None:
    steps = program(Head(), Head(column="b", fast=True), Head(column="c", scale=2.0)).stages
    assert [step.stage.type for step in steps] == ["means", "head", "head", "means", "head"]
    assert steps[0].requests == (TWO, FAST)
    assert steps[3].requests == (TWO,)


def test_a_result_is_the_same_one_whoever_else_shares() -> None:
    alone, both = program(Head()), program(Head(), Head(column="b", fast=True))
    assert alone.results["head"] == both.results["head"]
    assert program(Head(scale=2.0)).results["head"] != alone.results["head"]


def test_rows_and_the_fingerprint_know_no_shared_step() -> None:
    compiled = program(Head())
    assert list(compiled.columns) == ["head"]
    (step,) = pass_identity(compiled, inputs={})["steps"]
    assert step["stage"]["type"] == "head"
    assert step["shares"] == [{"type": "means", "version": 1, "scale": 1.0}]


def test_a_stage_that_shares_keeps_the_contract() -> None:
    results = check_stage(Head())
    assert results["black"] == {"head": 0.0}

"""What a pass refuses before it runs: names and members that a stage may not write."""

from collections.abc import Sequence
from typing import Literal

import pytest

from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import Member, Writes, int64
from shardpipe.core.errors import ConfigError
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.engine.passes.program import compile_program
from shardpipe.engine.passes.rules import RuleSet
from shardpipe.stages.quality import Quality
from shardpipe.stages.text_dup import TextDup


class Named(Stage):
    """Writes one column or member, called as its fields say."""

    type: Literal["named"] = "named"
    name: str = "one"
    ext: str | None = None

    @property
    def writes(self) -> Writes:
        return {self.name: int64 if self.ext is None else Member(self.ext)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{self.name: None} for _ in batch]


def compiled(stage: Stage) -> None:
    compile_program("score", stages=[stage], keep=[], inputs=CLIP_COLUMNS, input_results={}, rename={})


@pytest.mark.parametrize("name", ["kept", "shard", "xxh128", "members", "unit", "Blur"])
def test_column_names_that_are_taken(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a column"):
        compiled(Named(name=name))


@pytest.mark.parametrize(
    ("ext", "message"), [("mp4", "already"), ("txt", "already"), ("NPY", "no extension"), ("a/b", "no")]
)
def test_members_that_a_shard_cannot_hold(ext: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compiled(Named(ext=ext))
    compiled(Named(ext="vae.npy"))


@pytest.mark.parametrize(
    ("stages", "rename", "message"),
    [
        ([Named(name="key")], {}, r"give it another name with `rename: {key: key_2}`"),
        (
            [Named(name="a"), Named(name="a")],
            {},
            r"stages.1 .* as a stage before it does: put one of them into a pass of",
        ),
        ([Named(name="a"), Named(name="b")], {"b": "a"}, r"stages.1 .* as a stage before it does"),
        ([Quality()], {"blur": "contrast"}, "writes two columns of one name"),
        ([Named(name="a")], {"b": "c"}, "no stage of this pass writes b"),
    ],
)
def test_two_columns_of_one_name(stages: list[Stage], rename: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_program("score", stages=stages, keep=[], inputs=CLIP_COLUMNS, input_results={}, rename=rename)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [Named(name="a"), TextDup(column="source")],
            r"stages.1 \(text_dup\) looks through .* clips named will drop: put it before",
        ),
        (
            [Named(name="a"), TextDup(column="a")],
            r"stages.1 \(text_dup\) reads column 'a' of all clips .* into a pass after this one",
        ),
        (
            [TextDup(column="source"), TextDup(column="text_dup", into="b")],
            r"stages.1 .* reads column 'text_dup' of all",
        ),
        ([TextDup(column="sauce")], "reads column 'sauce', which nothing before it writes: did you mean source"),
    ],
)
def test_a_stage_that_looks_through_the_input_comes_first(stages: list[Stage], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_program("dup", stages=stages, keep=[], inputs=CLIP_COLUMNS, input_results={}, rename={})


def test_rules_on_what_such_stages_write_come_after_all_of_them() -> None:
    stages = [TextDup(column="source"), TextDup(column="path", into="b"), Named(name="a")]
    keep = ["text_dup IS NULL", "fps > 3", "b IS NULL", "a > 1"]
    program = compile_program("dup", stages=stages, keep=keep, inputs=CLIP_COLUMNS, input_results={}, rename={})
    shown = [
        [rule.text for rule in step.rules] if isinstance(step, RuleSet) else step.stage.type for step in program.steps
    ]
    assert shown == [["fps > 3"], "text_dup", "text_dup", ["text_dup IS NULL", "b IS NULL"], "named", ["a > 1"]]
    assert [rule.text for rule in program.first_rules.rules] == ["fps > 3"]

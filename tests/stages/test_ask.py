"""Ask: a question's answer as a column, null where it is none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.fake_engine import FakeEngine, says

from shardpipe.core.columns import bool_, int64, string
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.models.generate.request import Answer
from shardpipe.stages._answers import as_bool, as_score
from shardpipe.stages.ask import Ask
from shardpipe.testing import check_stage

CHOICES = {"answer": "choice", "choices": ["ground", "air"]}


def ask(**fields: Any) -> Ask:
    return Ask.model_validate({"model": "org/Tiny", "name": "seen", "question": "Is it so?", **fields})


def answered(stage: Ask, answer: Answer | str) -> tuple[Any, str]:
    engine = FakeEngine(lambda _: answer)
    stage.use(engine)
    (result,) = stage.process([ClipView("a", {}, (Frames(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1)),))])
    assert isinstance(result, Mapping)
    assert set(result) == {"seen", "seen_finish"}
    return result["seen"], result["seen_finish"]


@pytest.mark.parametrize(
    "fields", [{}, CHOICES, {"answer": "score", "range": [0, 3]}, {"num_frames": 0, "question": "{{ text }}?"}]
)
def test_contract(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine().install(monkeypatch)
    check_stage(ask(**fields), row={"text": "A dog."})


@pytest.mark.parametrize(
    ("fields", "kind", "choices", "asks"),
    [
        ({}, bool_, ("yes", "no"), "yes or no and nothing else"),
        (CHOICES, string, ("ground", "air"), "one of these and nothing else: ground, air"),
        ({"answer": "score"}, int64, ("1", "2", "3", "4", "5"), "one whole number from 1 to 5"),
        ({"answer": "score", "range": [-1, 1]}, int64, ("-1", "0", "1"), "one whole number from -1 to 1"),
    ],
)
def test_forms(fields: dict[str, Any], kind: object, choices: tuple[str, ...], asks: str) -> None:
    stage = ask(**fields)
    assert stage.writes == {"seen": kind, "seen_finish": string}
    assert stage.guide.choices == choices
    assert asks in stage.form


@pytest.mark.parametrize(
    ("answer", "value", "finish"),
    [
        ("yes", True, "stop"),
        ("**Answer:** no", False, "stop"),
        ("The answer is yes.", True, "stop"),
        ("There is no screen.", None, "unparsed"),
        ("**No**, it is not.", False, "stop"),
        ("Yes.", True, "stop"),
        ("TRUE", True, "stop"),
        (says("No, the", "length"), False, "length"),
        ("Yesterday", None, "unparsed"),
        ("It is not clear", None, "unparsed"),
        ("", None, "empty"),
        ("I'm sorry, but I can't help with that.", None, "refusal"),
        (says("yes", "content_filter"), None, "content_filter"),
    ],
)
def test_yes_and_no(answer: Answer | str, value: object, finish: str) -> None:
    assert answered(ask(), answer) == (value, finish)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("4", 4),
        ("Score: 4.", 4),
        ("4/5", 4),
        ("I rate it 4 out of 5.", 4),
        ("5/5", 5),
        ("3.0", 3),
        ("3.5", None),
        ("6", None),
        ("0", None),
        ("-2", None),
        ("3 or 4", None),
        ("a lot", None),
        ("x4", None),
    ],
)
def test_scores(answer: str, value: int | None) -> None:
    assert answered(ask(answer="score"), answer) == (value, "stop" if value is not None else "unparsed")


def test_a_choice() -> None:
    assert answered(ask(**CHOICES), "Air") == ("air", "stop")
    assert answered(ask(**CHOICES), "sea") == (None, "unparsed")


@given(st.text() | st.text("0123456789./-of5 "), st.integers(-5, 5), st.integers(1, 9))
@example("9" * 5000, 1, 4)
@settings(deadline=None)
def test_any_answer_is_read_or_is_none(text: str, least: int, span: int) -> None:
    score = as_score(text, least, least + span)
    assert score is None or least <= score <= least + span
    assert as_bool(text) in (True, False, None)


def test_a_question_reads_columns() -> None:
    stage = ask(question="Does it show this: {{ text }}?", num_frames=0, facts=["cmotion"])
    assert (stage.frames, set(stage.reads)) == (None, {"text", "cmotion"})
    assert ask().frames is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answer": "choice"}, "choices and answer: choice go together"),
        ({"choices": ["a", "b"]}, "choices and answer: choice go together"),
        ({"range": [1, 3]}, "range is for answer: score"),
        ({"answer": "score", "range": [3, 3]}, "give least and most"),
        ({"answer": "score", "range": [0, 1000]}, "at most 100 apart"),
        ({"question": "{% if %}"}, "line 1 of the prompt"),
        ({"name": "Bad name"}, "is no column name"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ask(**fields)

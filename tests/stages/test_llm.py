"""Llm: a text is worked on, or put into classes, without a frame."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.fake_engine import Answers, FakeEngine, says

from shardpipe.core.stage import ClipError, ClipView
from shardpipe.models.generate.request import Answer
from shardpipe.stages._answers import as_choice
from shardpipe.stages.llm import Llm
from shardpipe.testing import check_stage


def llm(**fields: Any) -> Llm:
    return Llm.model_validate({"model": "org/Tiny", **fields})


def asked(stage: Llm, answers: Answers, *rows: Mapping[str, Any]) -> tuple[list[Any], FakeEngine]:
    engine = FakeEngine(answers)
    stage.use(engine)
    return list(stage.process([ClipView(str(i), row) for i, row in enumerate(rows)])), engine


@pytest.mark.parametrize(
    "fields", [{}, {"choices": ["in", "out"], "into": "where"}, {"prompt": {"enhance": 1, "verify_text": 2}}]
)
def test_contract(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine().install(monkeypatch)
    check_stage(llm(**fields), row={"text": "A dog."})


def test_it_sees_the_text_and_no_frames() -> None:
    stage = llm(prompt="enhance", column="text_raw", into="text_long", facts=["cmotion"])
    assert (stage.frames, set(stage.reads)) == (None, {"text_raw", "cmotion"})
    assert (stage.opens.max_images, stage.opens.has_video) == (0, False)
    rows = [
        {"text_raw": "A dog.", "cmotion": ["static"]},
        {"text_raw": " ", "cmotion": None},
        {"text_raw": 3, "cmotion": None},
    ]
    (made, blank, number), engine = asked(stage, lambda _: says("A big dog ru", "length"), *rows)
    (request,) = engine.asked
    assert request.frames is None
    assert "===\nA dog.\n===" in request.prompt
    assert "- cmotion: static" in request.prompt
    assert made == {
        "text_long": "A big dog ru",
        "text_long_model": "Tiny",
        "text_long_prompt": "enhance",
        "text_long_tokens": 4,
        "text_long_truncated": True,
        "text_long_finish": "length",
    }
    assert blank == dict.fromkeys(made) | {"text_long_finish": "no_text"}
    assert isinstance(number, ClipError)


def test_a_template_of_ones_own_reads_any_column() -> None:
    stage = llm(prompt="Into French: {{ alt }}")
    assert stage.reads == ["alt"]
    (made,), engine = asked(stage, lambda _: "Un chien.", {"alt": "A dog."})
    assert engine.asked[0].prompt == "Into French: A dog."
    assert (made["text_llm"], made["text_llm_prompt"]) == ("Un chien.", "custom")


@pytest.mark.parametrize(
    ("answer", "choice", "finish"),
    [
        ("indoor", "indoor", "stop"),
        (" **Indoor.** ", "indoor", "stop"),
        ("Outdoor, in a park", "outdoor", "stop"),
        ("It is outdoor.", "outdoor", "stop"),
        ("Outdoor at night it is", "outdoor at night", "stop"),
        ("It is outdoor at night.", "outdoor at night", "stop"),
        ("indoor or outdoor", "indoor", "stop"),
        ("It may be indoor or outdoor.", None, "unparsed"),
        ("indoors", None, "unparsed"),
        ("", None, "empty"),
        ("I'm sorry, but I can't help with that.", None, "refusal"),
        (says("outdoor a", "length"), "outdoor", "length"),
    ],
)
def test_choices(answer: Answer | str, choice: str | None, finish: str) -> None:
    stage = llm(choices=["indoor", "outdoor", "outdoor at night"])
    assert stage.guide is not None
    assert stage.guide.choices == stage.choices
    (made,), engine = asked(stage, lambda _: answer, {"text": "A park."})
    assert (made["text_llm"], made["text_llm_finish"], made["text_llm_prompt"]) == (choice, finish, "classify")
    assert "one of these and nothing else: indoor, outdoor, outdoor at night." in engine.asked[0].prompt


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=5))
@example("İ", ["i̇", "İ"])
@settings(deadline=None)
def test_any_answer_gives_a_choice_or_none(text: str, choices: list[str]) -> None:
    assert as_choice(text, choices) in {None, *choices}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "video"}, "preset video is for another stage"),
        ({"prompt": "classify"}, "needs choices"),
        ({"prompt": "enhance", "choices": ["a", "b"]}, "not with enhance"),
        ({"choices": ["a"]}, "give 2 to 100"),
        ({"choices": ["a", "A "]}, "the same but for case"),
        ({"choices": ["a", "b\nc"]}, "no choice"),
        ({"prompt": "a {{ b }}", "column": "text"}, "column does nothing"),
        ({"num_frames": 3}, "Extra inputs"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        llm(**fields)

"""Tags: lists from JSON or brackets, trimmed, each once; empty and unreadable are told apart."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.fake_engine import FakeEngine, says

from shardpipe.core.columns import ColumnType, check_value
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView, Result
from shardpipe.models.generate.request import Answer
from shardpipe.stages._answers import tags_of
from shardpipe.stages.tags import MEANINGS, Tags
from shardpipe.testing import check_stage

FRAMES = Frames(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1))


def tags(**fields: Any) -> Tags:
    return Tags.model_validate({"model": "org/Tiny", **fields})


def asked(stage: Tags, answer: Answer | str, row: Mapping[str, Any] | None = None) -> tuple[Result, FakeEngine]:
    engine = FakeEngine(lambda _: answer)
    stage.use(engine)
    (result,) = stage.process([ClipView("a", row or {}, (FRAMES,) if stage.frames else ())])
    return result, engine


@pytest.mark.parametrize(
    "fields", [{}, {"column": "text"}, {"column": "text", "num_frames": 2, "prefix": "x_"}, {"keys": ["scene"]}]
)
def test_contract(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine().install(monkeypatch)
    check_stage(tags(**fields), row={"text": "A dog."})


@pytest.mark.parametrize(
    ("answer", "objects", "actions", "finish"),
    [
        ('{"objects": ["dog", " Ball ", "DOG", "ball."], "actions": []}', ["dog", "Ball"], [], "stop"),
        ('Here:\n```json\n{"objects": ["a\\u0007b"], "actions": ["NONE"]}\n```', ["a b"], [], "stop"),
        ('{"objects": "dog, cat", "actions": null}', ["dog", "cat"], [], "stop"),
        ('{"objects": [1, {"x": 2}, null, "dog"]}', ["1", "dog"], None, "stop"),
        ("objects: [a dog, 'a ball'], actions: [run]", ["a dog", "a ball"], ["run"], "stop"),
        ("**Objects**: [dog]\n**Actions**: NONE_FOUND", ["dog"], [], "stop"),
        ("objects: []\nactions: [NONE]", [], [], "stop"),
        ('{"objects": {"a": 1}, "actions": [["run"]]}', None, None, "unparsed"),
        ("objects\uff1a[\u72d7\uff0c\u732b]", ["\u72d7", "\u732b"], None, "stop"),
        ("NONE_FOUND", [], [], "stop"),
        ("[]", [], [], "stop"),
        (says('{"objects": ["dog", "cat"], "actions": ["ru', "length"), ["dog", "cat"], None, "length"),
        ("A dog runs.", None, None, "unparsed"),
        ("[dog, ball]", None, None, "unparsed"),
        ("", None, None, "empty"),
        ("I'm sorry, but I can't help with that.", None, None, "refusal"),
        (says('{"objects": ["dog"]}', "content_filter"), None, None, "content_filter"),
    ],
)
def test_answers(answer: Answer | str, objects: list[str] | None, actions: list[str] | None, finish: str) -> None:
    assert asked(tags(), answer)[0] == {"objects": objects, "actions": actions, "tags_finish": finish}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[dog, ball]", ["dog", "ball"]),
        ('["dog"]', ["dog"]),
        ("objects = [dog\nball]", ["dog", "ball"]),
        ("none", []),
        ("dog", None),
    ],
)
def test_one_key_needs_no_name(answer: str, found: list[str] | None) -> None:
    assert asked(tags(keys=["objects"]), answer)[0]["objects"] == found  # type: ignore[index]


def test_as_many_and_as_long_as_asked_for() -> None:
    stage = tags(keys=["objects"], max_tags=2, max_tag_chars=4)
    assert asked(stage, '{"objects": ["house", "dog", "cat", "cow"]}')[0]["objects"] == ["dog", "cat"]  # type: ignore[index]
    assert stage.guide.json_schema is not None
    assert stage.guide.json_schema["properties"]["objects"] == {
        "type": "array",
        "items": {"type": "string", "maxLength": 4},
        "maxItems": 2,
    }


def test_frames_caption_or_both() -> None:
    frames, text, both = tags(), tags(column="text"), tags(column="text", num_frames=4)
    assert (frames.opens.max_images, text.opens.max_images, both.opens.max_images) == (8, 0, 4)
    assert (list(frames.reads), list(text.reads), list(both.reads)) == ([], ["text"], ["text"])
    _, engine = asked(text, "[]", {"text": "A dog."})
    assert engine.asked[0].frames is None
    assert "===\nA dog.\n===" in engine.asked[0].prompt
    result, engine = asked(both, "[]", {"text": None})
    assert (result, engine.asked) == ({"objects": None, "actions": None, "tags_finish": "no_text"}, [])
    _, engine = asked(frames, "[]")
    assert engine.asked[0].frames is not None


def test_keys_are_columns_with_meanings() -> None:
    stage = tags(keys=["objects", "vehicles", "time_of_day"], meanings={"vehicles": "cars and ships"}, prefix="t_")
    assert list(stage.writes) == ["t_objects", "t_vehicles", "t_time_of_day", "t_tags_finish"]
    assert f'"objects": {MEANINGS["objects"]}\n"vehicles": cars and ships\n"time_of_day": time of day' in stage.form


def test_a_prompt_of_ones_own_keeps_the_form() -> None:
    _, engine = asked(tags(prompt="Only what is red in {{ place }}."), "[]", {"place": "Rome"})
    assert engine.asked[0].prompt.startswith("Only what is red in Rome.\n\nAnswer with one JSON object")


pieces = st.sampled_from(
    ["objects", ":", "[", "]", "{", "}", '"', ",", "NONE", " ", "\n", "\x00", "\ud800", "İ", "dog"]
)


@given(st.text(st.characters()) | st.lists(pieces).map("".join))
@example("objects:[" * 500)
@settings(max_examples=300, deadline=None)
def test_any_answer_gives_clean_tags(text: str) -> None:
    stage = tags()
    result = stage.answered("custom", says(text))
    assert isinstance(result, Mapping)
    for name, kind in stage.writes.items():
        assert isinstance(kind, ColumnType)
        check_value(name, kind, result[name])
    for key in stage.keys:
        found = result[key] or []
        assert all(tag and tag == tag.strip() for tag in found)
        assert not any(unicodedata.category(mark) in ("Cc", "Cs") for tag in found for mark in tag)
        assert len({tag.casefold() for tag in found}) == len(found)
        assert tags_of(found, max_chars=64) == found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keys": []}, "at least 1 item"),
        ({"keys": ["a", "a"]}, "stands there twice"),
        ({"keys": ["scene", "scene_tags"]}, "two of the columns scene_tags, scene_tags, tags_finish are the same"),
        ({"keys": ["tags_finish"]}, "two of the columns"),
        ({"num_frames": 0}, "asks the same of each clip"),
        ({"keys": ["Two words"]}, "no column name"),
        ({"keys": ["kept"]}, "no column name"),
        ({"meanings": {"cars": "x"}}, "cars is none of the keys"),
        ({"column": "text", "prompt": "a {{ b }}"}, "column does nothing"),
        ({"column": "text", "long_side": 100}, "without frames long_side do nothing"),
        ({"prompt": "{{"}, "line 1 of the prompt"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tags(**fields)


def test_a_key_that_each_clip_has_a_column_of_gets_another_one() -> None:
    stage = Tags(model="org/Big", keys=("objects", "scene", "style"))
    assert list(stage.writes) == ["objects", "scene_tags", "style", "tags_finish"]
    assert list(Tags(model="org/Big", keys=("scene",), prefix="tag_").writes) == ["tag_scene", "tag_tags_finish"]
    made = stage.answered("custom", Answer('{"scene": ["beach"]}', "stop", 5, 5))
    assert made["scene_tags"] == ["beach"]

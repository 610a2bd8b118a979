"""Annotate: words and numbers at their limits, every label of the camera, shares left out, and the undo of all of it."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages.annotate import Annotate, undone
from shardpipe.stages.camera_motion import KINDS
from shardpipe.testing import check_stage

LABELS = [*dict.fromkeys(name for kind in KINDS for name in (kind.up, kind.down)), "static", "shake"]
ROW = {"text": "A dog runs.", "aes": 5.62, "flow": 1.24, "cmotion": ["pan_left", "zoom_in"]}


def annotated(key: str = "clip", row: dict[str, Any] | None = None, **fields: Any) -> str | None:
    stage = Annotate.model_validate({"leave_out": 0, **fields})
    (result,) = stage.process([ClipView(key, {**ROW, **(row or {})})])
    assert isinstance(result, dict)
    return result["text_annotated"]


def test_contract() -> None:
    results = check_stage(Annotate(leave_out=0), row=ROW)
    said = "A dog runs. Aesthetic quality: good. Motion strength: low. Camera motion: pan left, zoom in."
    assert results["landscape"] == {"text_annotated": said}
    assert results["black"] == {"text_annotated": None}  # a row without a caption
    numeric = "A dog runs. [aesthetic score: 5.6, motion score: 1.2] Camera motion: pan left, zoom in."
    assert annotated(style="numeric") == numeric
    assert {" ".join((Annotate.__doc__ or "").split()).count(f'"{each}"') for each in (said, numeric)} == {1}


@pytest.mark.parametrize(
    ("aes", "word"),
    [
        (3.9, "terrible"),
        (4, "very poor"),
        (4.5, "poor"),
        (5, "fair"),
        (5.5, "good"),
        (6, "very good"),
        (6.5, "excellent"),
    ],
)
def test_words_of_the_aesthetic_score(aes: float, word: str) -> None:
    assert annotated(row={"aes": aes}, motion=None, camera=None) == f"A dog runs. Aesthetic quality: {word}."


@pytest.mark.parametrize(
    ("flow", "word"),
    [(0.4, "very low"), (0.5, "low"), (2, "fair"), (5, "high"), (10, "very high"), (20, "extremely high")],
)
def test_words_of_the_motion_score(flow: float, word: str) -> None:
    assert annotated(row={"flow": flow}, aes=None, camera=None) == f"A dog runs. Motion strength: {word}."


@pytest.mark.parametrize("labels", [list(some) for n in (1, 2, 3) for some in combinations(LABELS, n)], ids="+".join)
def test_every_label_of_the_camera_is_said_and_undone(labels: list[str]) -> None:
    text = annotated(row={"cmotion": labels}, aes=None, motion=None)
    assert text == f"A dog runs. Camera motion: {', '.join(labels).replace('_', ' ')}."
    assert undone(text) == "A dog runs."


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        ([], ""),
        ("Undetermined", ""),
        ("pan_left+zoom_in", " Camera motion: pan left, zoom in."),
        ("pan left", " Camera motion: pan left."),
        (["crane_up", "crane_up"], " Camera motion: crane up."),
    ],
)
def test_other_labels(value: Any, said: str) -> None:
    assert annotated(row={"cmotion": value}, aes=None, motion=None) == f"A dog runs.{said}"


def test_what_is_null_is_not_said() -> None:
    assert annotated(row={"aes": None, "cmotion": None}) == "A dog runs. Motion strength: low."
    assert annotated(row={"aes": None, "flow": float("nan")}, style="numeric", camera=None) == "A dog runs."
    assert annotated(row={"aes": None, "flow": -0.04}, style="numeric", camera=None).endswith("[motion score: 0.0]")
    assert annotated(row={"text": " "}) is None


def test_limits_of_another_unit() -> None:
    stage = {"motion": "flow_px_s", "motion_limits": (2, 12, 40, 60, 100), "aes": None, "camera": None}
    assert annotated(row={"flow_px_s": 50.0}, **stage) == "A dog runs. Motion strength: high."


def test_each_part_is_left_out_of_its_share_alone() -> None:
    keys = [f"clip{i}" for i in range(4000)]
    texts = [annotated(key, leave_out=0.2, leave_out_camera=0.5) or "" for key in keys]
    aes, motion, camera = ([word in text for text in texts] for word in ("Aesthetic", "Motion strength", "Camera"))
    assert sum(aes) / 4000 == pytest.approx(0.8, abs=0.03)
    assert sum(motion) / 4000 == pytest.approx(0.8, abs=0.03)
    assert sum(camera) / 4000 == pytest.approx(0.5, abs=0.03)
    assert sum(a and m for a, m in zip(aes, motion, strict=True)) / 4000 == pytest.approx(0.64, abs=0.03)
    assert texts == [annotated(key, leave_out=0.2, leave_out_camera=0.5) for key in keys]
    assert texts != [annotated(key, leave_out=0.2, leave_out_camera=0.5, seed=1) for key in keys]
    assert annotated(leave_out=1, leave_out_camera=1) == "A dog runs."


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip),
    aes=st.none() | st.floats(-1e6, 1e6),
    flow=st.none() | st.floats(0, 1e6),
    labels=st.none() | st.lists(st.sampled_from(LABELS) | st.text(), max_size=4),
    style=st.sampled_from(["worded", "numeric"]),
)
@settings(max_examples=200, deadline=None)
def test_undo_gives_the_caption_back(text: str, aes: Any, flow: Any, labels: Any, style: str) -> None:
    said = annotated(row={"text": text, "aes": aes, "flow": flow, "cmotion": labels}, style=style)
    (result,) = Annotate(column="text_annotated", into="text_plain", style="undo").process(
        [ClipView("clip", {"text_annotated": said})]
    )
    assert result == {"text_plain": text}


def test_undo_reads_the_caption_alone() -> None:
    assert list(Annotate(style="undo").reads) == ["text"]
    assert undone("A dog runs. Camera motion: slow.") == "A dog runs."
    assert undone("Camera motion: a dog runs.") == "Camera motion: a dog runs."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"into": "text"}, "column and into are both text"),
        ({"into": "kept"}, "no column name"),
        ({"aes": None, "motion": None, "camera": None}, "name at least one"),
        ({"aes_limits": (1, 2)}, "aes_limits: give 6 numbers"),
        ({"motion_limits": (1, 2, 2, 4, 5)}, "each greater"),
        ({"style": "undo", "seed": 3, "camera": None}, "leave out camera, seed"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Annotate.model_validate(fields)


@pytest.mark.parametrize("row", [{"text": 3}, {"aes": "good"}, {"flow": True}, {"cmotion": 5}, {"cmotion": [1]}])
def test_values_of_another_type_are_an_error_of_the_clip(row: dict[str, Any]) -> None:
    (result,) = Annotate(leave_out=0).process([ClipView("clip", {**ROW, **row})])
    assert isinstance(result, ClipError)
    assert next(iter(row)) in result.message

"""Describe: a sentence for every label and every range of the scores, from the columns that are configured."""

import re
from itertools import combinations
from typing import Any

import pytest
from pydantic import ValidationError

from shardpipe.core.stage import ClipView
from shardpipe.stages.describe import CAMERA_WORDS, Describe, article, joined, worded
from shardpipe.testing import check_stage

LABELS = ["pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "roll", "static", "shake"]
PLAIN = {
    "cmotion": ["static"],
    "flow_px_s": 20.0,
    "brightness": 0.45,
    "contrast": 0.2,
    "colourfulness": 30.0,
    "blur": 0.45,
    "blockiness": 0.1,
    "black_share": 0.0,
    "frozen_share": 0.0,
}


def described(stage: Describe | None = None, **values: Any) -> str | None:
    (result,) = (stage or Describe()).process([ClipView("clip", {**PLAIN, **values})])
    assert isinstance(result, dict)
    return result["description"]


def test_contract() -> None:
    results = check_stage({"type": "describe"}, row=PLAIN)
    assert results["landscape"] == {"description": "A clip with moderate motion, in which the camera is static."}
    assert results["black"] == {"description": None}  # a row without scores


def test_it_never_writes_text_and_sees_no_frames() -> None:
    assert list(Describe().writes) == ["description"]
    assert Describe().frame_requests == ()


@pytest.mark.parametrize("label", LABELS)
def test_every_label_has_a_verb(label: str) -> None:
    sentence = described(cmotion=[label])
    assert sentence is not None
    assert sentence.endswith(f"in which the camera {CAMERA_WORDS[label]}.")


def test_the_labels_are_those_of_camera_motion() -> None:
    assert list(CAMERA_WORDS) == LABELS


@pytest.mark.parametrize("labels", list(combinations(LABELS, 3)), ids="-".join)
def test_several_labels_are_joined(labels: tuple[str, ...]) -> None:
    first, second, third = (CAMERA_WORDS[label] for label in labels)
    sentence = described(cmotion=list(labels))
    assert sentence is not None
    assert sentence.endswith(f"in which the camera {first}, {second} and {third}.")


def test_a_label_that_another_stage_made_is_said_plainly() -> None:
    assert described(cmotion=["dolly_in"]) == "A clip with moderate motion, in which the camera moves (dolly in)."


@pytest.mark.parametrize("labels", [None, []])
def test_without_labels_nothing_is_said_of_the_camera(labels: list[str] | None) -> None:
    assert described(cmotion=labels) == "A clip with moderate motion."


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("flow_px_s", 0.0, "almost no motion"),
        ("flow_px_s", 5, "slow motion"),
        ("flow_px_s", 60.0, "fast motion"),
        ("flow_px_s", 1e6, "very fast motion"),
        ("brightness", 0.0, "A very dark clip"),
        ("brightness", 0.2, "A dark clip"),
        ("brightness", 0.7, "A bright clip"),
        ("brightness", 1.0, "A very bright clip"),
        ("contrast", 0.0, "A low-contrast clip"),
        ("contrast", 0.5, "A high-contrast clip"),
        ("colourfulness", 0.0, "A black-and-white clip"),
        ("colourfulness", 10.0, "A muted clip"),
        ("colourfulness", 60.0, "A colourful clip"),
        ("colourfulness", 110.0, "A very colourful clip"),
        ("blur", 0.3, "A sharp clip"),
        ("blur", 0.6, "A soft clip"),
        ("blur", 0.9, "A blurred clip"),
        ("blockiness", 0.5, "A blocky clip"),
        ("blockiness", 0.9, "A very blocky clip"),
        ("black_share", 0.3, "; it is black in part."),
        ("black_share", 1.0, "; it is black throughout."),
        ("frozen_share", 0.5, "; it is still in part."),
        ("frozen_share", 0.95, "; it is still throughout."),
    ],
)
def test_every_range_has_its_words(column: str, value: float, word: str) -> None:
    assert word in (described(**{column: value}) or "")
    assert described(**{column: None}) is not None


def test_the_documented_example() -> None:
    sentence = described(cmotion=["pan_left", "zoom_in"], flow_px_s=60, brightness=0.2, blur=0.3, colourfulness=60)
    assert sentence == "A dark, sharp and colourful clip with fast motion, in which the camera pans left and zooms in."
    assert sentence in re.sub(r"\s+", " ", Describe.__doc__ or "")


def test_columns_are_configurable() -> None:
    nulls = dict.fromkeys(set(Describe.model_fields) - {"type", "on_error", "motion"})
    only_motion = Describe(**nulls, motion="speed")
    assert list(only_motion.reads) == ["speed"]
    (result,) = only_motion.process([ClipView("clip", {"speed": 1.0})])
    assert result == {"description": "A clip with almost no motion."}


def test_a_config_without_any_column_is_refused() -> None:
    with pytest.raises(ValidationError, match="name at least one"):
        Describe(**dict.fromkeys(set(Describe.model_fields) - {"type", "on_error"}))


def test_words() -> None:
    assert worded(None, ((1, "low"),), "high") == ""
    assert [worded(x, ((1, "low"),), "high") for x in (0.99, 1)] == ["low", "high"]
    assert [joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert article("odd") == "An"

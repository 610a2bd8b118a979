"""What captions say of the camera, against every label that stage `camera_motion` writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.stages._camera_words import LABELS, contradicts
from shardpipe.stages.annotate import camera_words
from shardpipe.stages.camera_motion import KINDS
from shardpipe.stages.describe import CAMERA_WORDS, camera_verbs, joined

WRITTEN = [*dict.fromkeys([*(name for kind in KINDS for name in (kind.up, kind.down)), "shake", "static"])]


def fits(text: str, *labels: str) -> bool | None:
    found = contradicts(text, camera_words({"cmotion": list(labels)}, "cmotion"))
    return None if found is None else not found


def test_the_labels_are_those_of_camera_motion() -> None:
    assert {label.replace("_", " ") for label in WRITTEN} == LABELS


@pytest.mark.parametrize("label", WRITTEN)
def test_each_label_goes_with_itself_alone(label: str) -> None:
    said = f"A dog runs. The camera {CAMERA_WORDS[label]}."
    line = f"A dog runs. Camera motion: {label.replace('_', ' ')}."
    for other in WRITTEN:
        assert fits(said, other) is fits(line, other) is (label == other), other


def test_what_describe_says_of_several_labels_goes_with_them() -> None:
    labels = ["pan_left", "tilt_down", "zoom_out", "roll", "shake"]
    text = f"A dark clip, in which the camera {joined(list(camera_verbs(labels)))}"
    assert fits(text, *labels) is True
    assert [fits(text, *(each for each in labels if each != gone)) for gone in labels] == [False] * 5


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The camera slowly pans from left to right.", ["pan_right"], ["pan_left"]),
        ("The camera pans right to left across the square", ["pan_left"], ["pan_right"]),
        ("The camera pans across the scene from the left to the right side.", ["pan_right"], ["pan_left"]),
        ("The camera pans left and then right.", ["pan_left", "pan_right"], ["pan_left"]),
        ("The camera is panning slowly towards the right, revealing a man to the left.", ["pan_right"], ["pan_left"]),
        ("Then the camera pans across the room to show a cat that zooms in.", ["pan_left"], ["static"]),
        ("A dog. Camera: pan left, zoom in.", ["pan_left", "zoom_in"], ["pan_left"]),
        ("Camera: the camera pans left.", ["pan_left"], ["pan_right"]),
        ("A slow zoom in on a face.", ["zoom_in"], ["zoom_out"]),
        ("The shot zooms back out.", ["zoom_out"], ["zoom_in"]),
        ("The camera zooms out as a man walks to the left.", ["zoom_out"], ["pan_left"]),
        ("The camera pans back to the left.", ["pan_left"], ["pan_right"]),
        ("The video begins with a panning shot to the left of a beach.", ["pan_left"], ["pan_right"]),
        ("The camera tilts upward, then zooms in.", ["tilt_up", "zoom_in"], ["tilt_up"]),
        ("The camera angle shifts down to the street.", ["tilt_down"], ["tilt_up"]),
        ("The camera rotates clockwise.", ["roll"], ["static"]),
        ("The camera moves forward along a path.", ["zoom_in"], ["zoom_out"]),
        ("The camera moves forward along a path.", ["pan_left"], ["static"]),
        ("The camera pulls back.", ["zoom_out"], ["zoom_in"]),
        ("The camera follows a cyclist.", ["pan_left", "shake"], ["static"]),
        ("A tracking shot of a car.", ["pan_right"], ["static"]),
        ("Handheld, shaky footage of a concert.", ["shake", "pan_left"], ["pan_left"]),
        ("The camera is steady.", ["static"], ["shake"]),
        ("A static shot of a lake.", ["static"], ["zoom_in"]),
        ("The camera remains completely still, focused on the man who turns left.", ["static"], ["pan_left"]),
        ("The video is filmed with a fixed camera.", ["static"], ["shake"]),
        ("There is no camera movement.", ["static"], ["pan_left"]),
        ("The camera does not move.", ["static"], ["tilt_up"]),
        ("The camera doesn't pan, tilt or zoom.", ["static"], ["zoom_in"]),
        ("The camera does not follow the car but pans left.", ["pan_left"], ["static"]),
        ("The camera never zooms in.", ["pan_left"], ["zoom_in"]),
        ("The camera zooms into the house.", ["zoom_in"], ["zoom_out"]),
        ("The camera is still moving.", ["pan_left"], ["static"]),
        ("The camera is static at first, and then pans left.", ["pan_left"], ["static"]),
        ("The camera pans left and a man moves right.", ["pan_left"], ["pan_right"]),
        ("The camera\u2019s movement is static.", ["static"], ["roll"]),
    ],
)
def test_sentences(text: str, right: list[str], wrong: list[str]) -> None:
    assert fits(text, *right) is True
    assert fits(text, *wrong) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dog runs to the left.",
        "A man holding a camera moves to the left.",
        "She looks at the camera and turns right.",
        "He faces the camera, moves closer and waves.",
        "His camera tilts up.",
        "In the video, a man zooms in on his phone.",
        "The camera shows a frying pan left on the stove.",
        "The camera captures a plane that tilts up.",
        "A chef pans for gold; the swing is static.",
        "A close-up shot of a still lake.",
        "The camera focuses on a man.",
        "Die Kamera schwenkt nach links.",
    ],
)
def test_what_says_nothing_of_the_cameras_motion(text: str) -> None:
    assert fits(text, "static") is None
    assert fits(text, "pan_left") is None


def test_strange_labels_are_moves() -> None:
    assert fits("The camera moves.", "arc_left") is True
    assert fits("A static shot.", "arc_left") is False
    assert contradicts("The camera pans left.", camera_words({"c": "pan_left+zoom_in"}, "c")) is False
    assert contradicts("The camera pans left.", camera_words({"c": "Undetermined"}, "c")) is None


WORDS = st.sampled_from(
    [
        "camera",
        "the camera",
        "pans",
        "from",
        "left",
        "to",
        "right",
        ",",
        "and",
        "not",
        "zoom",
        "static",
        "shot",
        ".",
        "back",
        "still",
        "motion:",
        "\ud800",
        "İ",
        "’s",
    ]
)


@given(
    st.text(st.characters()) | st.lists(WORDS, max_size=30).map(" ".join),
    st.lists(st.sampled_from([*sorted(LABELS), "x"])),
)
@settings(max_examples=300, deadline=None)
def test_any_text_has_an_answer(text: str, labels: list[str]) -> None:
    assert contradicts(text, labels) in (True, False, None)


@pytest.mark.parametrize(
    "piece", ["camera ", "the camera pans left and ", "camera, ", "static ", "a pan from left to "]
)
def test_long_texts_take_no_time(piece: str) -> None:
    assert contradicts(piece * 3000, ["static"]) in (True, False, None)

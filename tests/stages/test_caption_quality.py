"""Caption quality: each column against an independent count, and captions with and without each fault."""

from time import process_time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages.caption_quality import KINDS, CaptionQuality, faults
from shardpipe.testing import check_stage

GOOD = "A brown dog runs along a beach. Waves roll in behind it, and the sun sets."


def test_contract() -> None:
    stage = CaptionQuality(camera="cmotion", language="en", prefix="text_")
    row = {"text": GOOD + " The camera pans left.", "cmotion": ["pan_right"], "lang": "en"}
    results = check_stage(stage, row=row)
    assert results["landscape"] == {
        "text_num_chars": len(GOOD) + 22,
        "text_num_sentences": 3,
        "text_repeat_share": 0.0,
        "text_most_in_a_row": 1,
        "text_is_refusal": False,
        "text_denial_share": 0.0,
        "text_guess_share": 0.0,
        "text_names_medium": False,
        "text_has_markup": False,
        "text_is_unfinished": False,
        "text_contradicts_camera": True,
        "text_is_in_language": True,
    }
    assert set(results["black"].values()) == {None}  # a row without text


def test_it_reads_what_its_fields_name() -> None:
    assert list(CaptionQuality().reads) == ["text"]
    assert set(CaptionQuality().writes) == {f"caption_{name}" for name in KINDS}
    assert list(CaptionQuality(camera="c", language="en", lang="l").reads) == ["text", "c", "l"]


@pytest.mark.parametrize(
    ("text", "share", "in_a_row"),
    [
        ("a dog and a cat and a dog and a cow", 4 / 11, 1),  # `a dog and a`, the second time
        ("A dog, a dog; a DOG!", 4 / 6, 3),
        ("very very big", 0, 2),
        ("no no no no", 3 / 4, 4),
        ("the sea", 0, 1),
        ("花が咲く花が咲く花が咲く", 8 / 12, 3),
        ("一个男人在海边走，一个女人在海边坐", 0, 1),
        ("कि की", 0, 1),
    ],
)
def test_repetition(text: str, share: float, in_a_row: int) -> None:
    found = faults(text)
    assert found["repeat_share"] == pytest.approx(share)
    assert found["most_in_a_row"] == in_a_row


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=14))
def test_repetition_by_another_count(words: list[str]) -> None:
    found = faults(" ".join(words))
    covered = set()
    for start in range(len(words) - 2):
        if any(words[start : start + 3] == words[at : at + 3] for at in range(start)):
            covered |= {start, start + 1, start + 2}
    assert found["repeat_share"] == pytest.approx(len(covered) / len(words))
    times = max(
        times
        for start in range(len(words))
        for end in range(start + 1, len(words) + 1)
        for times in range(1, len(words) + 1)
        if words[start:end] * times == words[start : start + (end - start) * times]
    )
    assert found["most_in_a_row"] == times


@pytest.mark.parametrize(
    ("text", "denials", "guesses", "sentences"),
    [
        (GOOD, 0, 0, 2),
        ("A dog. There is no text visible. It may be old. Mr. Fox possibly sees no visible sign.", 0.5, 0.5, 4),
        ("花が咲く。犬が走る。", 0, 0, 2),
        ("- ! ...", None, None, 0),
    ],
)
def test_sentences(text: str, denials: float | None, guesses: float | None, sentences: int) -> None:
    found = faults(text)
    assert (found["denial_share"], found["guess_share"], found["num_sentences"]) == (denials, guesses, sentences)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The video shows a dog.", True),
        ("A dog runs in the first few frames.", False),
        ("A dog runs. In the first frame, it sleeps.", True),
        ("This short clip has a dog.", True),
        ("Across the frames a dog runs.", True),
        ("A short video of a dog.", True),
        ("A dark, sharp and colourful clip with fast motion, in which the camera pans left.", True),
        ("A man takes a photo of a dog.", False),
        ("A picture hangs on the wall.", False),
        ("La imagen muestra un perro.", True),
        ("Dans cette vidéo, un chien court.", True),
        ("Das Bild zeigt einen Hund.", True),
        ("视频中一只狗在跑。", True),
        ("この動画では犬が走る。", True),
        (GOOD, False),
        ("A man plays a video game beside a picture frame.", False),
        ("A videographer frames his shot.", False),
        ("The photo album lies on a table.", False),
    ],
)
def test_the_medium(text: str, names: bool) -> None:  # noqa: FBT001
    assert faults(text)["names_medium"] is names


@pytest.mark.parametrize(
    "text",
    ["**Dog**: runs", "# A dog", "- A dog\n- A cat", "1. A dog.\n2. A cat.", '{"caption": "A dog."}', '["dog", "cat"]', "```\na dog\n```", "A dog.<|im_end|>", "<think>A dog", "A `dog`.", "A dog\\nA cat", "A [dog](x.png)", "A &amp; B", 'Text: {"a": 1', "[INST] A dog"],
)  # fmt: skip
def test_markup(text: str) -> None:
    assert faults(text)["has_markup"] is True


@pytest.mark.parametrize(
    "text", [GOOD, "A well-known 2 * 3 sign - red [sic]. 1 < 2 > 0!", "A #1 shirt; 5.5 m. It's Tom & Jerry_s.", "一只狗。", 'A dog (brown) says "hi": it barks.']
)  # fmt: skip
def test_no_markup(text: str) -> None:
    assert faults(text)["has_markup"] is False


@pytest.mark.parametrize(
    ("text", "is_unfinished"),
    [
        ("A dog.", False),
        ('A dog says "hi!"', False),
        ("A dog... ", False),
        ("A dog. 🐶\ufe0f", False),
        ("**A dog.**", False),
        ("花が咲く。", False),
        ("कुत्ता दौड़ता है।", False),
        ("كلب يجري؟", False),
        ("A dog", True),
        ("A dog runs. Then it,", True),
        ("花が咲く。犬が", True),
        ("สุนัขวิ่ง", None),
        ("", None),
        ("...", None),
    ],
)
def test_the_end(text: str, is_unfinished: bool | None) -> None:  # noqa: FBT001
    assert faults(text)["is_unfinished"] is is_unfinished


def result(row: dict[str, Any], **fields: Any) -> Any:
    (found,) = CaptionQuality(**fields).process([ClipView("clip", row)])
    return found


@pytest.mark.parametrize(
    ("lang", "is_in_language"),
    [("en", True), ("de", False), (None, None)],
)
def test_the_language(lang: str | None, is_in_language: bool | None) -> None:  # noqa: FBT001
    assert (
        result({"text": GOOD, "tongue": lang}, language="en", lang="tongue")["caption_is_in_language"] is is_in_language
    )


@pytest.mark.parametrize(
    ("cmotion", "is_wrong"), [(["static"], True), (["zoom_in", "pan_left"], False), ("pan_left+shake", False), (None, None), ([], None)]
)  # fmt: skip
def test_the_camera(cmotion: Any, is_wrong: bool | None) -> None:  # noqa: FBT001
    text = f"{GOOD} The camera pans left."
    assert result({"text": text, "cmotion": cmotion}, camera="cmotion")["caption_contradicts_camera"] is is_wrong
    assert result({"text": GOOD, "cmotion": cmotion}, camera="cmotion")["caption_contradicts_camera"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lang": "tongue"}, "give it too"),
        ({"column": "caption_num_chars"}, "writes the column caption_num_chars, which it reads"),
        ({"prefix": "A"}, "no column name"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CaptionQuality.model_validate(fields)


@pytest.mark.parametrize(
    "part",
    [
        "\n",
        "\n ",
        "!",
        ".)",
        "|",
        "- ",
        "*a",
        "(",
        "<",
        "the ",
        "the camera ",
        "sorry ",
        "\u0315\u0300",
        "\u0300\uff9e",
    ],
)
def test_time_grows_with_length(part: str) -> None:
    start = process_time()
    found = faults(f"A dog {part * (20_000 // len(part))}x")
    assert process_time() - start < 2
    assert found["num_chars"] > 20_000


def test_what_is_no_text_is_an_error_of_the_clip() -> None:
    assert isinstance(result({"text": 5}), ClipError)
    assert isinstance(result({"text": "A", "c": 5}, camera="c"), ClipError)
    assert isinstance(result({"text": "A", "lang": 5}, language="en"), ClipError)


@given(
    st.text(st.characters())
    | st.lists(
        st.sampled_from(["the video", "**", "{", '"a":', "1", "camera", ".", "\n- ", "。", "\ud800", "not", "İ"])
    ).map(" ".join)
)
@example("[" * 100_000 + "]" * 100_000)
@example("a " * 20_000)
@settings(max_examples=300, deadline=None)
def test_any_text_has_its_columns(text: str) -> None:
    found = result({"text": text, "cmotion": ["pan_left"]}, camera="cmotion")
    assert set(found) == {*(f"caption_{name}" for name in KINDS), "caption_contradicts_camera"}
    assert all(
        0 <= found[f"caption_{name}"] <= 1
        for name in KINDS
        if name.endswith("_share") and found[f"caption_{name}"] is not None
    )

"""Clean: what each step takes out and leaves, and what holds for any text: no error, no link, no tag, no longer, stable."""

import unicodedata
from collections.abc import Sequence
from time import process_time
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.columns import Columns, string
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.engine.passes.program import compile_program
from shardpipe.stages._text_marks import TAG, has_url
from shardpipe.stages.clean import MARKS, Clean
from shardpipe.testing import check_stage

CAPTION = (
    "The video shows a man walking a dog, suggesting a calm day. There is no text visible. He might be waiting."
    " A red car passes. A red  car passes! See https://a.org/b?c=1. Then the do"
)
SENTENCE_STEPS = ("denials", "guesses", "unfinished", "repeats")

pieces = st.sampled_from(
    [
        *"<>&;.!?,:/@-#\"'()[] \n\u3002",
        *(
            "http://",
            "https://a.b/c",
            "www.x",
            "a.com",
            "<b>",
            "</b>",
            "<!--",
            "-->",
            "<script>",
            "&lt;",
            "&amp;",
            "&#60;",
            "amp;",
        ),
        *(
            "The video shows ",
            "In the image, ",
            "the cat ",
            "There is no dog. ",
            ", possibly",
            "IMG_1.jpg",
            "\ud800",
            "\u200b",
            "ÃƒÂ©",
        ),
        *(
            "\u0958",
            "\u0130",
            "\ufb03",
            "ß",
            "Привет. ",
            "花が咲く。",
            "हिन्दी ",
            "&#" + "9" * 5000 + ";",
            "%ff%",
            "é",
            "e\u0301",
        ),
    ]
)
texts = st.text(st.characters()) | st.lists(pieces | st.text(st.characters(), max_size=3), max_size=30).map("".join)
letters = st.characters(categories=["Lo", "Ll"], min_codepoint=0x250)


def cleaned(text: str, **fields: Any) -> str:
    return Clean(**fields).cleaned(text)[0]


def only(step: str, text: str) -> str:
    """The text after one step alone."""
    off = dict.fromkeys([*(name for name, _ in MARKS), "opening", *SENTENCE_STEPS], False)
    return Clean.model_validate({**off, step: True}).cleaned(text)[0]


def test_contract() -> None:
    results = check_stage(Clean(), row={"text": CAPTION})
    assert results["landscape"] == {
        "text_clean": "A man walking a dog. A red car passes. See.",
        "has_url": True,
        "clean_steps": ["urls", "opening", *SENTENCE_STEPS],
    }
    assert set(results["black"].values()) == {None}  # a row without text


@pytest.mark.parametrize(
    ("step", "text", "left"),
    [
        ("mojibake", "a cafÃ© in MÃ¼nchen", "a café in München"),
        ("html", "a <b>bold</b> <a href='x'>dog</a><br/>runs &amp;amp; &lt;i&gt;jumps &quot;now&quot;", 'a bold dog runs & jumps "now"'),
        ("html", "1 < 2 > 0, AT&T, R&D; 3 <4", "1 < 2 > 0, AT&T, R&D; 3 <4"),
        ("html", "<!-- no --><script>var x</script>a dog</s><|im_end|>", "a dog"),
        ("urls", "a dog (https://a.org/x_(y)?z=1), at www.b.net. End", "a dog, at. End"),
        ("urls", "访问https://example.com查看 http://例え.jp/x 花", "访问 查看 花"),
        ("urls", "see [the dog](https://a.org/b) on example.com/dogs.", "see the dog on."),
        ("urls", "bit.ly/3x a dog youtu.be/a?b=1, rtsp://cam/1", "a dog,"),
        ("urls", "The end.He/she is to.be here", "The end.He/she is to.be here"),
        ("urls", "The wall.It is 3.5 m. A U.S. company.", "The wall.It is 3.5 m. A U.S. company."),
        ("handles", "by @joe_99, mail a.b+c@d-e.co.uk or 192.168.0.1 at 5.5.", "by, mail or at 5.5."),
        ("file_names", "IMG_2041.jpg a dog in my.clip.MP4 plays", "a dog in plays"),
        ("adverts", "A mug. Click here to view more. Free shipping. Download now", "A mug."),
        ("quotes", "\u201cIt\u2019s\u201d 5\u20136 pm\u2014wow!!!! ......", '"It\'s" 5-6 pm\u2014wow! ...'),
        ("opening", "The short video clip primarily showcases a dog.", "A dog."),
        ("opening", "In this clip, we can see the sea.", "The sea."),
        ("opening", "Sure! Here is a description of the video: The image is a close-up of tea.", "A close-up of tea."),
        ("opening", "The video is dark and shows a cat. The film shows", "The video is dark and shows a cat. The film shows"),
        ("opening", "The video shows", "The video shows"),
        ("opening", "This is a short video of a dog.", "A dog."),
        ("opening", "These frames show a dog.", "A dog."),
        ("opening", "The series of images shows us a dog.", "A dog."),
        ("opening", "The video presents us with a dog.", "A dog."),
        ("opening", "The video is showing a dog.", "A dog."),
        ("opening", "As seen in the video, a dog runs.", "A dog runs."),
        ("opening", "In the video a dog runs.", "A dog runs."),
        ("opening", "In the video store a dog runs. A picture of a cat hangs there.", "In the video store a dog runs. A picture of a cat hangs there."),
        ("opening", "**Caption:** The video shows 'Hamlet'.", "'Hamlet'."),
        ("denials", "A dog. There are no people in sight. No text is visible. It isn't shown. A cat.", "A dog. A cat."),
        ("denials", "A nobleman notes a knot. It does not rain on the note.", "A nobleman notes a knot. It does not rain on the note."),
        ("guesses", "A dog runs, possibly after a ball. It may be old. A cat appears. In May it rained.", "A dog runs. A cat appears. In May it rained."),
        ("unfinished", "Mr. Smith walks. Dr. Who runs and", "Mr. Smith walks."),
        ("unfinished", "a red car", "a red car"),
        ("unfinished", "花が咲く。犬が走", "花が咲く。"),
        ("unfinished", "หมาวิ่ง. แมวนอน", "หมาวิ่ง. แมวนอน"),
        ("repeats", "A dog runs. It barks. A DOG runs! It barks.", "A dog runs. It barks."),
        ("repeats", "A man and a dog and a dog and a dog and a dog.", "A man and a dog."),
        ("repeats", "A very very big, big dog.", "A very very big, big dog."),
        ("repeats", "花が咲く花が咲く花が咲く花が咲く。", "花が咲く。"),
    ],
)  # fmt: skip
def test_steps(step: str, text: str, left: str) -> None:
    assert only(step, text) == left


@pytest.mark.parametrize("step", [*(name for name, _ in MARKS if name != "adverts"), "opening", *SENTENCE_STEPS])
def test_each_step_can_be_left_out(step: str) -> None:
    text = CAPTION + " \u201ccafÃ©\u201d <b>x</b> @joe a.jpg"
    assert step in Clean(adverts=True).cleaned(text + ".")[1] + Clean().cleaned(text)[1]
    assert step not in Clean.model_validate({step: False}).cleaned(text)[1]


@given(texts)
@example("<" * 60 + "b>" * 60)
@example("&" + "amp;" * 60)
@example("(" * 5000 + ")" * 5000)
@example("The video shows \u00df")
@settings(max_examples=300, deadline=None)
def test_any_text_is_cleaned_for_good(text: str) -> None:
    stage = Clean(adverts=True)
    once, _ = stage.cleaned(text)
    once.encode()
    assert len(once) <= len(text)
    assert not has_url(once)
    assert TAG.search(once) is None
    assert stage.cleaned(once) == (once, [])


@given(texts)
@settings(max_examples=200, deadline=None)
def test_any_text_is_cleaned_by_the_preset(text: str) -> None:
    Clean(preset="opensora", denials=True, guesses=True, unfinished=True, repeats=True).cleaned(text)[0].encode()


@given(st.lists(st.text(letters, min_size=1, max_size=12), min_size=1, max_size=12, unique_by=str.casefold))
@settings(max_examples=200, deadline=None)
def test_other_scripts_survive(words: list[str]) -> None:
    text = " ".join(words)
    assert unicodedata.normalize("NFD", cleaned(text)) == unicodedata.normalize("NFD", text)


def test_what_turns_the_direction_of_writing_goes() -> None:
    assert Clean().cleaned("a \u202ered\u202c dog\u2066 runs\u2069")[0] == "a red dog runs"


@pytest.mark.parametrize(
    "part", ["(", "{ ", "!", ".", '!"', "\n", "<", "http://", "the ", "a.", "\"'", "@a", "a@b.c", "@a.b"]
)
def test_time_grows_with_length(part: str) -> None:
    text = f"A dog {part * (20_000 // len(part))}x"
    for preset in ("gentle", "opensora"):
        start = process_time()
        Clean(preset=preset, denials=True, guesses=True, unfinished=True, repeats=True).cleaned(text)
        assert process_time() - start < 2


@pytest.mark.parametrize(
    "text",
    [
        "Ein Café in Zürich.",
        "Собака бежит.",
        "一只狗在跑。",
        "कुत्ता दौड़ता है।",
        "كلب يجري؟",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d🚀 flies.",
    ],
)
def test_case_and_scripts_stay(text: str) -> None:
    assert Clean().cleaned(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The video shows a Dog. It\u2019s 一只狗 \u2013 \u201cbig\u201d", 'a dog. it\'s - "big"'),
        ("In the image, A%20Cat+by @joe http://a.org/x <b>IMG_1.jpg</b> 1234567", "a cat by"),
        ("The video shows the video shows", "the video shows"),
        ("The video shows", "the video shows"),
        ("free shipping 10x20 a_b_c_d_e photo image 1.2.3.4", "a b c d e"),
        ("", ""),
    ],
)
def test_the_preset(text: str, left: str) -> None:
    assert cleaned(text, preset="opensora") == left


def test_the_preset_with_sentences() -> None:
    text = "A Dog. It is the only dog. Perhaps old. A Dog. A ca"
    assert cleaned(text, preset="opensora") == text.lower()
    assert cleaned(text, preset="opensora", denials=True, unfinished=True) == "a dog. perhaps old. a dog."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "opensora", "urls": False}, "its own way with urls"),
        ({"into": "text"}, "column and into are both text"),
        ({"into": "has_url"}, "another of its columns"),
        ({"into": "Text"}, "no column name"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Clean.model_validate(fields)


def test_nothing_left_is_null_and_no_text_an_error_of_the_clip() -> None:
    views = [ClipView(str(i), {"text": text}) for i, text in enumerate(["https://a.org", " ", 5])]
    link, blank, number = Clean().process(views)
    assert link == {"text_clean": None, "has_url": True, "clean_steps": ["urls"]}
    assert blank == {"text_clean": None, "has_url": False, "clean_steps": []}
    assert isinstance(number, ClipError)


class Caption(Stage):
    """A stage of the same pass that writes `text`."""

    type: Literal["caption"] = "caption"

    @property
    def writes(self) -> Columns:
        return {"text": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"text": CAPTION} for _ in batch]


@pytest.mark.parametrize(
    ("stages", "table", "rename", "names"),
    [
        ([Clean()], "text", {}, {"text", "text_clean"}),
        ([Caption(), Clean()], None, {}, {"text", "text_clean"}),
        ([Clean(column="text_raw", into="text")], "text_raw", {}, {"text_raw", "text"}),
        (
            [Caption(), Clean(column="text_raw")],
            None,
            {"text": "text_raw", "text_clean": "text"},
            {"text_raw", "text"},
        ),
    ],
)
def test_texts_of_a_table_and_of_a_stage_before_it(
    stages: list[Stage], table: str | None, rename: dict[str, str], names: set[str]
) -> None:
    program = compile_program(
        "p", stages=stages, keep=[], inputs={table: string} if table else {}, input_results={}, rename=rename
    )
    assert {name for name in program.schema if name.startswith("text")} == names

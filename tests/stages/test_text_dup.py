"""Text duplicates: each clip's first twin, whatever the texts are, and however many there are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.said import first_of_text

from shardpipe.core.errors import StageError
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages._copies import Copies
from shardpipe.stages.text_dup import TextDup
from shardpipe.stages.text_hash import TextHash
from shardpipe.testing import check_stage, make_clip, score_clip


def looked(texts: list[Any], **fields: Any) -> list[Any]:
    """(text_dup, text_dup_count) of clips `0`, `1`, ... with these texts, looked through in two parts."""
    stage = TextDup(**fields)
    parts = ({"text": part} for part in (texts[: len(texts) // 2], texts[len(texts) // 2 :]))
    stage.look_through(parts, str)
    views = [ClipView(str(i), {"text": text}, place=i) for i, text in enumerate(texts)]
    results: list[Any] = list(stage.process(views))
    return [each if isinstance(each, ClipError) else tuple(each.values()) for each in results]


def test_contract() -> None:
    results = check_stage(TextDup(into="copy_of"), row={"text": "A dog runs."})
    assert results["landscape"] == {"copy_of": None, "copy_of_count": 0}
    assert results["portrait"] == {"copy_of": "landscape", "copy_of_count": 1}
    assert results["slides"] == {"copy_of": "landscape", "copy_of_count": 5}
    assert results["black"] == {"copy_of": None, "copy_of_count": None}


def test_what_counts_of_a_text() -> None:
    texts = ["A dog runs.", "a  DOG - runs", "A cat", "...", "...", None]
    assert looked(texts) == [(None, 0), ("0", 1), (None, 0), (None, None), (None, None), (None, None)]
    assert [each[1] for each in looked(texts, ignore_marks=False)] == [0, 0, 0, 0, 1, None]
    assert [each[1] for each in looked(["A dog", "a dog!", "A dog."], ignore_case=False)] == [0, 0, 1]


def test_a_value_that_is_no_text_is_an_error_and_does_not_count() -> None:
    first, error, second = looked([5, 5, "5"])[:1] + looked([5, "5", "5"])[:1] + looked([5, "5", "5"])[2:]
    assert isinstance(first, ClipError)
    assert isinstance(error, ClipError)
    assert second == ("1", 1)


def test_one_clip_alone(tmp_path: Any) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    assert score_clip(TextDup(), clip, row={"text": "A dog"}) == {"text_dup": None, "text_dup_count": 0}


def test_what_does_not_fit_is_refused() -> None:
    for fields in ({"into": "text"}, {"column": "text_dup_count"}):
        with pytest.raises(ValidationError, match="a column is written once"):
            TextDup(**fields)
    with pytest.raises(StageError, match="before look_through"):
        TextDup().process([ClipView("a", {"text": "b"}, place=0)])


@given(st.lists(st.none() | st.text(st.characters(), max_size=3), max_size=30))
def test_texts_are_the_same_where_their_hash_is(texts: list[str | None]) -> None:
    hashes: list[Any] = [
        each["text_hash"]  # type: ignore[index]
        for each in TextHash().process([ClipView("a", {"text": text}) for text in texts])
    ]
    keys = [str(i) for i in range(len(texts))]
    expected = first_of_text({"0": keys}, dict(zip(keys, hashes, strict=True)))
    assert looked(texts) == list(expected.values())
    assert looked(hashes) == list(expected.values())  # a column of hashes tells the same


@given(st.lists(st.integers(0, 5), max_size=300))
def test_copies(values: list[int]) -> None:
    copies = Copies(np.array(values, np.uint64))
    for place, value in enumerate(values):
        assert copies.of(place) == (None if value == 0 else (values.index(value), values[:place].count(value)))

"""Text hash: equal for captions that say the same, and for no others."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages.text_hash import TextHash
from shardpipe.testing import check_stage


def hashed(text: Any, **fields: Any) -> Any:
    (result,) = TextHash(**fields).process([ClipView("clip", {"text": text})])
    return result["text_hash"]


def test_contract() -> None:
    results = check_stage(TextHash(into="same"), row={"text": "A dog runs."})
    assert results["landscape"] == {"same": hashed("A dog runs.")}
    assert results["black"] == {"same": None}


def test_it_is_sha256_of_what_counts() -> None:
    assert hashed("Test.") == "9f86d081884c7d65"  # printf test | sha256sum


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A dog runs.", " a  DOG - runs"),
        ("Straße", "STRASSE"),
        ("ＡＢＣ　１２３", "abc123"),
        ("cafe\u0301", "café"),
        ("花が咲く。", "花が、咲く"),
        ("می\u200cخواهم", "میخواهم"),
        ("dog 🐶", "dog"),
    ],
)
def test_equal_texts(one: str, other: str) -> None:
    assert hashed(one) == hashed(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a dog", "a dot"), ("कि", "की"), ("cafe", "café"), ("1", "2"), ("花", "鼻")]
)
def test_different_texts(one: str, other: str) -> None:
    assert hashed(one) != hashed(other)


def test_fields() -> None:
    assert (
        hashed("A dog", ignore_case=False) != hashed("a dog", ignore_case=False) == hashed("a  dog.", ignore_case=False)
    )
    assert (
        hashed("a dog.", ignore_marks=False)
        != hashed("a dog", ignore_marks=False)
        == hashed(" A Dog", ignore_marks=False)
    )


@pytest.mark.parametrize("text", [None, "", " ", "...", "🐶"])
def test_nothing_is_null(text: str | None) -> None:
    assert hashed(text) is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="column and into are both text"):
        TextHash(into="text")
    assert isinstance(TextHash().process([ClipView("clip", {"text": 5})])[0], ClipError)


@given(st.text(st.characters()), st.booleans(), st.booleans())
def test_any_text(text: str, case: bool, marks: bool) -> None:  # noqa: FBT001
    found = hashed(text, ignore_case=case, ignore_marks=marks)
    assert found is None or re.fullmatch("[0-9a-f]{16}", found)
    if max(text, default="") < "\ud800":
        assert hashed(unicodedata.normalize("NFD", text)) == hashed(text) == hashed(f"\u201c{text}!\u201d")

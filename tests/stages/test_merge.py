"""Merge: which captions of a clip become one, in what order, and by what lot."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shardpipe.core.stage import ClipError, ClipView, Stage
from shardpipe.engine.passes.program import compile_program
from shardpipe.stages.camera_motion import CameraMotion
from shardpipe.stages.describe import Describe
from shardpipe.stages.merge import Merge
from shardpipe.testing import check_stage


def merged(row: dict[str, Any], key: str = "clip", **fields: Any) -> Any:
    (result,) = Merge(columns=list(row), **fields).process([ClipView(key, row)])
    return result


@pytest.mark.parametrize("how", ["first", "join", "mix"])
def test_contract(how: str) -> None:
    stage = {"type": "merge", "columns": ["a", "b"], "how": how}
    results = check_stage(stage, row={"a": "A dog.", "b": None})
    assert results["landscape"] == {"text": "A dog.", "text_from": ["a"]}
    assert results["black"] == {"text": None, "text_from": []}


def test_first() -> None:
    assert merged({"a": None, "b": " \n", "c": " A cat. ", "d": "A dog."}) == {"text": "A cat.", "text_from": ["c"]}


@pytest.mark.parametrize(
    ("texts", "joined", "of"),
    [
        (["A dog.", None, "It runs."], "A dog. It runs.", "ac"),
        (["A dog.", "a  DOG!"], "A dog.", "a"),
        (["A dog.", "A dog. It runs.", "It runs"], "A dog. It runs.", "b"),
        (["A dog runs", "dog run"], "A dog runs dog run", "ab"),
        (["一只狗在跑。", "狗在跑", "猫"], "一只狗在跑。 猫", "ac"),
        (["कि", "की"], "कि की", "ab"),
        (["...", "A dog.", "?"], "A dog.", "b"),
        (["...", "?"], "...", "a"),
        ([None, ""], None, ""),
    ],
)
def test_join(texts: list[str | None], joined: str | None, of: str) -> None:
    assert merged(dict(zip("abc", texts, strict=False)), how="join") == {"text": joined, "text_from": list(of)}


def test_the_separator() -> None:
    assert merged({"a": "A dog.", "b": "A cat."}, how="join", separator="\n\n")["text"] == "A dog.\n\nA cat."


def drawn(columns: str, **fields: Any) -> Counter[str]:
    return Counter(merged({name: name for name in columns}, f"k{i}", how="mix", **fields)["text"] for i in range(4000))


def test_mix_is_drawn_by_weight() -> None:
    assert drawn("ab")["a"] == pytest.approx(2000, abs=150)  # over four standard deviations
    counts = drawn("abc", weights=[1, 2, 5])
    assert [counts[name] for name in "abc"] == pytest.approx([500, 1000, 2500], abs=130)


def test_mix_is_the_keys_and_the_seeds() -> None:
    row = {"a": "A", "b": "B", "c": "C"}
    texts = [merged(row, f"k{i}", how="mix")["text"] for i in range(50)]
    assert texts == [merged(dict(reversed(row.items())), f"k{i}", how="mix")["text"] for i in range(50)]
    assert texts != [merged(row, f"k{i}", how="mix", seed=1)["text"] for i in range(50)]
    for i, text in enumerate(texts):  # one that was not chosen goes without a change
        gone = next(name for name in row if row[name] != text)
        assert merged(row | {gone: None}, f"k{i}", how="mix")["text"] == text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": ["a"]}, "at least 2 items"),
        ({"columns": ["a", "a"]}, "named twice"),
        ({"columns": ["text", "a"]}, "text is one of its columns"),
        ({"columns": ["a", "x_from"], "into": "x"}, "x_from is one of its columns"),
        ({"columns": ["a", "b"], "separator": "-"}, "how first takes no separator: leave it out, or use how: join"),
        ({"columns": ["a", "b"], "how": "join", "weights": [1, 2]}, "takes no weights"),
        ({"columns": ["a", "b"], "how": "mix", "weights": [1]}, "for each of columns"),
        ({"columns": ["a", "b"], "how": "mix", "weights": [1, 0]}, "above 0"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Merge.model_validate(fields)


def test_no_text_is_an_error_of_the_clip() -> None:
    (result,) = Merge(columns=["a", "b"]).process([ClipView("clip", {"a": "A dog.", "b": 5})])
    assert isinstance(result, ClipError)
    assert "column b holds 5" in result.message


def test_the_description_may_be_one() -> None:
    fields = {name: None for name in Describe.model_fields if name not in ("type", "on_error", "camera")}
    stages: list[Stage] = [
        CameraMotion(),
        Describe.model_validate(fields),
        Merge(columns=["caption", "description"], how="join"),
    ]
    program = compile_program(
        "p",
        stages=stages,
        keep=[],
        inputs={"caption": Merge(columns=["a", "b"]).writes["text"]},
        input_results={},
        rename={},
    )
    assert {"text", "text_from", "description"} <= set(program.schema)


@given(
    st.lists(st.none() | st.text(st.characters()), min_size=2, max_size=4), st.sampled_from(["first", "join", "mix"])
)
@settings(deadline=None)
def test_any_texts(texts: list[str | None], how: Any) -> None:
    row = dict(zip("abcd", texts, strict=False))
    result = merged(row, how=how)
    assert (result["text"] is None) == (not any(text and text.strip() for text in texts))
    assert result["text_from"] == sorted(result["text_from"])
    if result["text"] is not None:
        assert result["text"] == " ".join((row[name] or "").strip() for name in result["text_from"])

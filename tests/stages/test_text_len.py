"""Text length: words of every script, and tokens of a tokenizer's file as the model gets them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpipe.core.errors import ConfigError
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.stages.text_len import TextLen, num_words
from shardpipe.testing import check_stage


def tokenizer_file(folder: Path) -> str:
    """A tokenizer of five words that ends each text with one of its own, cuts at three and pads to eight."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "dog": 3, "</s>": 4}, "<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 4)])
    made.enable_truncation(3)
    made.enable_padding(length=8)
    made.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def counted(stage: TextLen, text: Any) -> Any:
    stage.setup("cpu")
    (result,) = stage.process([ClipView("clip", {"text": text})])
    return result


def test_contract() -> None:
    results = check_stage(TextLen(), row={"text": "A dog runs."})
    assert results["landscape"] == {"text_len": 3}
    assert results["black"] == {"text_len": None}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        (" ... - !", 0),
        ("A close-up of Tom's 3.5 m boat, slowly.", 8),
        ("Собака бежит", 2),
        ("कुत्ता दौड़ता है।", 3),
        ("一只狗 runs在", 5),
        ("犬が走る。", 4),
        ("café naïve", 2),
    ],
)
def test_words(text: str, number: int) -> None:
    assert num_words(text) == number
    assert counted(TextLen(), text) == {"text_len": number}


@given(st.text())
def test_any_text_has_no_more_words_than_characters(text: str) -> None:
    assert 0 <= num_words(text) <= len(text)


def test_tokens_with_those_at_the_ends_and_nothing_cut_or_padded(tmp_path: Path) -> None:
    stage = TextLen(tokenizer=tokenizer_file(tmp_path))
    assert [weights.role for weights in stage.loads] == ["tokenizer"]
    assert not stage.uses_device
    assert counted(stage, "a dog") == {"text_len": 3}
    assert counted(stage, "a dog and a big dog on a hill") == {"text_len": 10}
    assert counted(stage, " ") == {"text_len": 0}
    assert check_stage(TextLen(tokenizer=stage.tokenizer), row={"text": "a dog"})["landscape"] == {"text_len": 3}


def test_a_file_that_is_no_tokenizer_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"t\.json is no tokenizer that can be read"):
        TextLen(tokenizer=str(tmp_path / "t.json")).setup("cpu")


def test_a_column_that_is_no_text_is_an_error_of_the_clip() -> None:
    assert isinstance(counted(TextLen(), 5), ClipError)

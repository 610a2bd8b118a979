"""Special tokens in texts of strangers."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from shardpipe.models.generate.special_tokens import SpecialTokens

NAMES = ["<|im_end|>", "<|im|>", "</s>", "[INST]"]
ADDED = {3: SimpleNamespace(content="[INST]", special=True), 4: SimpleNamespace(content="<think>", special=False)}
TOKENS = SpecialTokens(SimpleNamespace(all_special_tokens=NAMES[:3], added_tokens_decoder=ADDED))
PIECES = st.sampled_from([*NAMES, *(name[:4] for name in NAMES), *(name[4:] for name in NAMES)])


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_no_text_keeps_one(text: str) -> None:
    cleaned = TOKENS.taken_out(text)
    assert not [name for name in NAMES if name in cleaned]
    if not [name for name in NAMES if name in text]:
        assert cleaned == text


def test_what_their_parts_would_make_goes_too() -> None:
    assert TOKENS.taken_out("a<|im_<|im_end|>end|>b <think> [INST]c") == "ab <think> c"

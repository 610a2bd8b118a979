"""Word by word differences of two texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpipe.engine.views.textdiff import MAX_PAIRS, Marked, marked


def changed(parts: Marked) -> list[str]:
    return [text.strip() for text, differs in parts if differs]


@pytest.mark.parametrize(
    ("a", "b", "only_a", "only_b"),
    [
        ("a red dog runs.", "a big red cat runs.", ["dog"], ["big", "cat"]),
        ("a  dog\nruns", "a dog runs", [], []),
        ("a dog runs", "a dog runs!", [], ["!"]),
        ("", "a dog", [], ["a dog"]),
        ("一只红狗", "一只黑狗", ["红"], ["黑"]),
        ("Dog", "dog", ["Dog"], ["dog"]),
    ],
)
def test_words(a: str, b: str, only_a: list[str], only_b: list[str]) -> None:
    one, other = marked(a, b)
    assert (changed(one), changed(other)) == (only_a, only_b)


@given(st.text(), st.text())
def test_texts_stay_whole_and_what_is_not_marked_is_equal(a: str, b: str) -> None:
    one, other = marked(a, b)
    assert "".join(text for text, _ in one) == a
    assert "".join(text for text, _ in other) == b
    kept = ["".join("".join(text for text, differs in side if not differs).split()) for side in (one, other)]
    assert kept[0] == kept[1]
    assert not changed(marked(a, a)[0])


def test_long_texts_take_no_time() -> None:
    num = int(MAX_PAIRS**0.5) * 3
    started = time.monotonic()
    one, other = marked("same " + "a " * num + "end", "same " + "b " * num + "end")
    assert time.monotonic() - started < 5
    assert len(changed(one)) == len(changed(other)) == 1
    assert other[-1] == (" end", False)

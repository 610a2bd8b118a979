"""Samples and counts of captions of one pass and of two."""

import hashlib
from typing import Any

import pytest
from support.tiny_dataset import Row, keys_of, make_clips, make_pass

from shardpipe.core.columns import bool_, int64, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.passes.rules import Rule
from shardpipe.engine.views.captions import Comparison, choose_sides, compare, one_clip
from shardpipe.storage.store import Store, open_store

TEXT = {"text": string, "text_truncated": bool_, "text_finish": string, "text_tokens": int64}


def number(row: Row) -> int:
    unit, _, clip = row["key"].removeprefix("v").partition("_")
    return 10 * int(unit) + int(clip)


def long_captions(row: Row) -> Row:
    """Clips 0 to 2 of each unit have none: one dropped, one refused, one empty."""
    n = number(row)
    if n % 10 < 3:
        return [{"dropped_by": "aes > 4"}, {"text_finish": "refused"}, {"text_finish": "empty"}][n % 10]
    return {
        "text": f"a red dog runs over hill {n}",
        "text_finish": "stop",
        "text_tokens": 7,
        "text_truncated": n % 10 == 9,
    }


def short_captions(row: Row) -> Row:
    n = number(row)
    return {"text": None if n % 10 == 9 else "a dog" if n % 2 else f"a red dog runs over hill {n}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(str(tmp_path_factory.mktemp("root")))
    make_clips(store, keys_of(3, 10))
    make_pass(store, "long", columns=TEXT, score=long_captions, unit_clips=4)
    make_pass(store, "short", columns={"text": string}, score=short_captions, skip=["000002"])
    make_pass(
        store, "cleaned", over="long", columns={"text_clean": string}, score=lambda row: {"text_clean": row["text"]}
    )
    return store


def found(
    store: Store, a: str | None = "long", b: str | None = None, column: str = "text", **options: Any
) -> Comparison:
    sides = choose_sides(store, a, b, column, options.pop("against_column", None))
    return compare(sides, **{"num": 5, "seed": 0, **options})


def test_what_is_counted(store: Store) -> None:
    one, other = found(store, b="short").totals
    assert (one.num_units_done, one.num_units) == (3, 3)
    assert (one.num_clips, one.num_texts, one.num_truncated) == (27, 21, 3)
    assert one.finishes == {"empty": 3, "refused": 3, "stop": 21}
    assert one.mean_words == 7
    assert (other.num_units_done, other.num_units, other.num_truncated, other.finishes) == (2, 3, None, None)
    assert (other.num_clips, other.num_texts) == (20, 18)
    assert other.mean_words == (8 * 2 + 10 * 7) / 18


def test_two_sides(store: Store) -> None:
    pairs = found(store, b="short").pairs
    assert pairs is not None
    assert (pairs.num_both, pairs.num_only_a, pairs.num_only_b, pairs.num_equal) == (12, 9, 6, 6)
    cleaned = found(store, a="cleaned", against_column="text_clean").pairs
    assert cleaned is not None
    assert (cleaned.num_both, cleaned.num_only_a, cleaned.num_equal) == (21, 0, 21)


def test_the_sample_follows_from_seed_and_keys_alone(store: Store) -> None:
    def place(key: str, seed: int) -> bytes:
        return hashlib.sha256(f"{seed} {key}".encode()).digest()[:8]

    keys = [key for keys in keys_of(3, 10).values() for key in keys if int(key[-1]) > 2]
    for seed in (0, 1):
        sampled = [each.key for each in found(store, seed=seed).samples]
        assert sampled == sorted(keys, key=lambda key: place(key, seed))[:5]
    both = [key for key in keys if key[-1] != "9" and key[1] != "2"]
    samples = found(store, b="short", num=100).samples
    assert [each.key for each in samples] == sorted(both, key=lambda key: place(key, 0))
    for sample in samples:
        n = number({"key": sample.key})
        assert [each.text for each in sample.captions] == [
            long_captions({"key": sample.key})["text"],
            short_captions({"key": sample.key})["text"],
        ]
        assert sample.captions[0].details == {"text_truncated": n % 10 == 9, "text_finish": "stop", "text_tokens": 7}
    assert found(store, num=0).samples == ()


def test_a_rule_is_about_the_rows_of_the_first(store: Store) -> None:
    rule = Rule("text LIKE '%hill 1%' AND kept")
    picked = found(store, b="short", where=rule, num=100)
    assert {each.key for each in picked.samples} == {f"v1_{clip:08d}" for clip in range(3, 9)}
    assert picked.totals[1].num_clips == picked.totals[0].num_clips == 7
    with pytest.raises(ConfigError, match="nothing"):
        found(store, where=Rule("nothing > 1"))


def test_without_names(store: Store) -> None:
    assert [side.dataset.name for side in choose_sides(store, None, None, "text", None)] == ["long", "short"]
    assert [side.dataset.name for side in choose_sides(store, None, None, "text_clean", None)] == ["cleaned"]
    assert [side.dataset.name for side in choose_sides(store, None, None, "video_id", None)] == ["clips"]


def test_one_clip(store: Store) -> None:
    sides = choose_sides(store, "long", "short", "text", None)
    assert one_clip(sides, "v0_00000001").captions[0].text is None
    assert one_clip(sides, "v2_00000004").captions[1].text is None
    with pytest.raises(ConfigError, match="long and short has no clip 'nobody'"):
        one_clip(sides, "nobody")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody", None, "text"), "nobody is no Dataset"),
        (("long", "clips", "text"), "clips has no column 'text'; of texts there are: key, path"),
        (("long", None, "text_tokens"), "long has no column of texts 'text_tokens'"),
        ((None, "long", "text"), "needs --pass"),
        ((None, None, "txt"), "has no column 'txt'"),
    ],
)
def test_what_is_refused(store: Store, words: tuple[str | None, str | None, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_sides(store, *words, None)


def test_other_bases_are_joined_by_key(store: Store) -> None:
    """As before and after an emit: nothing of the units need be the same."""
    other = open_store("memory://captions-of-other-units")
    keys = [key for keys in keys_of(3, 10).values() for key in keys]
    make_clips(other, {"000000": keys[::-1]})
    make_pass(other, "short", columns={"text": string}, score=short_captions)
    sides = (*choose_sides(store, "short", None, "text", None), *choose_sides(other, "short", None, "text", None))
    pairs = compare(sides, num=3, seed=0).pairs
    assert pairs is not None
    assert (pairs.num_both, pairs.num_equal, pairs.num_only_b) == (18, 18, 9)

"""Duplicates over random Datasets, by the real engine: what a plain dict over all clips that reach the stage finds."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import rows_of, run_inline
from support.said import Said, first_of_text, passes_config
from support.tiny_dataset import make_clips

from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.report import status
from shardpipe.stages.text_dup import TextDup
from shardpipe.storage.store import open_store

clips = st.tuples(st.sampled_from(["a", "b", "c", None]), st.none() | st.integers(0, 9), st.booleans())
datasets = st.lists(st.lists(clips, max_size=5), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(datasets, st.sampled_from([None, 1, 2]), st.sampled_from([None, 2]), st.booleans())
def test_it_is_what_a_dict_finds(
    made: Sequence[Sequence[tuple[str | None, int | None, bool]]], size: int | None, own_size: int | None, two: Any
) -> None:
    units = {f"{u:06d}": [f"{'bad' if bad else 'v'}{u}_{i:08d}" for i, (*_, bad) in enumerate(unit)] for u, unit in enumerate(made)}  # fmt: skip
    all_keys = [key for keys in units.values() for key in keys]
    facts = dict(zip(all_keys, (each for unit in made for each in unit), strict=True))
    texts = {key: text for key, (text, *_) in facts.items()}
    scores = {key: score for key, (_, score, _) in facts.items()}
    with tempfile.TemporaryDirectory() as root:
        store = open_store(root)
        make_clips(store, units)
        score = {
            "name": "score",
            "stages": [Said(texts=texts, scores=scores)],
            "keep": ["aes <> 3"],
            "unit_clips": size,
        }
        other = {"name": "other", "stages": [], "keep": ["key <> 'v0_00000000'"]}
        dup = {
            "name": "dup",
            "from": ["score", "other"] if two else "score",
            "keep": ["text_dup IS NULL", "AES >= 2"],
            "stages": [TextDup(), TextDup(column="key", into="own")],
            "unit_clips": own_size,
        }
        assert not run_inline(passes_config(root, score, *([other] if two else []), dup)).pending
        counted = {unit: [key for key in keys if _reaches(key, scores, two=two)] for unit, keys in units.items()}
        expected = first_of_text(counted, texts)
        rows = rows_of(store, "dup")
        assert {
            key: (row["text_dup"], row["text_dup_count"]) for key, row in rows.items() if key in expected
        } == expected
        assert {(row["own"], row["own_count"]) for key, row in rows.items() if key in expected} <= {(None, 0)}
        assert {key for key, row in rows.items() if row["kept"]} == {
            key for key in expected if expected[key][0] is None
        }
        assert status(store, only=["dup"]).passes[-1].complete
        assert verify(root).problems == ()


def _reaches(key: str, scores: Mapping[str, int | None], *, two: bool) -> bool:
    """Whether a clip is cut, and passes `aes <> 3` of `score` and `AES >= 2` of the pass itself."""
    score = scores[key]
    return (
        not key.startswith("bad")
        and score is not None
        and score >= 2
        and score != 3
        and not (two and key == "v0_00000000")
    )

"""A new threshold is cheap: no model runs on a clip whose result is there, and what is kept does not depend on batches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS, Blob, Scored, Worded
from support.runs import calls, make_config, rows_of, run_inline, snapshot

from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store, open_store

SCORE = {"name": "score", "stages": [Scored(frames_wanted=True)]}


def worded(name: str, keep: str, **options: Any) -> Mapping[str, Any]:
    return {"name": name, "from": "score", "keep": [keep], "stages": [Worded(), Blob()], **options}


def run(root: Path, videos: Path, *passes: Mapping[str, Any], **options: Any) -> Store:
    CALLS.clear()
    report = run_inline(make_config(root, videos, passes), **options)
    assert not report.pending
    return open_store(str(root))


def kept(store: Store, name: str) -> set[str]:
    return {key for key, row in rows_of(store, name).items() if row["kept"]}


def test_a_threshold_in_a_pass_without_stages(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    strict = {"name": "train", "from": "score", "keep": ["score < 1"], "emit": "shards"}
    loose = {**strict, "name": "train2", "keep": ["score < 2"]}
    store = run(root, videos, SCORE, strict)
    assert len(calls("scored")) == 5
    assert len(kept(store, "train")) == 2
    run(root, videos, SCORE, strict, loose)
    assert CALLS == []
    assert len(kept(store, "train2")) == 4


def test_reuse_calls_models_only_for_newly_admitted_clips(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = worded("words", "score < 1")
    looser = worded("words2", "score < 2", reuse=["words"])
    tighter = worded("words3", "score < 0.5", reuse=["words2"])
    store = run(root, videos, SCORE, first)
    assert len(calls("worded")) == len(calls("blob")) == 2
    run(root, videos, SCORE, first, looser)
    new = kept(store, "words2") - kept(store, "words")
    assert len(new) == 2
    assert set(calls("worded")) == set(calls("blob")) == new
    assert calls("scored") == []
    run(root, videos, SCORE, first, looser, tighter)
    assert CALLS == []
    apart = run(tmp_path / "apart", videos, SCORE, {**looser, "reuse": []})
    mine, theirs = rows_of(store, "words2"), rows_of(apart, "words2")
    for key, row in mine.items():
        assert {**row, "members": None} == {**theirs[key], "members": None}
        for ext, place in row["members"].items():
            assert store.read_range(*place[:3]) == f"blob of {key}".encode() * 40
            assert ext == "npy"


def test_reuse_of_a_stage_that_looks_at_frames(videos: Path, tmp_path: Path) -> None:
    """Clips whose results are taken over are not decoded either."""
    root = tmp_path / "root"
    run(root, videos, {**SCORE, "keep": ["start_s < 1"]})
    again = {**SCORE, "name": "score2", "reuse": ["score"]}
    store = run(root, videos, {**SCORE, "keep": ["start_s < 1"]}, again)
    assert set(calls("scored")) == kept(store, "score2") - kept(store, "score")
    other = {**SCORE, "name": "score3", "stages": [Scored(frames_wanted=True, column="other")], "reuse": ["score"]}
    run(root, videos, {**SCORE, "keep": ["start_s < 1"]}, again, other)
    assert len(calls("scored")) == 5  # other fields are another result


def test_reuse_takes_nothing_from_rows_of_other_clips(videos: Path, tmp_path: Path) -> None:
    """An unfinished old pass gives what it has; a stage that failed is run again."""
    root = tmp_path / "root"
    store = run(root, videos, SCORE, worded("words", "score < 1"))
    store.delete("words/rows/000001.parquet")
    run(
        root, videos, SCORE, worded("words", "score < 1"), worded("words2", "score < 1", reuse=["words"]), only="words2"
    )
    assert len(calls("worded")) == 1


PASSES: Sequence[Mapping[str, Any]] = (
    {"name": "score", "stages": [Scored(frames_wanted=True), Blob()], "keep": ["score < 2", "blob_bytes > 3"]},
    {"name": "train", "from": "score", "keep": ["score * 2 < duration_s * 3"], "emit": "shards"},
)


def batched(size: int) -> list[Mapping[str, Any]]:
    return [{**each, "batch_clips": size} for each in PASSES]


def without_config(store: Store) -> dict[str, bytes]:
    return {path: data for path, data in snapshot(store).items() if not path.endswith("dataset.json")}


def test_batches_change_nothing(videos: Path, tmp_path: Path) -> None:
    found = [snapshot(run(tmp_path / str(size), videos, *batched(size))) for size in (1, 7, 500)]
    assert found[0] == found[1] == found[2]
    assert any(path.startswith("train/shards") for path in found[0])


@pytest.mark.parametrize("unit_clips", [1, 2])
def test_slices_change_nothing_but_names(videos: Path, tmp_path: Path, unit_clips: int) -> None:
    whole = run(tmp_path / "whole", videos, *PASSES)
    sliced = run(tmp_path / "sliced", videos, {**PASSES[0], "unit_clips": unit_clips}, PASSES[1])
    assert len(sliced.list("score/rows")) > len(whole.list("score/rows"))
    tars = {path: data for path, data in snapshot(whole).items() if path.startswith("train/shards")}
    assert tars == {path: data for path, data in snapshot(sliced).items() if path.startswith("train/shards")}


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "decoders"), [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_workers_change_nothing(videos: Path, tmp_path: Path, workers: int, decoders: int) -> None:
    inline = run(tmp_path / "inline", videos, *PASSES)
    config = make_config(
        tmp_path / "local", videos, PASSES, execute={"type": "local", "workers": workers, "decoders": decoders}
    )
    assert not run_config(config).pending
    assert snapshot(open_store(config.root)) == snapshot(inline)

"""`retry`: only what failed is done again, as a new generation of its unit's rows; what follows from it is redone after."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_clips, check_train
from support.fakes import CALLS, Blob, Broken, Scored
from support.places import LOCAL_FIRST, ON_ALL, Place
from support.runs import calls, make_config, rows_of, run_inline, snapshot

from shardpipe.core.errors import ConfigError
from shardpipe.engine.cutting import cut as cutting
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.report import status
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.retry import retry_root
from shardpipe.storage.crashing import HookedStore
from shardpipe.storage.rows import decode_rows, decode_table, encode_rows, table_columns
from shardpipe.storage.store import Store, open_store

SCORE = {"name": "score", "stages": [Blob(), Broken(), Scored()], "max_failed": 1.0, "rename": {"fine": "all_fine"}}
MORE = {"name": "more", "from": "score", "stages": [Scored(column="more")], "unit_clips": 2}
TRAIN = {"name": "train", "from": "more", "emit": {"members": ["json", "mp4", "npy"]}}


@pytest.fixture(autouse=True)
def _stages_and_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of tests have no entry point, and processes cost time."""
    types = {"blob": Blob, "broken": Broken, "scored": Scored}
    monkeypatch.setattr(retrying, "stage_class", types.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))


@pytest.fixture
def healed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_HEALED", raising=False)


def run(root: str, videos: Path, *passes: Mapping[str, Any]) -> Store:
    CALLS.clear()
    report = run_inline(make_config(root, videos, passes))
    assert not report.pending
    return open_store(root)


@LOCAL_FIRST
@pytest.mark.usefixtures("healed")
def test_only_failed_clips_are_scored_again(videos: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    root = place.root()
    store = run(root, videos, SCORE, MORE)
    failed = {key for key, row in rows_of(store, "score").items() if row["error"]}
    assert len(failed) == 2
    before = snapshot(store)
    CALLS.clear()
    report = retry_root(root)  # the cause is still there
    assert report.passes == ("score",)
    assert {key for _, key in CALLS} == failed
    assert {key for key, row in rows_of(store, "score").items() if row["error"]} == failed
    monkeypatch.setenv("FAKE_HEALED", "1")
    CALLS.clear()
    assert retry_root(root).passes == ("score",)
    assert set(calls("blob")) == set(calls("broken")) == set(calls("scored")) == failed
    rows = rows_of(store, "score")
    for key, row in rows.items():
        assert row["kept"]
        assert row["error"] is None
        assert row["all_fine"] == 1
        assert store.read_range(*row["members"]["npy"][:3]) == f"blob of {key}".encode() * 40
    assert {path: data for path, data in snapshot(store).items() if path in before} == before
    assert sorted(path for path in store.list("score/rows") if path.startswith("score/rows/000000")) == [
        "score/rows/000000.1.parquet",
        "score/rows/000000.2.parquet",
        "score/rows/000000.parquet",
    ]
    CALLS.clear()
    assert retry_root(root).passes == ()
    assert CALLS == []


@LOCAL_FIRST
@pytest.mark.usefixtures("healed")
def test_what_follows_is_redone(videos: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    root = place.root()
    store = run(root, videos, SCORE, MORE)
    monkeypatch.setenv("FAKE_HEALED", "1")
    retry_root(root)
    waiting = run_inline(make_config(root, videos, [SCORE, MORE]), only="score")
    assert not waiting.failed_units
    run(root, videos, SCORE, MORE, TRAIN)
    assert len(calls()) == 5  # all clips of the units that changed, once
    assert all(row["more"] is not None for row in rows_of(store, "train").values())
    check_train(store)
    apart = run(place.root(), videos, SCORE, MORE, TRAIN)
    tars = [path for path in store.list("train/shards") if path.endswith(".tar")]
    assert tars
    assert [store.read(path) for path in tars] == [apart.read(path) for path in tars]


@LOCAL_FIRST
@pytest.mark.usefixtures("healed")
def test_a_pass_started_over_rows_that_are_to_be_redone_waits(
    videos: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place.root()
    store = run(root, videos, SCORE, MORE)
    monkeypatch.setenv("FAKE_HEALED", "1")
    retry_root(root)
    report = run_inline(make_config(root, videos, [SCORE, MORE, TRAIN]), only="train")
    assert not report.failed_units
    assert "train" in report.pending
    assert not store.list("train/rows")


@ON_ALL
@pytest.mark.usefixtures("healed")
def test_rows_of_a_zombie_are_not_taken_for_done(videos: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that began before the retry commits just before ours, under the same name: the run says so, the next mends it."""
    root = place.root()
    store = run(root, videos, SCORE, {**MORE, "unit_clips": None})
    old, meta = decode_rows(store.read("more/rows/000000.parquet"))
    zombie = encode_rows(table_columns(old.schema), old.to_pylist(), replace(meta, generation=1))
    monkeypatch.setenv("FAKE_HEALED", "1")
    retry_root(root)
    config = make_config(root, videos, [SCORE, {**MORE, "unit_clips": None}])

    def commit(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "more/rows/000000.1.parquet"):
            store.create(path, zombie)

    report = run_inline(config, HookedStore(store, commit))
    assert "more" in report.pending
    assert list(report.failed_units) == ["more/000000"]
    assert "since replaced by a newer generation. Run again" in report.failed_units["more/000000"]
    assert not run_inline(config).pending
    assert store.size("more/rows/000000.2.parquet")
    assert all(row["more"] is not None for row in rows_of(store, "more").values())


@LOCAL_FIRST
@pytest.mark.usefixtures("healed")
def test_a_retry_is_refused_once_a_plan_exists(videos: Path, place: Place) -> None:
    root = place.root()
    store = run(root, videos, SCORE, MORE, TRAIN)
    before = snapshot(store)
    CALLS.clear()
    with pytest.raises(ConfigError, match="shards of train are planned from its rows"):
        retry_root(root)
    assert CALLS == []
    assert snapshot(store) == before


@LOCAL_FIRST
@pytest.mark.usefixtures("healed")
def test_what_a_plan_names_counts_where_a_retry_races_with_it(
    videos: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is made from the rows that the retry is about to follow up: shards, later passes and `verify` go by it."""
    root = place.root()
    train = {**TRAIN, "from": "score"}
    late = {"name": "late", "from": "train", "stages": [Scored(column="late")]}
    run(root, videos, SCORE)
    store = open_store(root)

    def retry(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "train/plan/0000.parquet"):
            monkeypatch.setenv("FAKE_HEALED", "1")
            assert retry_root(root).passes == ("score",)

    config = make_config(root, videos, [SCORE, train, late])
    report = run_inline(config, HookedStore(store, retry))
    assert not report.pending
    assert not report.failed_units
    emitted = [row["key"] for row in decode_table(store.read("train/index.parquet"))[0].to_pylist()]
    assert sorted(emitted) == sorted(rows_of(store, "late"))
    assert len(emitted) == 3 < len([row for row in rows_of(store, "score").values() if row["kept"]]) == 5
    ended = status(store, only=["train"]).passes[0]
    assert (ended.complete, ended.num_kept) == (True, 3)
    assert ended.num_units_done == ended.num_units
    before = snapshot(store)
    CALLS.clear()
    assert not run_inline(config).pending
    assert CALLS == []
    assert snapshot(store) == before
    found = verify(root)
    assert found.problems == ()
    assert "train/plan/0000.parquet was made before score/rows/000000.1.parquet" in found.notes[0]
    store.delete("score/rows/000000.parquet")
    assert verify(root).problems


@LOCAL_FIRST
def test_a_video_that_could_not_be_cut(
    videos: Path, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unit's other clips are copied as they are into the new tar."""
    own = Path(shutil.copytree(videos, tmp_path / "own"))
    both = tmp_path / "list.txt"
    both.write_text(f"{own}/v0.mp4\n{own}/v1.mp4\n", encoding="utf-8")
    away = tmp_path / "away.mp4"
    config = make_config(place.root(), both, [{"name": "score", "stages": [Scored()]}])
    monkeypatch.setattr("shardpipe.engine.sources.cutplan.MIN_UNITS", 1)  # both in one unit
    real = cutting.open_source

    def failing(part: Mapping[str, Any], *rest: Any) -> Any:
        if part["url"].endswith("v1.mp4") and away.exists():
            raise OSError("the disk is away")
        return real(part, *rest)

    monkeypatch.setattr(cutting, "open_source", failing)
    away.touch()
    assert not run_inline(config).pending
    store = open_store(config.root)
    first = check_clips(store)
    assert [row["error"] for row in first.values()].count("the disk is away") == 1
    away.unlink()
    cut: list[str] = []
    real_cut = cutting.cut_part

    def counting(media: Any, url: str, *rest: Any) -> Iterator[Any]:
        cut.append(Path(url).name)
        return real_cut(media, url, *rest)

    monkeypatch.setattr(cutting, "cut_part", counting)
    assert retry_root(config.root).passes == ("clips",)
    assert cut == ["v1.mp4"]
    rows = check_clips(store)
    assert len(rows) == 5
    assert all(row["kept"] for row in rows.values())
    for key, row in first.items():
        if row["error"] is None:
            assert rows[key]["sha256"] == row["sha256"]
    assert decode_rows(store.read("clips/rows/000000.1.parquet"))[1].generation == 1
    CALLS.clear()
    assert not run_inline(config).pending
    assert len(calls()) == 5
    assert len(rows_of(store, "score")) == 5

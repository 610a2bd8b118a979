"""Whole videos that are removed before or after they were cut, and retries beside removed clips."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Blob, Broken
from support.removal import check_gone, media_of
from support.runs import make_config, rows_of, run_inline

from shardpipe.config.models import Config
from shardpipe.core.errors import MediaError
from shardpipe.core.work import Silent, UnitJob
from shardpipe.engine.cutting import cut as cutting
from shardpipe.engine.known import Known
from shardpipe.engine.units import failed_share, failed_units
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.report import status
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.remove import remove_root
from shardpipe.executors.retry import _task, retry_root
from shardpipe.storage.crashing import HookedStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.store import Store, open_store

PASSES: list[dict[str, Any]] = [
    {"name": "more", "stages": [Blob()]},
    {"name": "train", "from": "more", "keep": ["blob_bytes > 0"], "emit": "shards"},
]


def states(config: Config, name: str = "clips") -> set[tuple[str, bool, str | None, str | None]]:
    rows = rows_of(open_store(config.root), name).values()
    return {(row["source"][-6:], row["kept"], row["dropped_by"], row["error"]) for row in rows}


def retry_here(store: Store, name: str) -> dict[str, str]:
    """As `retry_root` retries one Dataset, in this process; the errors of units."""
    task = _task(store, Dataset.open(store, name))
    jobs = [UnitJob(unit, generation=number, retry=True) for unit, number in failed_units(Known(store), name)]
    assert jobs
    outcomes = list(InlineExecutor(store).run(task, jobs, Silent()))
    return {outcome.unit: outcome.error for outcome in outcomes if outcome.error is not None}


def problems(config: Config) -> list[str]:
    return [str(problem) for problem in verify(config.root).problems]


@pytest.mark.parametrize("how", ["as it is written", "by another name of its place"])
def test_a_video_that_is_removed_before_it_was_cut_is_not_opened(videos: Path, tmp_path: Path, how: str) -> None:
    config = make_config(tmp_path / "root", videos, PASSES)
    store = open_store(config.root)
    url = f"{videos}/v0.mp4" if how == "as it is written" else f"file://{videos}/../{videos.name}/v0.mp4"
    Removed(store).append([Entry(None, url)])
    report = run_inline(config)
    assert (report.pending, report.failed_units) == ({}, {})
    assert states(config) == {("v0.mp4", False, "removed", None), ("v1.mp4", True, None, None)}
    assert len(rows_of(store, "clips")) == 3
    assert failed_share(Known(store), "clips")[0] == 0
    assert retry_root(config.root).passes == ()
    assert not problems(config)
    assert remove_root(config.root, Wish()).datasets == ()
    assert not problems(config)
    (clips, *_) = status(store).passes
    assert (clips.num_failed, [(loss.reason, loss.num_clips) for loss in clips.losses]) == (0, [("removed", 1)])


def test_a_video_that_is_removed_takes_all_its_clips_along(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path / "root", videos, PASSES)
    run_inline(config)
    store = open_store(config.root)
    media = media_of(store, "more")
    gone = [key for key in media.files if key.startswith("v0-")]
    remove_root(config.root, Wish(sources=(f"file://{videos}/v0.mp4",)))
    assert Removed(store).sources == {f"{videos}/v0.mp4"}
    check_gone(store, media, gone)
    assert not problems(config)
    assert run_inline(config).pending == {}
    assert states(config, "train") == {("v0.mp4", False, "removed", None), ("v1.mp4", True, None, None)}
    assert status(store).num_removed == len(gone) == 3


def test_a_removed_clip_has_not_failed_and_is_not_tried_again(videos: Path, tmp_path: Path) -> None:
    config = make_config(
        tmp_path / "root", videos, [{"name": "s", "stages": [Broken(at_s=(2,)), Blob()], "max_failed": 0.9}]
    )
    run_inline(config)
    store = open_store(config.root)
    assert failed_share(Known(store), "s") == (1, 5)
    assert len(failed_units(Known(store), "s")) == 1
    remove_root(config.root, Wish(where="start_s = 2 AND fine IS NULL", dataset="s"))
    assert failed_share(Known(store), "s")[0] == 0
    assert failed_units(Known(store), "s") == []
    assert retry_root(config.root).passes == ()
    assert not problems(config)


def test_a_retry_of_a_pass_takes_the_others_along_and_leaves_the_removed_out(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "stage_class", {"broken": Broken, "blob": Blob}.__getitem__)
    config = make_config(
        tmp_path / "root", videos, [{"name": "s", "stages": [Broken(at_s=(1,)), Blob()], "max_failed": 0.9}]
    )
    run_inline(config)
    store = open_store(config.root)
    media = media_of(store, "s")
    (key,) = [key for key in media.files if key.endswith("_00002000")]
    monkeypatch.setattr(Broken, "healed", True)

    def remove(_: int, name: str, path: str) -> None:
        if (name, path[:7]) == ("put_file", "s/membe"):
            remove_root(config.root, Wish(keys=(key,)))

    assert retry_here(HookedStore(store, remove), "s") == {}
    check_gone(store, media, [key])
    assert not problems(config)
    rows = rows_of(store, "s")
    assert {row["key"][-4:] for row in rows.values() if row["kept"]} == {"0000", "1000"}
    assert all(row["error"] is None for row in rows.values())


@pytest.mark.parametrize("when", ["before", "while it copies", "after it has put"])
def test_a_retry_of_cut_copies_no_removed_clip(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """One unit of two videos; the second one fails at first."""
    broken = True
    real = cutting.cut_part

    def cut_part(media: Any, url: str, *rest: Any) -> Iterator[Any]:
        if broken and url.endswith("v1.mp4"):
            raise MediaError("not yet")
        yield from real(media, url, *rest)

    monkeypatch.setattr(cutting, "cut_part", cut_part)
    both = tmp_path / "list.txt"
    both.write_text(f"{videos}/v0.mp4\n{videos}/v1.mp4\n")
    monkeypatch.setattr("shardpipe.engine.sources.cutplan.MIN_UNITS", 1)
    config = make_config(tmp_path / "root", both)
    run_inline(config)
    store = open_store(config.root)
    assert len(store.list("clips/rows")) == 1
    media = media_of(store, "clips")
    (key,) = [key for key in media.files if key.endswith("_00002000")]
    broken = False
    done = []

    def remove(_: int, name: str, path: str) -> None:
        at = {"while it copies": ("read_range", "clips/shards/"), "after it has put": ("create", "clips/rows/")}[when]
        if not done and (name, path[: len(at[1])]) == at:
            done.append(remove_root(config.root, Wish(keys=(key,))))

    if when == "before":
        remove_root(config.root, Wish(keys=(key,)))
        assert not retry_root(config.root).failed_units
    else:
        assert retry_here(HookedStore(store, remove), "clips") == {}
        assert done
    check_gone(store, media, [key])
    assert not problems(config)
    assert states(config) == {
        ("v0.mp4", True, None, None),
        ("v0.mp4", False, "removed", None),
        ("v1.mp4", True, None, None),
    }

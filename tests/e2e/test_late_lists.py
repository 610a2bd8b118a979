"""Listings that show what was there a while ago change nothing: what they lack is asked for by name."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Broken, Scored
from support.late_lists import LateStore
from support.places import LocalPlace, Place, S3Place
from support.runs import make_config, render_videos, run_inline, snapshot
from support.s3_fixtures import MakeProxy
from support.whole_run import CommitCrash, whole_config

from shardpipe.core.errors import ConfigError, PassFailed
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.retry import retry_root
from shardpipe.storage.crashing import Crash
from shardpipe.storage.probe import known_honours
from shardpipe.storage.store import Honours, Store, open_store

SCORE = {"name": "score", "stages": [Broken(), Scored()], "max_failed": 1.0}
MORE = {"name": "more", "from": "score", "stages": [Scored(column="more")], "unit_clips": 2}
TRAIN = {"name": "train", "from": "more", "emit": "shards"}


@pytest.fixture(scope="module")
def clean(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = LocalPlace(tmp_path_factory.mktemp("clean")).root()
    assert not run_inline(whole_config(root, videos)).pending
    return snapshot(open_store(root))


def test_a_run_that_sees_nothing_of_what_it_makes(place: Place, videos: Path, clean: dict[str, bytes]) -> None:
    late = LateStore(open_store(place.root()))
    assert not run_inline(whole_config(late.url, videos), late).pending
    assert late.list("") == {}
    assert snapshot(late.inner) == clean


def test_runs_after_a_crash_see_nothing_of_what_was_made_before(
    place: Place, videos: Path, clean: dict[str, bytes]
) -> None:
    late = LateStore(open_store(place.root()))
    config = whole_config(late.url, videos)
    for n in (1, 4, 3, 3, 4, 3, 4, 4, 5):
        with suppress(Crash):
            run_inline(config, CommitCrash(late, n, "after"))
    assert not run_inline(config, late).pending
    assert late.list("") == {}
    assert snapshot(late.inner) == clean


@pytest.mark.parametrize("num", [1, 2, 5])
def test_each_pass_in_a_run_of_its_own(place: Place, videos: Path, clean: dict[str, bytes], num: int) -> None:
    """Listings show what the `num` runs before did not make."""
    late = LateStore(open_store(place.root()))
    earlier = [late.inner.entries("")] * num
    for name in ("clips", "score", "more", "dup", "train"):
        late.shown = earlier[-num]
        assert not run_inline(whole_config(late.url, videos), late, only=name).pending
        earlier.append(late.inner.entries(""))
    assert snapshot(late.inner) == clean


def test_sources_that_no_listing_shows(place: Place, videos: Path, tmp_path: Path) -> None:
    """Batches of sources, and windows of shards, are numbered: the next one is known by its name."""
    added = [str(render_videos(tmp_path / name, seconds=[2])) for name in ("second", "third")]
    roots = [open_store(place.root()), LateStore(open_store(place.root()))]
    for store in roots:
        config = whole_config(store.url, videos)
        run_inline(config, store, limit=0)
        for url in (*added, added[0]):
            assert not run_inline(config, store, add_sources=url).pending
    assert roots[1].list("") == {}
    assert snapshot(open_store(roots[1].url)) == snapshot(roots[0])


def test_failures_that_no_listing_shows_are_counted(place: Place, videos: Path) -> None:
    late = LateStore(open_store(place.root()))
    with pytest.raises(PassFailed, match="score: 2 of 5 clips failed"):
        run_inline(make_config(late.url, videos, [{**SCORE, "max_failed": 0.3}]), late)


class Retried:
    """A root in which clips failed, were healed, and are retried while listings show what was before."""

    def __init__(self, late: LateStore, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retrying, "stage_class", {"broken": Broken, "scored": Scored}.__getitem__)
        monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
        monkeypatch.setattr(retrying, "open_store", lambda *_, **__: late)
        monkeypatch.delenv("FAKE_HEALED", raising=False)
        self.late, self.videos = late, videos
        assert not self.run(SCORE, MORE)
        late.catch_up()
        monkeypatch.setenv("FAKE_HEALED", "1")
        assert retry_root(late.url).passes == ("score",)

    def run(self, *passes: Mapping[str, Any]) -> Mapping[str, str]:
        """What is pending after a run."""
        return run_inline(make_config(self.late.url, self.videos, passes), self.late).pending


@pytest.fixture
def healed(place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What lies in a root whose listings were never late."""
    retried = Retried(LateStore(open_store(place.root())), videos, monkeypatch)
    retried.late.catch_up()
    assert not retried.run(SCORE, MORE)
    retried.late.catch_up()
    assert not retried.run(SCORE, MORE, TRAIN)
    return snapshot(retried.late.inner)


def test_what_was_retried_counts(
    place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch, healed: dict[str, bytes]
) -> None:
    late = LateStore(open_store(place.root()))
    retried = Retried(late, videos, monkeypatch)
    assert not retried.run(SCORE, MORE, TRAIN)
    assert not [path for path in late.list("") if ".1.parquet" in path]
    assert snapshot(late.inner) == healed


def test_nothing_is_planned_from_rows_that_were_retried(
    place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch, healed: dict[str, bytes]
) -> None:
    """Nor where the store seemed to list what was written: the plan waits for it."""
    monkeypatch.setattr(LateStore, "honours", Honours())
    late = LateStore(open_store(place.root()))
    retried = Retried(late, videos, monkeypatch)
    assert "train" in retried.run(SCORE, MORE, TRAIN)
    assert late.size("train/plan/0000.parquet") is None
    for _ in range(2):
        late.catch_up()
        pending = retried.run(SCORE, MORE, TRAIN)
    assert not pending
    emitted = [path for path in healed if path.startswith("train/shards/")]
    assert emitted
    assert [late.read(path) for path in emitted] == [healed[path] for path in emitted]


def test_a_retry_after_a_plan_that_no_listing_shows_is_refused(
    place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateStore(open_store(place.root()))
    retried = Retried(late, videos, monkeypatch)
    monkeypatch.delenv("FAKE_HEALED")
    apart = LateStore(open_store(place.root()))
    retried.late = apart
    monkeypatch.setattr(retrying, "open_store", lambda *_, **__: apart)
    retried.run(SCORE, MORE, TRAIN)
    apart.shown = {path: entry for path, entry in apart.inner.entries("").items() if "/plan/" not in path}
    with pytest.raises(ConfigError, match="shards of train are planned"):
        retry_root(apart.url)


@pytest.mark.parametrize(
    ("place", "late"),
    [
        pytest.param("moto", {"requests": 400}, marks=pytest.mark.s3),
        pytest.param("ceph", {"seconds": 600.0}, marks=pytest.mark.s3),
        pytest.param("moto", {"seconds": 1.0}, marks=[pytest.mark.s3, pytest.mark.slow]),
        pytest.param("ceph", {"requests": 5}, marks=[pytest.mark.s3, pytest.mark.slow]),
    ],
    indirect=["place"],
)
def test_lists_of_a_real_server_are_late(
    place: S3Place, late: dict[str, Any], s3_proxy: MakeProxy, videos: Path, clean: dict[str, bytes]
) -> None:
    """A run that dies, and one that goes on."""
    proxy = s3_proxy(place.s3.server)
    proxy.delay_lists(**late)
    store: Store = open_store(place.root())
    config = whole_config(store.url, videos)
    with suppress(Crash):
        run_inline(config, CommitCrash(store, 14, "after"))
    assert not run_inline(config, store).pending
    found = known_honours(store)
    assert found is not None
    assert not found.list_after_write
    seen = place.seen(store.url).objects()
    assert {path: data for path, data in seen.items() if not path.startswith("_run/")} == clean

"""Takedowns: what is gone, what stays, what crashes and workers that were asleep leave."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Blob, Scored, start_of
from support.places import ON_S3, Place
from support.removal import Media, base_samples, check_gone, check_rest, media_of
from support.runs import make_config, rows_of, run_inline, snapshot

from shardpipe.config.models import Config
from shardpipe.core.errors import IncompleteError, ShardpipeError
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.opened import open_dataset
from shardpipe.engine.views.query import query
from shardpipe.engine.views.report import status
from shardpipe.executors.remove import remove_root
from shardpipe.executors.retry import retry_root
from shardpipe.storage.crashing import WRITES, Crash, CrashingStore, CrashMode, HookedStore
from shardpipe.storage.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
MODES: tuple[CrashMode, ...] = ("before", "after", "torn reply")
EMIT = {"members": ["json", "mp4", "npy"], "plan_units": 1}
PASSES: list[dict[str, Any]] = [  # two clips of a shard in `train`, one in each shard of `last`
    {"name": "score", "stages": [Scored(frames_wanted=True)]},
    {"name": "more", "from": "score", "stages": [Blob()], "unit_clips": 2},
    {"name": "train", "from": "more", "keep": ["start_s > 0.5"], "emit": EMIT, "shard_bytes": 30_000},
    {"name": "late", "from": "train", "stages": [Scored(column="again", frames_wanted=True)]},
    {"name": "last", "from": "late", "keep": ["again > 0.5"], "emit": EMIT, "shard_bytes": 1_000},
]
NAMES = ("clips", *(each["name"] for each in PASSES))


@dataclass(frozen=True)
class Finished:
    """A finished root, what it holds, and the clip that tests remove: the last of the first video, which is like no other."""

    root: Path
    videos: Path
    media: dict[str, Media]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(key for key in self.media["clips"].files if start_of(key) == 2000))

    def at(self, place: Place) -> Config:
        return make_config(place.root(snapshot(open_store(str(self.root)))), self.videos, PASSES)

    def copy(self, root: Path) -> Config:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root)
        return make_config(root, self.videos, PASSES)


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("finished") / "root"
    assert not run_inline(make_config(root, videos, PASSES)).pending
    store = open_store(str(root))
    return Finished(root, videos, {name: media_of(store, name) for name in NAMES})


def check_all(finished: Finished, config: Config) -> None:
    """After a removal is over: run and retry have nothing to do or to say, and everything is as it must be."""
    report = run_inline(config)
    assert (report.pending, report.failed_units) == ({}, {})
    assert retry_root(config.root).passes == ()
    store = open_store(config.root)
    check_gone(store, finished.media["more"], finished.keys)
    check_rest(store, finished.media, finished.keys)


def test_a_removed_clip_is_nowhere_and_all_others_are_as_before(finished: Finished, tmp_path: Path) -> None:
    config = finished.copy(tmp_path / "root")
    (key,) = finished.keys
    report = remove_root(config.root, Wish(keys=(key,)))
    assert {each.name: (each.num_tars, each.num_shards) for each in report.datasets} == {
        "clips": (1, 0),
        "more": (1, 0),
        "train": (0, 1),
        "last": (0, 1),
    }
    check_all(finished, config)
    assert key not in base_samples(tmp_path / "root")
    assert len(base_samples(tmp_path / "root")) == 4
    assert status(open_store(config.root)).num_removed == 1
    assert query(
        config.root, "SELECT key, kept, source, score FROM train WHERE dropped_by = 'removed'"
    ).to_pylist() == [
        {"key": key, "kept": False, "source": rows_of(open_store(config.root), "clips")[key]["source"], "score": None}
    ]
    with pytest.raises(KeyError, match="it was removed"):
        open_dataset(f"{config.root}/more").clip(key)
    before = snapshot(open_store(config.root))
    assert remove_root(config.root, Wish()).datasets == ()
    assert snapshot(open_store(config.root)) == before


def test_a_dry_run_tells_the_same_and_changes_nothing(finished: Finished, tmp_path: Path) -> None:
    config = finished.copy(tmp_path / "root")
    before = snapshot(open_store(config.root))
    wish = Wish(where="score = 2 AND source LIKE '%v0.mp4'", dataset="score")
    told = remove_root(config.root, wish, dry_run=True)
    assert snapshot(open_store(config.root)) == before
    done = remove_root(config.root, wish)
    assert done.datasets == told.datasets != ()
    assert (done.num_new, told.num_new) == (1, 1)
    check_all(finished, config)


def writes_of(finished: Finished, config: Config) -> int:
    counting = CrashingStore(open_store(config.root), None, writes_only=True)
    remove_root(config.root, Wish(keys=finished.keys), store=counting)
    return counting.count


def crash_and_finish(finished: Finished, config: Config, n: int, mode: CrashMode, *, run_first: bool) -> None:
    """Remove, crash at the n-th write, go on; `run_first`: a run comes before the second `remove`."""
    crashing = CrashingStore(open_store(config.root), n, mode, writes_only=True)
    with suppress(Crash, ShardpipeError):
        remove_root(config.root, Wish(keys=finished.keys), store=crashing)
    assert crashing.count > n
    if run_first:
        with suppress(IncompleteError):  # it does not complete what a removal has begun
            run_inline(config)
        retry_root(config.root)
    was_begun = open_store(config.root).size("removed.parquet") is not None
    if was_begun and mode != "torn reply":
        problems = [problem.text for problem in verify(config.root).problems]
        last = open_store(config.root).size("last/index.parquet") is not None
        assert problems or last
    remove_root(config.root, Wish() if was_begun else Wish(keys=finished.keys))
    check_all(finished, config)


def test_a_crash_at_some_writes_of_remove(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "root"
    num_writes = writes_of(finished, finished.copy(root))
    assert num_writes > 15
    for n in range(0, num_writes, 6):
        crash_and_finish(finished, finished.copy(root), n, MODES[n % 3], run_first=n % 12 == 0)


@pytest.mark.parametrize("place", ON_S3, indirect=True)
def test_a_crash_at_a_write_of_remove_on_s3(finished: Finished, place: Place) -> None:
    at = 0.4 if place.kind == "ceph" else 0.7
    num_writes = writes_of(finished, finished.at(place))
    crash_and_finish(finished, finished.at(place), int(at * num_writes), "after", run_first=False)


@pytest.mark.slow
@pytest.mark.parametrize("place", ON_S3, indirect=True)
def test_a_crash_at_every_write_of_remove_on_s3(finished: Finished, place: Place) -> None:
    for n in range(writes_of(finished, finished.at(place))):
        crash_and_finish(finished, finished.at(place), n, MODES[n % 3], run_first=n % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("run_first", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_every_write_of_remove(
    finished: Finished, tmp_path: Path, mode: CrashMode, *, run_first: bool
) -> None:
    root = tmp_path / "root"
    for n in range(writes_of(finished, finished.copy(root))):
        crash_and_finish(finished, finished.copy(root), n, mode, run_first=run_first)


def wake(finished: Finished, root: str, n: int | tuple[str, str]) -> None:
    """A driver on a new root sleeps before its n-th operation, or that of this name and path; the clip is removed, and it wakes."""
    config = make_config(root, finished.videos, PASSES)
    slept = []

    def remove(at: int, name: str, path: str) -> None:
        if not slept and n in (at, (name, path)):
            slept.append(at)
            assert not remove_root(config.root, Wish(keys=finished.keys)).problems

    report = run_inline(config, HookedStore(open_store(config.root), remove))
    assert slept
    assert all("are being rewritten" in text for text in report.failed_units.values()), (n, report.failed_units)
    assert not report.pending or report.failed_units, n
    check_all(finished, config)


def test_a_pass_over_shards_that_are_rewritten_writes_no_errors(finished: Finished, tmp_path: Path) -> None:
    """It has read where clips lie, and sleeps before it reads them. Executors try such a unit again."""
    config = finished.copy(tmp_path / "root")
    for name in ("late", "last"):
        shutil.rmtree(tmp_path / "root" / name)
    first = min(finished.media["train"].files)  # those after it move
    done = []

    def remove(_: int, name: str, path: str) -> None:
        if not done and name == "read_range" and path.startswith("train/shards/"):
            done.append(remove_root(config.root, Wish(keys=(first,))))

    report = run_inline(config, HookedStore(open_store(config.root), remove))
    assert done
    assert ["are being rewritten" in text for text in report.failed_units.values()] == [True]
    assert run_inline(config).pending == {}
    check_rest(open_store(config.root), finished.media, [first])


@pytest.fixture(scope="module")
def operations(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """The operations of a run on a new root, from the first at which there is something to remove from."""
    config = make_config(tmp_path_factory.mktemp("counted") / "root", finished.videos, PASSES)
    found: list[tuple[str, str]] = []
    run_inline(config, HookedStore(open_store(config.root), lambda _, name, path: found.append((name, path))))
    return found


def asleep(operations: list[tuple[str, str]]) -> list[int]:
    """Where a driver may sleep: after the Dataset is there."""
    start = operations.index(("create", "clips/dataset.json")) + 1
    return list(range(start, len(operations)))


def test_a_driver_that_was_asleep_cleans_what_it_puts(
    finished: Finished, operations: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Before its writes of the shards' records, and here and there else."""
    writes = [n for n in asleep(operations) if operations[n][0] in WRITES - {"replace"}]
    records = [n for n in writes if operations[n][1].startswith("train/emit/")]
    assert records
    chosen = {*records, *writes[::9], *asleep(operations)[::150]}
    for n in sorted(chosen):
        wake(finished, str(tmp_path / f"{n}"), n)


@pytest.mark.slow
@pytest.mark.parametrize("place", ON_S3, indirect=True)
def test_a_driver_that_was_asleep_on_s3_cleans_what_it_puts(
    finished: Finished, operations: list[tuple[str, str]], place: Place
) -> None:
    """A server has other operations at the start, and in another order; the writes are the same."""
    for write in [operations[n] for n in asleep(operations) if operations[n][0] in WRITES - {"replace"}][::4]:
        wake(finished, place.root(), write)


@pytest.mark.slow
def test_a_driver_that_was_asleep_before_any_operation_cleans_what_it_puts(
    finished: Finished, operations: list[tuple[str, str]], tmp_path: Path
) -> None:
    for n in asleep(operations):
        wake(finished, str(tmp_path / f"{n}"), n)

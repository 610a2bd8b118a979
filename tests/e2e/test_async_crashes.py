"""A pass with a stage that answers later: a crash at the n-th store operation, and two drivers at once.

Run again, the bucket is that of a run that never crashed, and no clip of a committed slice is asked about again.
"""

import itertools
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS, Scored
from support.later import OPENED, Later
from support.runs import calls, make_config, run_inline, snapshot

from shardpipe.config.models import Config
from shardpipe.core.errors import ShardpipeError
from shardpipe.executors.run import run_config
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.crashing import WRITES, Crash, CrashingStore, CrashMode, HookedStore, RecordingStore
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store, open_store

MODES: tuple[CrashMode, ...] = ("before", "after", "torn reply")


def passes() -> list[dict[str, Any]]:
    """Their stages are made anew for each run: one that was set up holds what it opened."""
    stages = [Later(frames_wanted=True, in_flight=3), Scored(frames_wanted=True), Later(column="more", in_flight=2)]
    return [
        {"name": "text", "stages": stages, "keep": ["later >= 1000"], "unit_clips": 1},
        {"name": "train", "from": "text", "keep": ["more < 2500"], "emit": "shards", "shard_bytes": 20_000},
    ]


class Clean:
    """A root whose clips are cut, and what its bucket is after a run of the passes that nobody disturbed."""

    def __init__(self, folder: Path, videos: Path) -> None:
        self._videos = videos
        self._before = folder / "before"
        run_inline(make_config(self._before, videos))
        root = self.root(folder / "clean")
        recording = RecordingStore(open_store(str(root)))
        assert not run_inline(self.config(root), recording).pending
        self.operations = [each.name for each in recording.operations]
        self.paths = [each.path for each in recording.operations]
        self.bucket = snapshot(open_store(str(root)))

    def root(self, at: Path) -> Path:
        shutil.rmtree(at, ignore_errors=True)
        return Path(shutil.copytree(self._before, at))

    def config(self, root: Path, **execute: object) -> Config:
        return make_config(root, self._videos, passes(), execute=execute or {"type": "inline"})


@pytest.fixture(scope="module")
def clean(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return Clean(tmp_path_factory.mktemp("clean"), videos)


@pytest.fixture(autouse=True)
def _nothing_open() -> None:
    OPENED.clear()


def committed(store: Store) -> set[str]:
    paths = RowsLog(store, "text").done().values()
    return {row["key"] for path in paths for row in decode_rows(store.read(path))[0].to_pylist()}


def crash_and_finish(clean: Clean, root: Path, n: int, mode: CrashMode) -> None:
    store = open_store(str(root))
    crashing = CrashingStore(store, n, mode)
    with suppress(Crash, ShardpipeError):
        run_inline(clean.config(root), crashing)
    assert crashing.count > n
    assert all(pool.is_closed for pool in OPENED)
    done = committed(store)
    CALLS.clear()
    assert not run_inline(clean.config(root), open_store(str(root))).pending
    assert not done & set(calls("later"))
    assert snapshot(store) == clean.bucket


@pytest.mark.parametrize("mode", ["after", "torn reply"])
def test_a_crash_at_every_write(clean: Clean, tmp_path: Path, mode: CrashMode) -> None:
    for n, name in enumerate(clean.operations):
        if name in WRITES - {"replace"} and clean.paths[n].startswith("text/"):
            crash_and_finish(clean, clean.root(tmp_path / "root"), n, mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_every_operation(clean: Clean, tmp_path: Path, mode: CrashMode) -> None:
    for n in range(len(clean.operations)):
        crash_and_finish(clean, clean.root(tmp_path / "root"), n, mode)


def test_a_crash_while_clips_are_read_through_the_store(clean: Clean, videos: Path) -> None:
    """On a store without local files, the threads that decode read clips, while others are with the stage."""
    config = make_config("memory://async-crashes/run", videos, passes())
    store = open_store(config.root)
    run_inline(make_config(config.root, videos), store)
    recording = RecordingStore(store)
    run_inline(config, recording)
    assert snapshot(store) == clean.bucket
    reads = [n for n, each in enumerate(recording.operations) if each.name == "read_range"]
    for n, mode in itertools.product(reads[:: max(1, len(reads) // 3)], ("before", "torn reply")):
        for path in store.list(""):
            if not path.startswith("clips/"):
                store.delete(path)
        with suppress(Crash, ShardpipeError):
            run_inline(config, CrashingStore(store, n, mode))
        run_inline(config, store)
        assert snapshot(store) == clean.bucket


def overtake(clean: Clean, root: Path, n: int) -> None:
    """A driver sleeps before its n-th operation, with clips in flight; another does all of it; the first wakes and changes nothing."""
    config = clean.config(root)
    store = open_store(str(root))

    def other(at: int, name: str, path: str) -> None:
        if at == n:
            run_inline(config, open_store(str(root)))
            assert snapshot(store) == clean.bucket

    report = run_inline(config, HookedStore(store, other))
    assert not report.failed_units
    assert not report.pending
    assert snapshot(store) == clean.bucket


def test_one_driver_overtakes_the_other(clean: Clean, tmp_path: Path) -> None:
    for n, name in enumerate(clean.operations):
        if clean.paths[n].startswith("text/") and (name in WRITES or n % 5 == 0):
            overtake(clean, clean.root(tmp_path / "root"), n)


@pytest.mark.slow
def test_one_driver_overtakes_the_other_at_every_operation(clean: Clean, tmp_path: Path) -> None:
    for n in range(len(clean.operations)):
        overtake(clean, clean.root(tmp_path / "root"), n)


def test_what_another_driver_committed_is_not_asked_again(clean: Clean, tmp_path: Path) -> None:
    """A driver sleeps before it commits its first slice: of the others, those are asked twice that it had in flight."""
    root = clean.root(tmp_path / "root")
    config = clean.config(root)

    def other(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "text/rows/000000-00.parquet"):
            run_inline(config, open_store(str(root)))

    CALLS.clear()
    assert not run_inline(config, HookedStore(open_store(str(root)), other)).pending
    assert set(Counter(calls("scored")).values()) <= {1, 2}
    assert snapshot(open_store(str(root))) == clean.bucket


def test_workers_make_the_same(clean: Clean, tmp_path: Path) -> None:
    root = clean.root(tmp_path / "root")
    assert not run_config(clean.config(root, type="local", workers=2, decoders=1)).pending
    assert snapshot(open_store(str(root))) == clean.bucket

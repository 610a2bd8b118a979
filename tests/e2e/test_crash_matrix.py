"""Crash at the n-th store operation, run again: the bucket of a run that never crashed, and nothing done twice.

A crash between two operations leaves what the last write left, so crashing after each write meets every state that a
killed process can leave; `slow` crashes at every single operation, reads too. In three parts, so that it is quick: cut
alone, rows passes over finished clips, and plan, shards and final files over finished rows. On a local disk and on real S3
servers: the bucket must be that of the local run in each case.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS
from support.places import LOCAL_FIRST, ON_ALL, ON_S3, LocalPlace, MemoryPlace, Place
from support.runs import make_config, run_inline, snapshot
from support.whole_run import PASSES, TRAIN, CommitCrash, is_commit, whole_config

from shardpipe.config.models import Config
from shardpipe.core.errors import ShardpipeError
from shardpipe.engine.cutting import cut as cutting
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.crashing import Crash, CrashingStore, CrashMode, Operation, RecordingStore
from shardpipe.storage.store import Store, open_store

MODES: tuple[CrashMode, ...] = ("before", "after", "torn reply")
PARTS = {"cut": [], "rows": PASSES, "emit": [*PASSES, TRAIN]}
SAMPLED: dict[tuple[str, str], tuple[float, CrashMode]] = {
    ("moto", "cut"): (0.9, "after"),
    ("moto", "rows"): (0.4, "torn reply"),
    ("moto", "emit"): (0.3, "after"),
    ("ceph", "cut"): (0.5, "torn reply"),
    ("ceph", "rows"): (0.7, "after"),
    ("ceph", "emit"): (0.6, "torn reply"),
}
"""What the quick suite tries on S3: how far among the writes of a part, and how."""


@dataclass
class Part:
    """One part of the matrix. `before`: what a root holds in which all that comes before is done. `clean`: at the end."""

    passes: list[Any]
    videos: Path
    before: dict[str, bytes]
    clean: dict[str, bytes]
    operations: list[Operation]

    @property
    def num_writes(self) -> int:
        """How many committed objects it makes."""
        return sum(is_commit(each.name, each.path) for each in self.operations)

    def config(self, root: str) -> Config:
        return make_config(root, self.videos, self.passes)

    def record(self, place: Place) -> list[Operation]:
        """The operations of a run without a crash."""
        root = place.root(self.before)
        recording = RecordingStore(open_store(root))
        assert not run_inline(self.config(root), recording).pending
        assert snapshot(open_store(root)) == self.clean
        return recording.operations


@pytest.fixture(scope="module")
def parts(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Each part run once without a crash on a local disk, one after the other on the same root."""
    root = LocalPlace(tmp_path_factory.mktemp("clean")).root()
    store = open_store(root)
    found = {}
    for name, passes in PARTS.items():
        before = snapshot(store)
        recording = RecordingStore(store)
        assert not run_inline(make_config(root, videos, passes), recording).pending
        found[name] = Part(passes, videos, before, snapshot(store), recording.operations)
    return found


@pytest.fixture
def cut_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The urls of the videos that were cut."""
    calls: list[str] = []
    real = cutting.cut_part

    def counting(media: Any, url: str, *rest: Any) -> Iterator[Any]:
        calls.append(url)
        return real(media, url, *rest)

    monkeypatch.setattr(cutting, "cut_part", counting)
    return calls


def committed(store: Store) -> tuple[set[str], set[tuple[str, str]]]:
    """The sources of committed units of clips, and (stage, key) of each result in committed rows."""
    batches = cutting.read_batches(store, "clips")
    urls = {part["url"] for unit in RowsLog(store, "clips").done() for part in cutting.parts_of(batches, unit)}
    results = set()
    for name, stage in (("score", "scored"), ("more", "blob")):
        for path in RowsLog(store, name).done().values():
            table = cutting.decode_rows(store.read(path))[0]
            results |= {(stage, row["key"]) for row in table.to_pylist() if row["kept"]}
    return urls, results


def crash_and_finish(part: Part, root: str, cut_calls: list[str], crashing: CrashingStore, n: int) -> None:
    store = open_store(root)
    with suppress(Crash, ShardpipeError):  # a lost reply may fail a unit, a pass, or nothing at all
        run_inline(part.config(root), crashing)
    assert crashing.count > n
    urls, results = committed(store)
    cut_calls.clear()
    CALLS.clear()
    report = run_inline(part.config(root), open_store(root))
    assert not report.pending
    assert not urls & set(cut_calls)
    assert not results & set(CALLS)
    assert snapshot(store) == part.clean


def crash_at_write(part: Part, place: Place, cut_calls: list[str], n: int, mode: CrashMode) -> None:
    root = place.root(part.before)
    crash_and_finish(part, root, cut_calls, CommitCrash(open_store(root), n, mode), n)


@LOCAL_FIRST
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("mode", ["after", "torn reply"])
def test_a_crash_at_every_write(
    parts: dict[str, Part], place: Place, cut_calls: list[str], name: str, mode: CrashMode
) -> None:
    for n in range(parts[name].num_writes):
        crash_at_write(parts[name], place, cut_calls, n, mode)


@pytest.mark.parametrize("place", ON_S3, indirect=True)
@pytest.mark.parametrize("name", PARTS)
def test_a_crash_at_some_write(parts: dict[str, Part], place: Place, cut_calls: list[str], name: str) -> None:
    where, mode = SAMPLED[place.kind, name]
    crash_at_write(parts[name], place, cut_calls, int(where * parts[name].num_writes), mode)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", *ON_S3], indirect=True)
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_every_operation(
    parts: dict[str, Part], place: Place, cut_calls: list[str], name: str, mode: CrashMode
) -> None:
    part = parts[name]
    for n in range(len(part.record(place))):
        root = place.root(part.before)
        crash_and_finish(part, root, cut_calls, CrashingStore(open_store(root), n, mode), n)


@LOCAL_FIRST
def test_crash_after_crash(parts: dict[str, Part], place: Place) -> None:
    """A run that dies after its first write, its successor after its second, and so on, is done at last."""
    part = parts["rows"]
    root = place.root(part.before)
    for attempt in range(100):
        crashing = CommitCrash(open_store(root), attempt, "after")
        with suppress(Crash):
            run_inline(part.config(root), crashing)
        if not crashing.crashed:
            break
    assert 3 < attempt < 50
    assert snapshot(open_store(root)) == part.clean


@ON_ALL
def test_a_run_is_the_same_wherever_its_root_lies(parts: dict[str, Part], place: Place, videos: Path) -> None:
    root = place.root()
    assert not run_inline(whole_config(root, videos)).pending
    assert snapshot(open_store(root)) == parts["emit"].clean


def test_a_crash_where_clips_are_read_through_the_store(parts: dict[str, Part], videos: Path) -> None:
    """On a store without local files, the threads that decode read clips: the death of one ends the run, and hangs nothing."""
    config = whole_config(MemoryPlace().root(), videos)
    store = open_store(config.root)
    run_inline(make_config(config.root, videos), store)
    recording = RecordingStore(store)
    run_inline(config, recording)
    assert snapshot(store) == parts["emit"].clean
    reads = [n for n, each in enumerate(recording.operations) if each.name == "read_range"]
    for n in reads[:: max(1, len(reads) // 4)]:
        for mode in ("before", "torn reply"):
            for path in store.list(""):
                if not path.startswith("clips/"):
                    store.delete(path)
            crashing = CrashingStore(store, n, mode)
            with suppress(Crash, ShardpipeError):
                run_inline(config, crashing)
            assert crashing.count > n
            run_inline(config, store)
            assert snapshot(store) == parts["emit"].clean

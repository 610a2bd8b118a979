"""Crash at the n-th store operation, run again: the bucket of a run that never crashed, and nothing done twice.

A crash between two operations leaves what the last write left, so crashing after each write meets every state that a
killed process can leave; `slow` crashes at every single operation, reads too. In three parts, so that it is quick: cut
alone, rows passes over finished clips, and plan, shards and final files over finished rows.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS, Blob, Scored, Worded
from support.runs import make_config, run_inline, snapshot

from shardpipe.config.models import Config
from shardpipe.core.errors import ShardpipeError
from shardpipe.engine import cut as cutting
from shardpipe.stages.text_dup import TextDup
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.crashing import WRITES, Crash, CrashingStore, CrashMode, RecordingStore
from shardpipe.storage.store import Store, open_store

MODES: tuple[CrashMode, ...] = ("before", "after", "torn reply")
PASSES = [
    {"name": "score", "stages": [Scored(frames_wanted=True)], "keep": ["duration_s > 0.5"]},
    {"name": "more", "from": "score", "stages": [Blob(), Worded()], "unit_clips": 2},
    {"name": "dup", "from": "more", "stages": [TextDup()], "unit_clips": 2},
]
TRAIN = {
    "name": "train",
    "from": "dup",
    "keep": ["score < 2", "text_dup_count < 2"],
    "emit": {"members": ["json", "mp4", "npy"]},
    "shard_bytes": 20_000,
}
PARTS = {"cut": [], "rows": PASSES, "emit": [*PASSES, TRAIN]}


@dataclass
class Part:
    """One part of the matrix. `before`: a root in which all that comes before it is done. `clean`: its bucket at the end."""

    config: Callable[[Path], Config]
    before: Path
    clean: dict[str, bytes]
    operations: list[str] = field(default_factory=list)

    @property
    def writes(self) -> list[int]:
        """The numbers of the writes among all operations, but for those under `_run/`."""
        return [n for n, name in enumerate(self.operations) if name in WRITES - {"replace"}]

    def root(self, folder: Path) -> Path:
        root = folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.before, root)
        return root


@pytest.fixture(scope="module")
def parts(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Each part run once without a crash, one after the other on the same root."""
    root = tmp_path_factory.mktemp("clean") / "root"
    root.mkdir()
    found = {}
    for name, passes in PARTS.items():
        before = root.with_name(f"before {name}")
        shutil.copytree(root, before)
        recording = RecordingStore(open_store(str(root)))

        def config(at: Path, passes: list[Any] = passes) -> Config:
            return make_config(at, videos, passes)

        report = run_inline(config(root), recording)
        assert not report.pending
        operations = [each.name for each in recording.operations]
        found[name] = Part(config, before, snapshot(open_store(str(root))), operations)
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


def crash_and_finish(part: Part, root: Path, cut_calls: list[str], n: int, mode: CrashMode) -> None:
    store = open_store(str(root))
    crashing = CrashingStore(store, n, mode)
    with suppress(Crash, ShardpipeError):  # a lost reply may fail a unit, a pass, or nothing at all
        run_inline(part.config(root), crashing)
    assert crashing.count > n
    urls, results = committed(store)
    cut_calls.clear()
    CALLS.clear()
    report = run_inline(part.config(root), open_store(str(root)))
    assert not report.pending
    assert not urls & set(cut_calls)
    assert not results & set(CALLS)
    assert snapshot(store) == part.clean


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("mode", ["after", "torn reply"])
def test_a_crash_at_every_write(
    parts: dict[str, Part], tmp_path: Path, cut_calls: list[str], name: str, mode: CrashMode
) -> None:
    part = parts[name]
    for n in part.writes:
        crash_and_finish(part, part.root(tmp_path), cut_calls, n, mode)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_every_operation(
    parts: dict[str, Part], tmp_path: Path, cut_calls: list[str], name: str, mode: CrashMode
) -> None:
    part = parts[name]
    for n in range(len(part.operations)):
        crash_and_finish(part, part.root(tmp_path), cut_calls, n, mode)


def test_crash_after_crash(parts: dict[str, Part], tmp_path: Path) -> None:
    """A run that dies after its first write, its successor after its second, and so on, is done at last."""
    part = parts["rows"]
    root = part.root(tmp_path)
    for attempt in range(100):
        crashing = CrashingStore(open_store(str(root)), attempt, "after", writes_only=True)
        with suppress(Crash):
            run_inline(part.config(root), crashing)
        if not crashing.crashed:
            break
    assert 3 < attempt < 50
    assert snapshot(open_store(str(root))) == part.clean


def test_a_crash_where_clips_are_read_through_the_store(parts: dict[str, Part], videos: Path) -> None:
    """On a store without local files, the threads that decode read clips: the death of one ends the run, and hangs nothing."""
    config = make_config("memory://crash-matrix/run", videos, [*PASSES, TRAIN])
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

"""Emit beside others: clips that are removed while shards are made, workers that die late, scratch that is short."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from support.emitted import COLUMNS, SMALL, emit_all, make_train, samples, score, tars
from support.tiny_dataset import Row, keys_of, make_clips, make_pass

from shardpipe.config.parts import EmitConfig
from shardpipe.core.errors import IncompleteError, StoreError
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.emitwork import EmitWorker
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.emission.written import written
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.worker import JobList
from shardpipe.executors.remove import remove_root
from shardpipe.executors.run import emit_pass
from shardpipe.storage import scratch as scratching
from shardpipe.storage.crashing import HookedStore, RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store

TAR = "train/shards/train-000000.tar"
GONE = "v0_00000001"
WAIT_S = 20


class ScratchStore(HookedStore):
    """Says to `asked` who wants how much scratch before it is given."""

    def __init__(self, inner: Store, asked: Callable[[int], None], hook: Callable[[int, str, str], None]) -> None:
        super().__init__(inner, hook)
        self._asked = asked

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        self._asked(num_bytes)
        return super().scratch(num_bytes, is_guess=is_guess, stopped=stopped)


def _nothing(*_: object) -> None: ...


def _plan(store: Store) -> list[UnitJob]:
    make_train(store, keys_of(3, 9))
    return [UnitJob(unit) for unit in make_plan(Dataset.open(store, "train"), SMALL, finished=True).shard_units]


def _run(store: Store, jobs: list[UnitJob]) -> list[Outcome]:
    with closing(EmitWorker(store, "train")) as worker:
        return list(worker.run(JobList(jobs)))


def _remove(store: Store) -> None:
    Removed(store).append([Entry(GONE, None)])


def _names(store: Store) -> set[str]:
    return {name for name, _ in samples(store.read(TAR))}


def test_who_puts_a_shard_anew_takes_no_other_scratch(store: Store) -> None:
    """The builder may have it, who gives none back before its shard is put: by the one that would wait for it."""
    jobs = _plan(store)

    def asked(num_bytes: int) -> None:
        assert not num_bytes or threading.current_thread() is not threading.main_thread()

    def hook(_: int, name: str, path: str) -> None:
        if name == "put_file" and path == TAR:
            _remove(store)

    outcomes = _run(ScratchStore(store, asked, hook), jobs)
    assert [each.error for each in outcomes] == [None] * len(jobs)
    assert f"{GONE}.mp4" not in _names(store)
    assert not [path for path in Path(store.url, ".tmp").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_shard_takes_as_much_scratch_as_it_is_large(store: Store) -> None:
    def large(row: Row) -> Row:
        return {**score(row), "emb": bytes(30_000)}

    make_clips(store, keys_of(1, 4))
    make_pass(store, "train", columns=COLUMNS, score=large, members={"emb": "npy"}, emit="shards")
    taken: list[int] = []
    settings = PlanSettings(shard_bytes=1 << 20, members=("json", "mp4", "txt", "npy"), columns=("aes", "key"))
    emit_all(ScratchStore(store, taken.append, _nothing), "train", settings)
    assert [each for each in taken if each] == [len(data) for data in tars(store, "train").values()]


@pytest.fixture
def late(store: Store) -> Store:
    """A shard that was emitted and cleaned, and then a worker that had begun before put its tar, and died."""
    make_train(store, keys_of(3, 9))
    emit_all(store, "train")
    before = store.read(TAR)
    remove_root(store.url, Wish(keys=(GONE,)))
    Path(store.url, TAR).write_bytes(before)
    return store


def test_a_tar_of_a_late_worker_is_made_again_by_the_next_one(late: Store) -> None:
    (outcome,) = _run(late, [UnitJob("000000")])
    assert (outcome.error, outcome.was_done) == (None, False)
    assert f"{GONE}.mp4" not in _names(late)
    (outcome,) = _run(late, [UnitJob("000000")])
    assert outcome.was_done


def test_a_tar_of_a_late_worker_is_made_again_by_the_next_run(late: Store) -> None:
    windows = read_windows(late, "train")
    units = set(windows[0].shard_units)
    assert written(late, "train", windows) == units - {"000000"}
    emit_pass(late.url, "train", EmitConfig(kind="shards"), shard_bytes=SMALL.shard_bytes)
    assert f"{GONE}.mp4" not in _names(late)
    assert written(late, "train", windows) == units


def test_a_shard_that_was_cleaned_while_its_tar_was_put_is_built_anew(store: Store, tmp_path: Path) -> None:
    """Another worker put the same shard, and `remove` took a clip out of it."""
    jobs, cleaned = _plan(store), tmp_path / "cleaned"
    cleaned.write_bytes(bytes(1024))

    def hook(_: int, name: str, path: str) -> None:
        if name == "put_file" and path == TAR and cleaned.exists():
            _remove(store)
            store.overwrite(TAR, cleaned)

    outcomes = _run(HookedStore(store, hook), jobs)
    assert [each.error for each in outcomes] == [None] * len(jobs)
    assert f"{GONE}.mp4" not in _names(store)


def test_a_tar_is_given_up_before_it_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who puts it may be about to open it."""
    _plan(store)
    there: list[bool] = []
    monkeypatch.setattr(GrowingFile, "give_up", lambda file: there.append(file.path.exists()))
    for tar in store.list("clips/shards"):
        store.delete(tar)
    with pytest.raises(StoreError, match="cannot be read"):
        Emitter(RecordingStore(store), "train").build("000000", _nothing)
    assert there
    assert there[0]


def test_a_tar_that_was_given_up_and_is_gone_is_not_put(store: Store, tmp_path: Path) -> None:
    _plan(store)
    file = GrowingFile(tmp_path / "a.tar")

    def hook(_: int, name: str, path: str) -> None:
        if name == "put_file":
            file.give_up()
            raise StoreError(f"cannot write {path}: {file.path} is gone")

    assert not Emitter(HookedStore(store, hook), "train").put_tar("000000", file)


def test_a_worker_that_waits_for_scratch_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread would keep the process, until somebody else frees some."""
    url, settings = f"memory://{tmp_path.name}/root", ScratchSettings(tmp_path / "scratch", 100_000)
    waits = threading.Event()
    monkeypatch.setattr(scratching.log, "info", lambda *_: waits.set())
    (job, *_) = _plan(open_store(url))
    holder = open_store(url, scratch=settings)
    held = holder.scratch(100_000)
    emitter = Emitter(open_store(url, scratch=settings), "train")
    with ThreadPoolExecutor(1) as pool:
        built = pool.submit(emitter.build, job.name)
        try:
            assert waits.wait(WAIT_S)
            emitter.stop()
            with pytest.raises(IncompleteError, match="not wanted any more"):
                built.result(WAIT_S)
        finally:
            held.rmdir()

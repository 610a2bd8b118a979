"""What emit reads of remote tars: kept clips, and next to nothing else; one shard while another is put."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.emitted import COLUMNS, SMALL, emit_all, make_train, score, tars
from support.tiny_dataset import Row, keys_of, make_clips, make_pass

from shardpipe.core.errors import IncompleteError, StoreError
from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.emitwork import EmitWorker
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.worker import JobList
from shardpipe.storage.crashing import Crash, CrashingStore, HookedStore, RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.ranges import NEAR, SPARE
from shardpipe.storage.store import Store, open_store

CLIP_BYTES = 60_000
WAIT_S = 20


def _payload(key: str) -> bytes:
    return random.Random(key).randbytes(CLIP_BYTES)


def _emit_over(store: Store, name: str, *, kept_below: int, of: int) -> RecordingStore:
    """Emit what a threshold keeps of each `of` clips; what was read then."""

    def chosen(row: Row) -> Row:
        return {"dropped_by": None if int(row["key"].rsplit("_", 1)[1]) % of < kept_below else "threshold"}

    make_pass(store, name, columns={}, score=chosen, emit="shards")
    recording = RecordingStore(store)
    emit_all(recording, name, PlanSettings(shard_bytes=1 << 20))
    return recording


@pytest.mark.parametrize(("kept_below", "of"), [(1, 2), (1, 10), (9, 10), (10, 10)])
def test_another_threshold_reads_no_dropped_media(store: Store, kept_below: int, of: int) -> None:
    make_clips(store, keys_of(3, 40), payload=_payload)
    recording = _emit_over(store, "train", kept_below=kept_below, of=of)
    reads = [each for each in recording.operations if each.name == "read_range"]
    planned = [
        row for window in read_windows(store, "train") for unit in window.shard_units for row in window.clips(unit)
    ]
    kept = sum(row["size"] for row in planned)
    assert len(planned) == 120 * kept_below // of
    in_vain = sum(each.num_bytes for each in reads) - kept
    assert 0 <= in_vain <= SPARE * kept + NEAR * len(planned)
    if of == 2:
        assert in_vain == 0
    if kept_below >= 9:
        assert len(reads) < len(planned) / 5
    assert set(tars(store, "train").values())


def test_remote_and_local_tars_are_the_same(tmp_path: Path) -> None:
    made = []
    for where in ("local", "remote"):
        store = open_store(str(tmp_path / where))
        make_clips(store, keys_of(3, 9))
        make_pass(store, "train", columns=COLUMNS, score=score, members={"emb": "npy"}, emit="shards")
        settings = PlanSettings(shard_bytes=20_000, members=("json", "mp4", "npy"), shuffle=3)
        emit_all(store if where == "local" else RecordingStore(store), "train", settings)
        made.append(tars(store, "train"))
    assert len(made[0]) > 1
    assert made[0] == made[1]


def _jobs(store: Store) -> JobList:
    plan = make_plan(Dataset.open(store, "train"), SMALL, finished=True)
    return JobList([UnitJob(unit) for unit in plan.shard_units])


def _run(store: Store, jobs: JobList) -> Iterator[Outcome]:
    worker = EmitWorker(store, "train")
    try:
        yield from worker.run(jobs)
    finally:
        worker.close()


def test_a_shard_is_read_while_the_one_before_it_is_put(store: Store) -> None:
    make_train(store, keys_of(3, 9))
    reads_second = threading.Event()

    def hook(_: int, name: str, path: str) -> None:
        if name == "read" and path == "train/emit/000001.parquet":
            reads_second.set()
        if name == "put_file" and path.endswith("000000.tar"):
            assert reads_second.wait(WAIT_S)

    outcomes = list(_run(HookedStore(store, hook), _jobs(store)))
    assert [each.error for each in outcomes] == [None] * len(outcomes)
    assert len(tars(store, "train")) == len(outcomes) > 1
    assert [each.was_done for each in _run(store, _jobs(store))] == [True] * len(outcomes)


def test_a_tar_is_put_while_it_is_built(store: Store) -> None:
    make_train(store, keys_of(3, 9))
    jobs = _jobs(store)
    is_put = threading.Event()

    def hook(_: int, name: str, path: str) -> None:
        if name == "put_file" and path.endswith("000000.tar"):
            is_put.set()
        if name == "read_range":
            assert is_put.wait(WAIT_S)  # its clips are not read before its put began

    outcomes = list(_run(HookedStore(store, hook), jobs))
    assert [each.error for each in outcomes] == [None] * len(outcomes)
    assert is_put.is_set()


def test_a_put_that_fails_while_the_tar_is_built_leaves_no_scratch(store: Store, tmp_path: Path) -> None:
    make_train(store, keys_of(3, 9))
    jobs = _jobs(store)

    def hook(_: int, name: str, path: str) -> None:
        if name == "put_file" and path.endswith("000000.tar"):
            raise StoreError("no room")

    outcomes = list(_run(HookedStore(store, hook), jobs))
    assert [each.error for each in outcomes] == ["no room", *[None] * (len(outcomes) - 1)]
    assert not list((tmp_path / "root/.tmp").rglob("*.tar"))


def test_a_tar_whose_clips_are_gone_is_not_put(store: Store, tmp_path: Path) -> None:
    make_train(store, keys_of(3, 9))
    jobs = _jobs(store)
    for tar in store.list("clips/shards"):
        store.delete(tar)
    outcomes = list(_run(RecordingStore(store), jobs))
    assert all("cannot be read" in (each.error or "") for each in outcomes)
    assert not any(path.endswith(".tar") for path in store.list("train"))
    assert not list((tmp_path / "root/.tmp").rglob("*.tar"))


def test_a_shard_that_fails_stops_no_other_one(store: Store) -> None:
    make_train(store, keys_of(3, 9))
    units = make_plan(Dataset.open(store, "train"), SMALL, finished=True).shard_units
    jobs = JobList([UnitJob("no such shard"), *(UnitJob(unit) for unit in units)])
    outcomes = list(_run(store, jobs))
    assert [each.error is None for each in outcomes] == [False, *[True] * len(units)]


def test_a_worker_that_ends_leaves_no_scratch(store: Store, tmp_path: Path) -> None:
    make_train(store, keys_of(3, 9))
    crashing = CrashingStore(store, 0, writes_only=True)
    with pytest.raises(Crash):
        list(_run(crashing, _jobs(store)))
    outcomes = _run(store, _jobs(store))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert not list((tmp_path / "root/.tmp").rglob("*.tar"))
    emitter = Emitter(store, "train")
    emitter.stop()
    with pytest.raises(IncompleteError, match="given up"):
        emitter.build("000001")
    assert not list((tmp_path / "root/.tmp").rglob("*.tar"))

import gc
import json
from pathlib import Path

import pytest
import webdataset
from support.emitted import COLUMNS, SMALL, emit_all, make_train, samples, score, tars
from support.tiny_dataset import (
    commit_pass_unit,
    fake_mp4,
    keys_of,
    make_clips,
    make_pass,
)

from shardpipe.core.columns import float32
from shardpipe.core.errors import IntegrityError
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.window import read_windows
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.members import read_member
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store, open_store


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_hold_the_kept_clips_in_order_and_webdataset_reads_them(store: Store, tmp_path: Path) -> None:
    make_train(store, {**keys_of(3, 9), "000003": ["bad_0"]})
    emit_all(store, "train")
    kept = [key for keys in keys_of(3, 9).values() for i, key in enumerate(keys) if i % 3 < 2]
    urls = [str(tmp_path / "root" / "train" / line) for line in store.read("train/urls.txt").decode().splitlines()]
    assert len(urls) > 1
    assert [Path(url).name for url in urls] == [f"train-{i:06d}.tar" for i in range(len(urls))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    gc.collect()  # webdataset leaves its files to the collector
    assert [sample["__key__"] for sample in read] == kept
    assert all(sample["mp4"] == fake_mp4(sample["__key__"]) for sample in read)
    sidecar = json.loads(read[0]["json"])
    assert sidecar["aes"] == 4.4
    assert sidecar["text"] == "clip 0 ä"
    assert sidecar["duration_s"] == 2.0
    assert b'"duration_s":2.0' in read[0]["json"]
    assert not {"kept", "dropped_by", "error", "shard", "offset", "size"} & set(sidecar)


def test_members_and_columns(store: Store) -> None:
    make_clips(store, keys_of(1, 4))
    make_pass(store, "score", columns=COLUMNS, score=score, members={"emb": "npy"})
    make_pass(store, "train", over="score", columns={}, score=lambda _: {}, emit="shards")
    emit_all(
        store, "train", PlanSettings(shard_bytes=1 << 20, members=("json", "mp4", "txt", "npy"), columns=("aes", "key"))
    )
    (data,) = tars(store, "train").values()
    found = samples(data)
    assert [name.split(".")[1] for name, _ in found[:4]] == ["json", "mp4", "txt", "npy"]
    assert found[0][1] == b'{"aes":4.4,"key":"v0_00000000"}'
    assert found[2][1].decode() == "clip 0 ä"
    assert found[3][1] == b"12345"
    fold = Dataset.open(store, "train").next_view().fold("000000")  # an emitted Dataset has its members too
    assert read_member(store, fold.rows[0]["members"]["npy"]) == b"12345"
    assert fold.rows[0]["aes"] == pytest.approx(4.4)
    assert "member_npy_offset" not in fold.rows[0]


def test_the_last_tars_do_not_depend_on_what_earlier_passes_emitted(tmp_path: Path) -> None:
    found = []
    for middle in ("rows", "shards"):
        store = open_store(str(tmp_path / middle))
        make_clips(store, {**keys_of(3, 7), "000003": ["bad_0"]})
        make_pass(store, "score", columns=COLUMNS, score=score, members={"emb": "npy"}, emit=middle)
        members = ("json", "mp4", "txt", "npy")
        if middle == "shards":
            emit_all(store, "score", PlanSettings(shard_bytes=9_000, members=members))
        late = {"n": float32}
        make_pass(store, "train", over="score", columns=late, score=lambda row: {"n": len(row["text"])}, emit="shards")
        emit_all(store, "train", PlanSettings(shard_bytes=20_000, members=members))
        found.append(tars(store, "train"))
    assert len(found[0]) > 1
    assert found[0] == found[1]


def test_a_flipped_byte_is_never_emitted(store: Store, tmp_path: Path) -> None:
    make_train(store, keys_of(2, 4))
    plan = make_plan(Dataset.open(store, "train"), SMALL, finished=True)
    clip = plan.windows[0].clips("000000")[1]
    path = tmp_path / "root" / clip["media"]
    data = bytearray(path.read_bytes())
    data[clip["offset"] + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"clip {clip['key']}.*{clip['media']}"):
        Emitter(store, "train").emit("000000")
    assert not store.list("train/shards")
    assert not store.list("train/emit")
    path.write_bytes(data[: clip["offset"]])
    with pytest.raises(IntegrityError, match=clip["media"]):
        Emitter(store, "train").emit("000000")
    path.unlink()
    with pytest.raises(IntegrityError, match=f"{clip['media']}.*is gone"):
        Emitter(store, "train").emit("000000")


def test_rows_that_changed_since_the_plan_are_refused(store: Store, tmp_path: Path) -> None:
    dataset = make_train(store, keys_of(1, 4))
    make_plan(dataset, SMALL, finished=True)
    (tmp_path / "root/train/rows/000000.parquet").unlink()
    commit_pass_unit(store, dataset.info, "000000", lambda row: {**score(row), "aes": 5.0})
    with pytest.raises(IntegrityError, match=r"train/rows/000000\.parquet is not what"):
        Emitter(store, "train").emit("000000")
    (tmp_path / "root/train/rows/000000.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"train/plan/0000\.parquet was made from rows that are no longer there"):
        Emitter(store, "train").emit("000000")


def test_resume_reads_only_what_unfinished_shards_need_and_writes_the_same(tmp_path: Path) -> None:
    whole, broken = (open_store(str(tmp_path / name)) for name in "ab")
    for store in (whole, broken):
        make_train(store, keys_of(3, 8))
    emit_all(whole, "train")
    units = make_plan(Dataset.open(broken, "train"), SMALL, finished=True).shard_units
    Emitter(broken, "train").emit(units[0])
    Emitter(broken, "train").emit(units[0])  # a second worker on the same shard
    recording = RecordingStore(broken)
    emitter = Emitter(recording, "train")
    for unit in units[1:]:
        emitter.emit(unit)
    finish(broken, "train")
    read = sum(operation.num_bytes for operation in recording.operations if operation.name == "read_range")
    wanted = [row for window in read_windows(broken, "train") for unit in units[1:] for row in window.clips(unit)]
    assert read <= sum(row["size"] for row in wanted) + 2048 * len(wanted)
    assert {path: whole.read(path) for path in whole.list("")} == {path: broken.read(path) for path in broken.list("")}


def test_an_emitted_dataset_names_its_tar_in_its_record(store: Store) -> None:
    make_train(store, keys_of(1, 3))
    emit_all(store, "train")
    table, meta = decode_rows(store.read("train/emit/000000.parquet"))
    assert meta.tar is not None
    assert meta.tar.name == "shards/train-000000.tar"
    assert table.column("kept").to_pylist() == [True, True]
    view = Dataset.open(store, "train").next_view()
    assert view.units() == ["000000"]
    assert view.fold("000000").rows[0]["shard"] == "train/shards/train-000000.tar"

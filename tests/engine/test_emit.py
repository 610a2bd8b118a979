import gc
import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
import webdataset
from support.tiny_dataset import (
    SOURCE_COLUMNS,
    Row,
    commit_clips,
    commit_pass_unit,
    fake_mp4,
    keys_of,
    make_clips,
    make_pass,
)

from shardpipe.config.models import PassConfig
from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.engine.emit import Emitter, runs
from shardpipe.engine.emitplan import check_emit, make_plan, read_windows
from shardpipe.engine.index import finish
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.verify import verify
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.members import read_member
from shardpipe.storage.rows import decode_rows, decode_table, encode_table
from shardpipe.storage.store import Store, open_store

COLUMNS: Columns = {"aes": float32, "text": string, "cmotion": list_of(string)}
SMALL = PlanSettings(shard_bytes=20_000)


def score(row: Row) -> Row:
    number = int(row["key"].rsplit("_", 1)[1])
    dropped_by = "aes >= 4" if number % 3 == 2 else None
    return {"aes": 4.4, "text": f"clip {number} ä", "cmotion": ["pan_left"], "dropped_by": dropped_by, "emb": b"12345"}


def emit_all(store: Store, name: str, settings: PlanSettings = SMALL) -> None:
    plan = make_plan(Dataset.open(store, name), settings, finished=True)
    assert plan.is_whole
    emitter = Emitter(store, name)
    for unit in plan.shard_units:
        emitter.emit(unit)
    finish(store, name)


def tars(store: Store, name: str) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list(f"{name}/shards") if path.endswith(".tar")}


def samples(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_hold_the_kept_clips_in_order_and_webdataset_reads_them(store: Store, tmp_path: Path) -> None:
    make_clips(store, {**keys_of(3, 9), "000003": ["bad_0"]})
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
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


def test_index_wids_and_idx_agree_with_the_tars(store: Store) -> None:
    make_clips(store, keys_of(2, 8))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    emit_all(store, "train")
    table, _ = decode_table(store.read("train/index.parquet"))
    rows = table.to_pylist()
    found = tars(store, "train")
    for row in rows:
        data = found[f"train/{row['shard']}"]
        assert data[row["offset"] : row["offset"] + row["size"]] == fake_mp4(row["key"])
        at, size = row["member_json_offset"], row["member_json_size"]
        assert json.loads(data[at : at + size])["key"] == row["key"]
    wids = json.loads(store.read("train/wids.json"))
    assert [shard["filesize"] for shard in wids["shardlist"]] == [len(data) for data in found.values()]
    assert sum(shard["nsamples"] for shard in wids["shardlist"]) == len(rows) == 12
    for path, data in found.items():
        starts = struct.unpack(f"<{len(store.read(path + '.idx')) // 8}q", store.read(path + ".idx"))
        assert starts[0] == 0
        assert starts[-1] == len(data) - 1024
        names = [name for name, _ in samples(data)]
        assert [data[at : data.index(b"\0", at)].decode() for at in starts[:-1]] == names[::2]


def test_shards_reach_the_target_and_only_the_last_is_smaller(store: Store) -> None:
    make_clips(store, keys_of(4, 10))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    emit_all(store, "train")
    sizes = [len(data) for data in tars(store, "train").values()]
    assert all(SMALL.shard_bytes <= size < SMALL.shard_bytes + 3000 + 2048 for size in sizes[:-1])


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ("aess",)}, "did you mean aes"),
        ({"bucket": ("heigth",)}, "did you mean height"),
        ({"members": ("json",)}, "mp4 must be one"),
        ({"members": ("json", "mp4", "npy")}, r"no layer writes \.npy"),
    ],
)
def test_settings_that_do_not_fit(store: Store, change: dict[str, Any], message: str) -> None:
    make_clips(store, keys_of(1, 2))
    dataset = make_pass(store, "train", columns={"aes": float32}, score=score, emit="shards")
    with pytest.raises(ConfigError, match=message):
        make_plan(dataset, PlanSettings(shard_bytes=1000, **change), finished=True)
    with pytest.raises(ConfigError, match="txt"):
        make_plan(dataset, PlanSettings(shard_bytes=1000, members=("mp4", "txt")), finished=True)
    assert not store.list("train/plan")


def test_a_kept_clip_without_text_cannot_have_a_txt(store: Store) -> None:
    make_clips(store, keys_of(1, 2))
    dataset = make_pass(store, "train", columns=COLUMNS, score=lambda _: {"text": None}, emit="shards")
    with pytest.raises(ConfigError, match="v0_00000000 is kept but has no text"):
        make_plan(dataset, PlanSettings(shard_bytes=1000, members=("json", "mp4", "txt")), finished=True)


@pytest.mark.parametrize("k", range(4))
def test_a_pass_is_never_planned_early(store: Store, k: int) -> None:
    units = keys_of(4, 3)
    make_clips(store, units)
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards", skip=list(units)[k:])
    for _ in range(2):
        plan = make_plan(dataset, SMALL, finished=True)
        assert not plan.is_whole
        assert f"{4 - k} units" in plan.waiting_for
        assert not store.list("train/plan")
    allowed = make_plan(dataset, PlanSettings(shard_bytes=20_000, allow_missing=4 - k), finished=False)
    assert not allowed.is_whole  # not before every unit was tried
    allowed = make_plan(dataset, PlanSettings(shard_bytes=20_000, allow_missing=4 - k), finished=True)
    assert allowed.is_whole
    assert allowed.missing == list(units)[k:]
    assert make_plan(dataset, SMALL, finished=True).missing == list(units)[k:]


def test_windows_are_planned_as_their_units_come_and_numbering_goes_on(store: Store) -> None:
    units = list(keys_of(5, 6))
    make_clips(store, keys_of(5, 6))
    settings = PlanSettings(shard_bytes=8_000, plan_units=2)
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards", skip=units[2:])
    seen = [make_plan(dataset, settings, finished=False)]
    for unit in units[2:]:
        commit_pass_unit(store, dataset.info, unit, score)
        seen.append(make_plan(dataset, settings, finished=False))
    assert [len(plan.windows) for plan in seen] == [1, 1, 2, 3]
    assert [plan.is_whole for plan in seen] == [False, False, False, True]
    assert seen[-1].shard_units == [f"{i:06d}" for i in range(len(seen[-1].shard_units))]
    emitter = Emitter(store, "train")
    with pytest.raises(IncompleteError, match="000000"):
        finish(store, "train")
    for unit in seen[-1].shard_units:
        emitter.emit(unit)
    assert finish(store, "train").num_clips == 20
    assert finish(store, "train").num_clips == 20


def test_new_sources_get_new_windows_and_a_new_index(store: Store) -> None:
    units = keys_of(2, 6)
    clips = make_clips(store, units)
    train = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    emit_all(store, "train")
    before = {path: store.read(path) for path in store.list("")}
    part = {"url": "videos/new.mp4", "unit": "000002", "part": 0, "cost": 1.0}
    store.create("clips/sources/0001.parquet", encode_table(SOURCE_COLUMNS, [part], {"batch": 1}))
    commit_clips(store, clips.info, "000002", ["new_00000000"], payload=fake_mp4, values={})
    commit_pass_unit(store, train.info, "000002", score)
    emit_all(store, "train")
    assert {path: store.read(path) for path in before} == before
    assert decode_table(store.read("train/index.0001.parquet"))[0].num_rows == 9
    assert not verify(store.url).problems
    assert len(json.loads(store.read("train/wids.0001.json"))["shardlist"]) == len(
        store.read("train/urls.0001.txt").split()
    )


def test_other_settings_on_a_plan_are_refused_with_the_difference(store: Store) -> None:
    make_clips(store, keys_of(1, 4))
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    make_plan(dataset, SMALL, finished=True)
    with pytest.raises(ConfigError, match="shard_bytes: 20000 there, 30000 here"):
        make_plan(dataset, PlanSettings(shard_bytes=30_000), finished=True)


def test_an_emit_that_cannot_be_is_refused_before_anything_runs(store: Store) -> None:
    make_clips(store, keys_of(1, 2))
    emit = {"members": ["json", "mp4", "txt", "npy"]}
    config = PassConfig.model_validate({"name": "train", "from": "clips", "emit": emit, "shard_bytes": 20_000})
    assert check_emit(store, config, {"text": string}, {"emb": "npy"}) == {"npy": "npy"}
    with pytest.raises(ConfigError, match=r"passes\.train\.emit\.members: txt holds the column `text`"):
        check_emit(store, config, {}, {"emb": "npy"})
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    make_plan(dataset, SMALL, finished=True)
    with pytest.raises(ConfigError, match="planned with other settings"):
        check_emit(store, config, {"text": string}, {"emb": "npy"})


def test_new_sources_after_a_crash_just_before_the_index(store: Store, tmp_path: Path) -> None:
    clips = make_clips(store, keys_of(1, 3))
    train = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    emit_all(store, "train")
    old = store.read("train/wids.json")
    (tmp_path / "root/train/index.parquet").unlink()  # as if the run had ended before it
    part = {"url": "videos/new.mp4", "unit": "000001", "part": 0, "cost": 1.0}
    store.create("clips/sources/0001.parquet", encode_table(SOURCE_COLUMNS, [part], {"batch": 1}))
    commit_clips(store, clips.info, "000001", ["new_00000000"], payload=fake_mp4, values={})
    commit_pass_unit(store, train.info, "000001", score)
    emit_all(store, "train")
    assert store.read("train/wids.json") != old
    assert decode_table(store.read("train/index.parquet"))[0].num_rows == 3
    assert not verify(str(tmp_path / "root")).problems


def test_shuffle_and_buckets(store: Store) -> None:
    make_clips(store, keys_of(3, 8))
    columns = {**COLUMNS, "kind": string}

    def kind(row: Row) -> Row:
        return {**score(row), "kind": "ab"[int(row["key"][-1]) % 2], "dropped_by": None}

    make_pass(store, "train", columns=columns, score=kind, emit="shards")
    emit_all(store, "train", PlanSettings(shard_bytes=8_000, shuffle=7, bucket=("kind",)))
    order = []
    for data in tars(store, "train").values():
        sidecars = [json.loads(body) for name, body in samples(data) if name.endswith(".json")]
        assert len({sidecar["kind"] for sidecar in sidecars}) == 1
        order += [sidecar["key"] for sidecar in sidecars]
    assert sorted(order) == sorted(key for keys in keys_of(3, 8).values() for key in keys)
    assert order != sorted(order)


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


def test_no_kept_clip_gives_no_tar_and_an_empty_index(store: Store) -> None:
    make_clips(store, keys_of(2, 3))
    make_pass(store, "train", columns=COLUMNS, score=lambda _: {"dropped_by": "false"}, emit="shards")
    emit_all(store, "train")
    assert "no clip was kept" in str(finish(store, "train"))
    assert not store.list("train/shards")
    table, _ = decode_table(store.read("train/index.parquet"))
    assert table.num_rows == 0
    assert "aes" in table.column_names
    assert Dataset.open(store, "train").next_view().units() == []


def test_a_flipped_byte_is_never_emitted(store: Store, tmp_path: Path) -> None:
    make_clips(store, keys_of(2, 4))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
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
    make_clips(store, keys_of(1, 4))
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    make_plan(dataset, SMALL, finished=True)
    (tmp_path / "root/train/rows/000000.parquet").unlink()
    commit_pass_unit(store, dataset.info, "000000", lambda row: {**score(row), "aes": 5.0})
    with pytest.raises(IntegrityError, match=r"train/rows/000000\.parquet is not what"):
        Emitter(store, "train").emit("000000")


def test_resume_reads_only_what_unfinished_shards_need_and_writes_the_same(tmp_path: Path) -> None:
    whole, broken = (open_store(str(tmp_path / name)) for name in "ab")
    for store in (whole, broken):
        make_clips(store, keys_of(3, 8))
        make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
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
    make_clips(store, keys_of(1, 3))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    emit_all(store, "train")
    table, meta = decode_rows(store.read("train/emit/000000.parquet"))
    assert meta.tar is not None
    assert meta.tar.name == "shards/train-000000.tar"
    assert table.column("kept").to_pylist() == [True, True]
    view = Dataset.open(store, "train").next_view()
    assert view.units() == ["000000"]
    assert view.fold("000000").rows[0]["shard"] == "train/shards/train-000000.tar"


def test_runs() -> None:
    assert list(runs([5, 5, 5, 20, 1], 10)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert list(runs([], 10)) == []

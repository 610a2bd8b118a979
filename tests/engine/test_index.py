import json
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from support.emitted import (
    COLUMNS,
    SMALL,
    add_clips,
    add_unit,
    emit_all,
    first_window,
    make_train,
    samples,
    score,
    tars,
)
from support.runs import snapshot
from support.tiny_dataset import (
    commit_pass_unit,
    fake_mp4,
    keys_of,
    make_clips,
    make_pass,
)

from shardpipe.core.columns import float32
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish, is_whole
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.known import Known
from shardpipe.engine.units import pass_todo
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.opened import open_dataset
from shardpipe.engine.views.report import status
from shardpipe.storage.crashing import Crash, CrashingStore, HookedStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store, open_store


def test_index_wids_and_idx_agree_with_the_tars(store: Store) -> None:
    make_train(store, keys_of(2, 8))
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
    make_train(store, keys_of(2, 6))
    emit_all(store, "train")
    before = {path: store.read(path) for path in store.list("")}
    add_unit(store, ["new_00000000"])
    finish(store, "train")
    assert {path: store.read(path) for path in before} == before
    assert decode_table(store.read("train/index.0001.parquet"))[0].num_rows == 9
    assert not verify(store.url).problems
    assert len(json.loads(store.read("train/wids.0001.json"))["shardlist"]) == len(
        store.read("train/urls.0001.txt").split()
    )


KEPT, DROPPED = [f"a_{i:08d}" for i in range(3)], ["b_00000002"]


@pytest.mark.parametrize("batches", [(KEPT, DROPPED), (KEPT, ["c_00000000"]), (DROPPED, KEPT)])
@pytest.mark.parametrize("how", ["crashes", "is overtaken"])
def test_windows_added_while_the_final_objects_are_written(
    tmp_path: Path, batches: tuple[list[str], list[str]], how: str
) -> None:
    """A finisher that knows one window dies after each operation, or sleeps there while another one with two does all."""
    first_window(open_store(str(tmp_path / "first")), batches[0])
    for n in range(100):
        shutil.copytree(tmp_path / "first", tmp_path / str(n))
        store = open_store(str(tmp_path / str(n)))
        before: dict[str, bytes] = {}

        def other(at: int, *_: str, store: Store = store, n: int = n, before: dict[str, bytes] = before) -> None:
            if at == n:
                add_unit(store, batches[1])
                finish(store, "train")
                before |= snapshot(store)

        driver = CrashingStore(store, n, "after") if how == "crashes" else HookedStore(store, other)
        with suppress(Crash):
            finish(driver, "train")
        if driver.count <= n:
            break
        if how == "crashes":
            before |= snapshot(store)
            add_unit(store, batches[1])
        newest = finish(store, "train").index
        after = snapshot(store)
        assert {path: after[path] for path in before} == before
        assert not {each.name for each in driver.operations} & {"delete", "replace"}
        assert is_whole(store, "train")
        assert len(decode_table(store.read(newest))[1]["windows"]) == 2
        assert not verify(store.url).problems
    assert n > 6


def test_what_is_said_while_new_windows_are_not_whole(store: Store) -> None:
    """What was whole stays readable; it is complete again once an index covers all; later passes wait for the rest."""
    first_window(store, KEPT)
    finish(store, "train")
    train = Dataset.open(store, "train")
    late = make_pass(store, "late", over="train", columns={"n": float32}, score=lambda _: {"n": 1.0}, skip=["000000"])

    def said() -> tuple[bool, bool, int, int, int]:
        """Status and open_dataset: complete; clips there; units that a later pass would do, and wait for."""
        (found,) = status(store, only=["train"]).passes
        opened = open_dataset(f"{store.url}/train")
        todo = pass_todo(Known(store), late, train.next_layers())
        return found.complete, opened.is_complete, len(list(opened.rows())), len(todo.jobs), todo.num_waiting

    assert said() == (True, True, 2, 1, 0)
    add_clips(store, ["b_00000000"])
    assert said() == (False, True, 2, 1, 0)
    commit_pass_unit(store, train.info, "000001", score)
    assert said() == (False, True, 2, 1, 0)
    make_plan(train, SMALL, finished=True)
    assert said() == (False, False, 2, 1, 1)
    Emitter(store, "train").emit("000001")
    assert said() == (False, False, 3, 2, 0)
    finish(store, "train")
    assert said() == (True, True, 3, 2, 0)


def test_final_objects_that_no_plan_gives_are_damage(store: Store) -> None:
    first_window(store, KEPT)
    store.create("train/urls.txt", b"shards/other-000000.tar\n")
    with pytest.raises(IntegrityError, match=r"train/urls\.txt lists other shards.*shardpipe verify"):
        finish(store, "train")
    assert "train/index.parquet" not in store.list("train")


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


def test_status_of_a_planned_root_that_lost_rows(store: Store) -> None:
    make_train(store, keys_of(2, 8))
    emit_all(store, "train")
    store.delete("train/rows/000001.parquet")
    train = next(each for each in status(store).passes if each.name == "train")
    assert (train.num_units_done, train.num_units) == (1, 2)


def test_a_damaged_rows_object_is_named(store: Store) -> None:
    make_train(store, keys_of(2, 8))
    data = store.read("train/rows/000001.parquet")
    store.delete("train/rows/000001.parquet")
    store.create("train/rows/000001.parquet", data[:50])
    with pytest.raises(IntegrityError, match=r"train/rows/000001\.parquet is damaged or cut short"):
        status(store)

"""Nothing is planned before all that it needs is there, and what is half emitted is finished without reading more than that."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from support.fakes import Scored
from support.places import LOCAL_FIRST, ON_ALL, Place
from support.runs import run_inline, snapshot
from support.tiny_dataset import keys_of, make_clips

from shardpipe.config.models import Config
from shardpipe.core.report import RunReport
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.storage.crashing import WRITES, Crash, CrashingStore, HookedStore, RecordingStore
from shardpipe.storage.rows import decode_rows, encode_table
from shardpipe.storage.store import Store, open_store

NUM_UNITS = 5
SHARDS = {"name": "train", "emit": "shards", "shard_bytes": 8_000}


def config(root: str, *passes: Mapping[str, Any]) -> Config:
    return Config.model_validate(
        {
            "root": root,
            "passes": [{"from": "clips", "emit": "rows", "stages": [], **each} for each in passes],
            "execute": {"type": "inline"},
        }
    )


def run(store: Store, *passes: Mapping[str, Any], **options: Any) -> RunReport:
    return run_inline(config(store.url, *passes), store, **options)


def take_rows(store: Store) -> dict[str, bytes]:
    """Remove the rows of all units of clips, and give them."""
    rows = {path: store.read(path) for path in store.list("clips/rows")}
    for path in rows:
        store.delete(path)
    return rows


@LOCAL_FIRST
@pytest.mark.parametrize("over", ["clips", "score"])
def test_no_plan_at_any_k_of_n_units(place: Place, over: str) -> None:
    """A pass of shards is started after each unit that its input commits: over clips, or over a pass of rows."""
    store = open_store(place.root())
    make_clips(store, keys_of(NUM_UNITS, 4))
    score = {"name": "score", "stages": [Scored()]}
    passes = [score, {**SHARDS, "from": "score"}] if over == "score" else [{**SHARDS, "stages": [Scored()]}]
    rows = take_rows(store)
    for k, (path, data) in enumerate(rows.items()):
        for options in ({}, {"partial": True}, {"limit": 3}):
            report = run(store, *passes, **options)
            assert "train" in report.pending
        assert "train" not in report.passes
        assert not store.list("train/plan")
        assert not store.list("train/shards")
        assert len(store.list("train/rows")) == k
        store.create(path, data)
    assert run(store, *passes, partial=True).pending == {"train": "nothing is emitted with --partial or --limit"}
    assert not run(store, *passes).pending
    assert store.size("train/index.parquet")

    other = open_store(place.root())
    make_clips(other, keys_of(NUM_UNITS, 4))
    assert not run(other, *passes).pending
    assert snapshot(other) == snapshot(store)


@ON_ALL
def test_windows_come_one_by_one(place: Place) -> None:
    """With `plan_units`, a window is emitted as soon as its own units are there."""
    store = open_store(place.root())
    make_clips(store, keys_of(NUM_UNITS, 4))
    train = {**SHARDS, "emit": {"plan_units": 2}}
    for k, (path, data) in enumerate(take_rows(store).items()):
        assert "train" in run(store, train).pending
        assert len(read_windows(store, "train")) == k // 2
        assert bool(store.list("train/emit")) == (k >= 2)
        assert store.size("train/index.parquet") is None
        store.create(path, data)
    assert not run(store, train).pending
    assert len(read_windows(store, "train")) == 3


@LOCAL_FIRST
def test_units_that_may_miss_are_waited_for(place: Place) -> None:
    """`allow_missing` is for units that failed, not for such whose turn has not come yet."""
    store = open_store(place.root())
    make_clips(store, keys_of(NUM_UNITS, 4))
    rows = list(take_rows(store).items())
    for path, data in rows[1:]:
        store.create(path, data)
    train = {**SHARDS, "emit": {"allow_missing": 1}}
    report = run(store, train)
    assert "train" in report.pending
    assert not store.list("train/plan")


@LOCAL_FIRST
def test_units_that_came_since_are_waited_for(place: Place) -> None:
    """Sources are added while a pass runs that may miss units: their clips are not those that it may be without."""
    store = open_store(place.root())
    make_clips(store, keys_of(NUM_UNITS, 4))
    late = {"url": "videos/late.mp4", "unit": "000005", "part": 0, "cost": 1.0}

    def add(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "train/rows/000002.parquet"):
            store.create("clips/sources/0001.parquet", encode_table(PART_COLUMNS, [late], {}))

    train = {**SHARDS, "emit": {"allow_missing": 1}}
    report = run(HookedStore(store, add), train)
    assert "1 units of train have no rows yet (000005)" in report.pending["train"]
    assert not store.list("train/plan")


@LOCAL_FIRST
def test_a_unit_that_fails_may_miss(place: Place) -> None:
    store = open_store(place.root())
    make_clips(store, keys_of(NUM_UNITS, 4))
    strict = Strict(at="v3_00000000")
    report = run(store, {**SHARDS, "stages": [strict]})
    assert set(report.failed_units) == {"train/000003"}
    assert "train" in report.pending
    assert not store.list("train/plan")
    report = run(store, {**SHARDS, "stages": [strict], "emit": {"allow_missing": 1}})
    assert "train" not in report.pending
    (window,) = read_windows(store, "train")
    assert window.missing == ("000003",)
    assert decode_rows(store.read("train/emit/000000.parquet"))[0].num_rows
    assert store.size("train/index.parquet")


class Strict(Scored):
    """Fails the unit of one clip."""

    at: str

    def process(self, batch: Any) -> Any:
        if any(view.key == self.at for view in batch):
            raise RuntimeError("no")
        return super().process(batch)

    def __init__(self, **fields: Any) -> None:
        super().__init__(on_error="fail", **fields)


@LOCAL_FIRST
def test_a_resumed_emit_reads_only_unfinished_shards(place: Place) -> None:
    """Crash after each tar, index of a tar, record and final file: all come, and finished shards are not read again."""
    clean = open_store(place.root())
    make_clips(clean, keys_of(2, 5))
    recording = RecordingStore(clean)
    run(recording, SHARDS)
    writes = [
        n
        for n, each in enumerate(recording.operations)
        if each.name in WRITES - {"replace"} and not each.path.startswith("train/rows")
    ]
    sizes = {path: size for path, size in clean.list("train/shards").items() if path.endswith(".tar")}
    assert len(sizes) > 2
    for n in writes:
        store = open_store(place.root())
        make_clips(store, keys_of(2, 5))
        with suppress(Crash):
            run(CrashingStore(store, n, "after"), SHARDS)
        done = {path.removeprefix("train/emit/").removesuffix(".parquet") for path in store.list("train/emit")}
        left = sum(size for path, size in sizes.items() if path[-10:-4] not in done)
        resumed = RecordingStore(store)
        assert not run(resumed, SHARDS).pending
        read = sum(each.num_bytes for each in resumed.operations if each.path.startswith("clips/shards"))
        assert read <= left
        assert bool(read) == bool(left)
        assert snapshot(store) == snapshot(clean)

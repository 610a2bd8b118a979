import json
from typing import Any

import pytest
from support.emitted import COLUMNS, SMALL, emit_all, make_train, samples, score, tars
from support.tiny_dataset import (
    Row,
    keys_of,
    make_clips,
    make_pass,
)

from shardpipe.config.models import PassConfig
from shardpipe.core.columns import float32, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.emission.emitplan import check_emit, make_plan
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.known import Known
from shardpipe.storage.store import Store


def test_shards_reach_the_target_and_only_the_last_is_smaller(store: Store) -> None:
    make_train(store, keys_of(4, 10))
    emit_all(store, "train")
    sizes = [len(data) for data in tars(store, "train").values()]
    assert all(SMALL.shard_bytes <= size < SMALL.shard_bytes + 3000 + 2048 for size in sizes[:-1])


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
    assert [unit for window in allowed.windows for unit in window.missing] == list(units)[k:]
    again = make_plan(dataset, SMALL, finished=True)
    assert [unit for window in again.windows for unit in window.missing] == list(units)[k:]


def test_other_settings_on_a_plan_are_refused_with_the_difference(store: Store) -> None:
    dataset = make_train(store, keys_of(1, 4))
    make_plan(dataset, SMALL, finished=True)
    with pytest.raises(ConfigError, match="shard_bytes: 20000 there, 30000 here"):
        make_plan(dataset, PlanSettings(shard_bytes=30_000), finished=True)


def test_an_emit_that_cannot_be_is_refused_before_anything_runs(store: Store) -> None:
    make_clips(store, keys_of(1, 2))
    emit = {"members": ["json", "mp4", "txt", "npy"]}
    config = PassConfig.model_validate({"name": "train", "from": "clips", "emit": emit, "shard_bytes": 20_000})
    assert check_emit(Known(store), config, {"text": string}, {"emb": "npy"}) == {"npy": "npy"}
    with pytest.raises(ConfigError, match=r"passes\.train\.emit\.members: txt holds the column `text`"):
        check_emit(Known(store), config, {}, {"emb": "npy"})
    dataset = make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")
    make_plan(dataset, SMALL, finished=True)
    with pytest.raises(ConfigError, match="planned with other settings"):
        check_emit(Known(store), config, {"text": string}, {"emb": "npy"})


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

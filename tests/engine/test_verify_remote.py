"""`verify` of a bucket: tars in several ranged reads, listings that lack objects, findings in one order."""

import random
from pathlib import Path
from uuid import uuid4

import pytest
from support.emitted import emit_all
from support.tiny_dataset import keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.engine.verifying import crew
from shardpipe.engine.verifying.verify import verify, verify_store
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import Store, open_store


@pytest.fixture
def store() -> Store:
    store = open_store(f"memory://{uuid4().hex}/root")
    make_clips(store, keys_of(4, 3))
    make_pass(
        store,
        "train",
        columns={"aes": float32},
        score=lambda row: {"aes": 1.0, "emb": row["key"].encode()},
        members={"emb": "npy"},
        emit="shards",
    )
    emit_all(store, "train")
    return store


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "CHUNK", 1000)


@pytest.mark.usefixtures("small_chunks")
def test_tars_are_streamed_in_ranged_reads(store: Store) -> None:
    recording = RecordingStore(store)
    told: list[tuple[int, int]] = []
    assert verify_store(recording, tell=lambda done, total: told.append((done, total))).problems == ()
    tars = {path: size for path, size in store.list("").items() if path.endswith(".tar")}
    reads = [each for each in recording.operations if each.path in tars]
    assert {each.name for each in reads} == {"read_range"}
    assert max(each.num_bytes for each in reads) == 1000
    assert sum(each.num_bytes for each in reads) == sum(tars.values())
    assert told[-1] == (sum(tars.values()), sum(tars.values()))


@pytest.mark.usefixtures("small_chunks")
def test_damage_anywhere_in_a_tar_is_found_and_told_in_one_order(store: Store) -> None:
    tars = [path for path in store.list("") if path.endswith(".tar")]
    for path in tars:
        data = bytearray(store.read(path))
        data[random.Random(path).randrange(len(data))] ^= 1
        store.delete(path)
        store.create(path, bytes(data))
    found = verify(store.url).problems
    assert {problem.path for problem in found} == set(tars)
    assert [verify(store.url).problems for _ in range(3)] == [found] * 3


class Stale(RecordingStore):
    """Listings that lack objects."""

    def list(self, prefix: str) -> dict[str, int]:
        found = super().list(prefix)
        return {path: size for path, size in found.items() if not path.startswith("train/shards/")}


def test_what_a_listing_lacks_is_not_missing(store: Store) -> None:
    assert verify_store(Stale(store)).problems == ()


def test_a_key_in_two_units_is_found(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    make_clips(store, {"000000": ["a_0", "a_1"], "000001": ["b_0", "a_1"]})
    texts = [str(problem) for problem in verify(str(tmp_path)).problems]
    assert texts == ["clips/rows/000001.parquet: has key a_1, which another unit has too"]

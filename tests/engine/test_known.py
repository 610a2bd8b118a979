"""Summaries of rows objects under `_run/`: they save reading, and whatever is wrong with one changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import snapshot
from support.tiny_dataset import commit_clips, fake_mp4, keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.errors import StoreError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine import known as knowing
from shardpipe.engine.known import Known
from shardpipe.engine.units import failed_share, pass_todo
from shardpipe.engine.views.report import status
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.facts import Found, encode_summary, summary_path
from shardpipe.storage.store import Store, open_store

UNITS = keys_of(5, 2)
PATH = summary_path("clips/rows")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowing, "WORTH_KEEPING", 3)


def make_root(root: Path) -> Store:
    store = open_store(str(root))
    make_clips(store, UNITS)
    make_pass(store, "score", columns={"aes": float32}, score=lambda _: {"aes": 1.0})
    return store


def learn(store: Store) -> tuple[int, int]:
    """Look at all rows as a run does, which leaves summaries: how many units of `score` are done, and left."""
    known = Known(store, keeps=True)
    score = Dataset.open(store, "score")
    todo = pass_todo(known, score, Dataset.open(store, "clips").next_layers())
    return todo.num_done, len(todo.jobs)


def read_of(store: Store, act: Callable[[Store], object]) -> list[str]:
    """The rows objects that it reads."""
    recording = RecordingStore(store)
    act(recording)
    return [each.path for each in recording.operations if each.name.startswith("read") and "/rows/" in each.path]


def test_a_summary_saves_reading(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    before = snapshot(store)
    assert len(read_of(store, learn)) == len(read_of(store, status)) + 10 == 10
    assert read_of(store, learn) == []
    assert snapshot(store) == before


def test_what_only_looks_writes_none(tmp_path: Path) -> None:
    make_root(tmp_path)
    store = open_store(str(tmp_path), read_only=True)
    status(store)
    failed_share(Known(store), "clips")
    assert not (tmp_path / "_run").exists()


def test_few_objects_are_not_worth_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowing, "WORTH_KEEPING", 6)
    store = make_root(tmp_path)
    learn(store)
    assert store.list("_run") == {}


def test_new_objects_are_added_and_deleted_ones_go(tmp_path: Path) -> None:
    """Another's summary is kept as far as it holds; one object a folder, however often."""
    store = make_root(tmp_path)
    learn(store)
    (tmp_path / "clips/rows/000000.parquet").unlink()
    (tmp_path / "clips/rows/000001.parquet").unlink()
    info = Dataset.open(store, "clips").info
    for unit in ("000005", "000006", "000007"):
        commit_clips(store, info, unit, [f"w_{unit}"], payload=fake_mp4, values={})
    failed_share(Known(store, keeps=True), "clips")
    assert len(read_of(store, lambda far: failed_share(Known(far), "clips"))) == 0
    assert sorted(store.list("_run")) == [PATH, summary_path("score/rows")]
    known = Known(store)
    layer = Dataset.open(store, "clips").pass_layers()[0]
    known.read(layer, [], hashed=True)
    assert known.facts(layer, "clips/rows/000000.parquet") is None


def flipped(data: bytes, _: Store) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


def cut_short(data: bytes, _: Store) -> bytes:
    return data[: len(data) // 2]


def of_another_format(_: bytes, store: Store) -> bytes:
    data = store.read("clips/rows/000000.parquet")
    return f"{sha256_hex(data)}\n".encode() + data


def of_no_json(_: bytes, store: Store) -> bytes:
    return lying(store, b"[" * 100_000)


def of_no_facts(_: bytes, store: Store) -> bytes:
    return lying(store, b'{"counts": {"seen": Infinity}, "inputs": [1], "fingerprint": 7, "tar": 1}')


def lying(store: Store, text: bytes, **changed: Any) -> bytes:
    """A summary in good order that says this of each object."""
    entries = store.entries("clips/rows").items()
    return encode_summary([Found(path, entry._replace(**changed), "0" * 64, text) for path, entry in entries])


@pytest.mark.parametrize("spoil", [flipped, cut_short, of_another_format, of_no_json, of_no_facts])
def test_a_bad_summary_is_as_none(tmp_path: Path, spoil: Callable[[bytes, Store], bytes]) -> None:
    store = make_root(tmp_path)
    told = status(store)
    learn(store)
    store.replace(PATH, spoil(store.read(PATH), store))
    assert status(store) == told
    assert len(read_of(store, status)) == 5
    assert learn(store) == (5, 0)
    assert read_of(store, status) == []  # it was mended


@pytest.mark.parametrize("changed", [{"version": "1"}, {"size": 1}])
def test_what_is_said_of_other_objects_does_not_count(tmp_path: Path, changed: dict[str, Any]) -> None:
    """A summary of another root, or of objects that were there before, under the same names."""
    store = make_root(tmp_path)
    told = status(store)
    text = b'{"counts": {"seen": 9, "kept": 9, "failed": 9, "seen_s": 9, "kept_s": 9}, "inputs": {}, "fingerprint": "", "tar": null}'
    store.replace(PATH, lying(store, text, **changed))
    assert status(store) == told


def test_the_summary_of_another_root_does_not_count(tmp_path: Path) -> None:
    store, other = make_root(tmp_path / "a"), open_store(str(tmp_path / "b"))
    make_clips(other, UNITS, payload=lambda key: fake_mp4(f"other {key}"))
    make_pass(other, "score", columns={"aes": float32}, score=lambda _: {"aes": 1.0})
    learn(other)
    told = status(store)
    store.replace(PATH, other.read(PATH))
    assert status(store) == told
    assert learn(store) == (5, 0)


def test_rows_made_again_with_other_bytes_are_seen(tmp_path: Path) -> None:
    """What was made from the rows that were there before is to do again, whatever a summary says of these."""
    store = make_root(tmp_path)
    assert learn(store) == (5, 0)
    path, keys = "clips/rows/000002.parquet", UNITS["000002"]
    (tmp_path / path).unlink()
    commit_clips(store, Dataset.open(store, "clips").info, "000002", keys[::-1], payload=fake_mp4, values={})
    assert read_of(store, learn) == [path]
    assert learn(store) == (4, 1)
    assert status(store).passes[1].num_units_done == 4


class _Refusing(RecordingStore):
    """Refuses what may be replaced."""

    def replace(self, path: str, data: bytes) -> None:
        raise StoreError(f"{path}: slow down, please")


def test_a_summary_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    assert learn(_Refusing(store)) == (5, 0)

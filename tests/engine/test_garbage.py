"""Which tars nobody needs: by rows that are looked up by name, never because a listing lacks something."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from support.emitted import emit_all
from support.tiny_dataset import keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.upkeep.garbage import delete, unreferenced
from shardpipe.storage.commit import RowsLog, tar_name
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.drivers import beat, this_driver
from shardpipe.storage.probe import note_honours
from shardpipe.storage.rows import decode_rows, encode_rows, table_columns
from shardpipe.storage.store import Entry, Honours, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Clips of two units and their scores with members, of which shards are emitted; a retry of unit 000000 of both."""
    store = open_store(str(tmp_path / "root"))
    make_clips(store, keys_of(2, 2))
    members = {"emb": "npy"}
    make_pass(
        store,
        "score",
        columns={"aes": float32},
        score=lambda _: {"aes": 1.0, "emb": b"x"},
        members=members,
        emit="shards",
    )
    emit_all(store, "score")
    for name in ("clips", "score"):
        retried(store, name)
    return store


def retried(store: Store, name: str) -> None:
    """Rows of generation 1, whose tar is another one."""
    table, meta = decode_rows(store.read(f"{name}/rows/000000.parquet"))
    field, folder = ("tar", "shards") if name == "clips" else ("members_tar", "members")
    own = getattr(meta, field)
    ref = dataclasses.replace(
        own, name=put(store, name, folder, "000000", 1, data=store.read(f"{name}/{own.name}") + b"1")
    )
    again = dataclasses.replace(meta, generation=1, **{field: ref})
    RowsLog(store, name).commit("000000", encode_rows(table_columns(table.schema), table.to_pylist(), again), 1)


def put(store: Store, name: str, folder: str, unit: str, generation: int = 0, *, data: bytes = b"lost") -> str:
    file = store.scratch() / "a.tar"
    file.write_bytes(data)
    tar = tar_name(folder, unit, generation, sha256_hex(data))
    store.put_file(f"{name}/{tar}", file)
    return tar


def needless(store: Store) -> list[str]:
    return [tar.path for tar in unreferenced(store) if not tar.why]


def test_what_rows_of_any_generation_name_is_needed(store: Store) -> None:
    assert unreferenced(store) == []


@pytest.mark.parametrize(("name", "folder"), [("clips", "shards"), ("score", "members")])
def test_tars_of_lost_races_are_deleted(store: Store, name: str, folder: str) -> None:
    before = store.list("")
    lost = [
        put(store, name, folder, "000000"),
        put(store, name, folder, "000000", 1),
        put(store, name, folder, "000001"),
    ]
    found = unreferenced(store)
    assert {tar.path for tar in found} == {f"{name}/{tar}" for tar in lost}
    assert [(tar.num_bytes, tar.why) for tar in found] == [(4, "")] * 3
    delete(store, found)
    assert store.list("") == before


@pytest.mark.parametrize(("unit", "generation"), [("000001", 1), ("000000", 2), ("000002", 0)])
def test_a_tar_whose_rows_may_come_yet_is_kept(store: Store, unit: str, generation: int) -> None:
    put(store, "clips", "shards", unit, generation)
    (tar,) = unreferenced(store)
    assert tar.why.startswith(f"no rows of unit {unit}")
    delete(store, [tar])
    assert store.size(tar.path) is not None


def test_objects_of_others_are_no_tars_of_units(store: Store, tmp_path: Path) -> None:
    for path in ("clips/shards/a.tar", "clips/000000-aaaaaaaaaaaa.tar", "clips/shards/x/000000-aaaaaaaaaaaa.tar"):
        store.create(path, b"x")
    for path in ("score/shards/000000-aaaaaaaaaaaa.tar", "videos/shards/000000-aaaaaaaaaaaa.tar"):
        store.create(path, b"x")
    assert unreferenced(store) == []


class Stale(RecordingStore):
    """Listings that lack rows: all, or those of the newest generation."""

    def __init__(self, inner: Store, *, only: str = "") -> None:
        super().__init__(inner)
        self.only = only

    def entries(self, prefix: str) -> dict[str, Entry]:
        return {path: entry for path, entry in super().entries(prefix).items() if self._is_seen(path)}

    def list(self, prefix: str) -> dict[str, int]:
        return {path: size for path, size in super().list(prefix).items() if self._is_seen(path)}

    def _is_seen(self, path: str) -> bool:
        return "/rows/" not in path or self.only not in path


@pytest.mark.parametrize("only", ["", ".1.parquet", "000000.parquet"])
def test_a_stale_listing_loses_nothing(store: Store, only: str) -> None:
    lost = put(store, "clips", "shards", "000000", 1)
    stale = Stale(store, only=only)
    assert needless(stale) == [f"clips/{lost}"]


def test_rows_that_cannot_be_trusted_keep_all(store: Store, tmp_path: Path) -> None:
    """Damaged ones, those of another unit, and a Dataset whose dataset.json is damaged."""
    root = tmp_path / "root"
    put(store, "clips", "shards", "000001")
    rows = root / "clips/rows/000001.parquet"
    good = rows.read_bytes()
    for data in (b"", good[: len(good) // 2], (root / "clips/rows/000000.parquet").read_bytes()):
        rows.write_bytes(data)
        assert len(unreferenced(store)) == 2  # its own too
        assert needless(store) == []
    rows.write_bytes(good)
    assert len(needless(store)) == 1
    (root / "clips/dataset.json").write_bytes(b"{}")
    assert needless(store) == []


def test_what_may_be_a_lost_tar_under_another_name_is_kept(store: Store, tmp_path: Path) -> None:
    shards = tmp_path / "root/clips/shards"
    own = next(shards.glob("000001-*.tar"))
    copy = shards / own.name.replace("000001", "000000")
    shutil.copy(own, copy)
    assert needless(store) == [f"clips/shards/{copy.name}"]
    own.unlink()
    (tar,) = unreferenced(store)
    assert f"it may be what clips/shards/{own.name} was" in tar.why


class Unconditional(RecordingStore):
    """A store of which a run found out that it ignores conditions."""

    @property
    def honours(self) -> Honours | None:
        return None


def test_nothing_is_deleted_beside_a_driver_where_conditions_are_ignored(store: Store) -> None:
    """There, who comes too late replaces the rows, and names another tar."""
    put(store, "clips", "shards", "000000")
    unsafe = Unconditional(store)
    note_honours(unsafe, Honours(conditional_put=False))
    assert len(needless(unsafe)) == 1
    beat(unsafe, this_driver("a", 1.0))
    assert needless(unsafe) == []
    assert "a driver lives" in unreferenced(unsafe)[0].why
    note_honours(unsafe, Honours())
    assert len(needless(unsafe)) == 1

"""The rows log: what is done, which generation counts, who wins."""

from pathlib import Path

import pytest

from shardpipe.storage.commit import RowsLog, TarName, tar_name
from shardpipe.storage.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_a_unit_is_done_when_its_rows_exist(store: Store) -> None:
    log = RowsLog(store, "score")
    assert log.done() == {}
    assert log.commit("000001-00", b"b") == b"b"
    assert log.commit("000000", b"a") == b"a"
    assert log.done() == {"000000": "score/rows/000000.parquet", "000001-00": "score/rows/000001-00.parquet"}
    assert list(log.done()) == ["000000", "000001-00"]
    assert store.read("score/rows/000000.parquet") == b"a"


def test_the_first_commit_wins(store: Store) -> None:
    assert RowsLog(store, "score").commit("000000", b"first") == b"first"
    assert RowsLog(store, "score").commit("000000", b"second") == b"first"


def test_the_highest_generation_counts(store: Store) -> None:
    log = RowsLog(store, "score")
    for generation in (0, 2, 10, 9):
        log.commit("000000", str(generation).encode(), generation)
    assert log.generations() == {"000000": 10}
    assert log.done() == {"000000": "score/rows/000000.10.parquet"}


def test_other_files_are_not_units(store: Store) -> None:
    for name in (
        "x.txt",
        "a.0.parquet",
        "a.01.parquet",
        "a.b.parquet",
        "sub/000000.parquet",
        ".parquet",
        "a.parquet.tmp",
    ):
        store.create(f"score/rows/{name}", b"x")
    store.create("score2/rows/000000.parquet", b"x")
    assert RowsLog(store, "score").done() == {}


@pytest.mark.parametrize(("unit", "generation"), [("000000", 0), ("000000", 1), ("000012-00", 0), ("000012-00", 12)])
def test_a_tars_name_says_whose_it_is(unit: str, generation: int) -> None:
    sha256 = "3fa9c1d2e07b" + 52 * "0"
    name = tar_name("shards", unit, generation, sha256)
    assert TarName.parse(f"clips/{name}") == TarName(unit, generation, sha256[:12])
    assert (name == f"shards/{unit}-3fa9c1d2e07b.tar") == (generation == 0)


@pytest.mark.parametrize("name", ["train-000000.tar", "000000.0-3fa9c1d2e07b.tar", "a.b-3fa9c1d2e07b.tar", "x.tar.idx"])
def test_other_files_are_not_tars_of_units(name: str) -> None:
    assert TarName.parse(f"clips/shards/{name}") is None


def test_bad_units_are_refused(store: Store) -> None:
    log = RowsLog(store, "score")
    for unit in ("", "a.b", "../x", "a/b", "a b"):
        with pytest.raises(ValueError, match="bad unit"):
            log.commit(unit, b"x")
    with pytest.raises(ValueError, match="bad unit"):
        log.commit("a", b"x", -1)


def test_records_of_an_emit_are_a_log_too(store: Store) -> None:
    log = RowsLog(store, "train", folder="emit")
    log.commit("000000", b"x")
    assert log.done() == {"000000": "train/emit/000000.parquet"}
    assert RowsLog(store, "", folder="rows").path("a") == "rows/a.parquet"

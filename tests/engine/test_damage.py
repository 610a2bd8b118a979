"""Objects that are damaged or lost: whoever needs one says which it is, and goes on with nothing that it cannot know."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.emitted import add_clips, emit_all, make_train
from support.tiny_dataset import keys_of

from shardpipe.config.models import CutConfig
from shardpipe.core.errors import IntegrityError
from shardpipe.engine.cutting.batches import add_batch
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.known import Known
from shardpipe.engine.sources.sources import Found, Listing
from shardpipe.engine.units import Todo, cut_todo
from shardpipe.engine.views.opened import open_dataset
from shardpipe.engine.views.query import query
from shardpipe.engine.views.report import status
from shardpipe.storage.store import Store, open_store

Reader = Callable[[Store], object]


def ask_status(store: Store) -> object:
    return status(store)


def ask_todo(store: Store) -> Todo:
    return cut_todo(Known(store))


def ask_query(store: Store) -> object:
    return query(store.url, "SELECT count(*) FROM train")


def ask_rows(store: Store) -> object:
    return list(open_dataset(f"{store.url}/train").rows())


READERS: Mapping[str, tuple[Reader, ...]] = {
    "clips/sources/0000.parquet": (ask_status, ask_query, ask_todo),
    "clips/rows/000000.parquet": (ask_status, ask_query),
    "train/rows/000001.parquet": (ask_status, ask_query),
    "train/plan/0000.parquet": (ask_status, ask_rows),
    "train/emit/000000.parquet": (ask_rows, ask_query),
    "train/index.parquet": (ask_status, lambda store: finish(store, "train")),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path))
    make_train(store, keys_of(3, 6))
    emit_all(store, "train")
    return store


@pytest.mark.parametrize("share", [0.0, 0.7])
@pytest.mark.parametrize("path", READERS)
def test_what_is_cut_short_is_named(store: Store, tmp_path: Path, path: str, share: float) -> None:
    data = store.read(path)
    (tmp_path / path).write_bytes(data[: int(share * len(data))])
    for ask in READERS[path]:
        with pytest.raises(IntegrityError, match=rf"{path} is damaged or cut short .*: restore it"):
            ask(store)


def test_a_lost_batch_of_sources_is_missed(store: Store, tmp_path: Path) -> None:
    """Its units would else be forgotten, and what is added later take its name."""
    for i in range(2):
        add_clips(store, [f"late{i}_00000000"])
    assert len(ask_todo(store).names) == 5
    (tmp_path / "clips/sources/0001.parquet").unlink()
    cut = CutConfig.model_validate({"sources": "videos", "scenes": {"type": "none"}})
    for ask in (
        ask_todo,
        ask_status,
        lambda store: add_batch(store, cut, Listing([Found("new", 1, None)], {}), {}, url=""),
    ):
        with pytest.raises(IntegrityError, match=r"sources/0001\.parquet is missing, but clips/sources/0002\.parquet"):
            ask(store)


def test_a_lost_window_is_missed(store: Store, tmp_path: Path) -> None:
    store.create("train/plan/0001.parquet", store.read("train/plan/0000.parquet"))
    (tmp_path / "train/plan/0000.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"plan/0000\.parquet is missing"):
        read_windows(store, "train")


@pytest.mark.parametrize("path", ["clips/rows/000001.parquet", "train/rows/000001.parquet"])
def test_lost_rows_are_no_units_done(store: Store, tmp_path: Path, path: str) -> None:
    (tmp_path / path).unlink()
    assert status(store).passes[-1].num_units_done == 2

"""The list of removed clips, and tars out of which they are taken."""

import io
import tarfile
from pathlib import Path

import pytest

from shardpipe.core.clip import video_id
from shardpipe.core.errors import IntegrityError
from shardpipe.storage.blanks import BLANK, blank, is_blank, members_in
from shardpipe.storage.crashing import HookedStore, RecordingStore
from shardpipe.storage.removed import Entry, Removed, batch_path, masked
from shardpipe.storage.store import Store, open_store
from shardpipe.storage.tar import TarWriter


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


def test_a_batch_is_obeyed_by_key_by_source_and_by_the_id_in_a_key(store: Store) -> None:
    Removed(store).append([Entry("a_1", "v/a.mp4"), Entry("b_1", None), Entry(None, "v/c.mp4")])
    removed = Removed(store)
    own = video_id("v/c.mp4")
    assert removed.of(["a_1", "a_2", "b_1", own, f"{own}_00000040", f"{own}_n00000040", f"{own}_p2", f"{own}x_1"]) == [
        *("a_1", "b_1", own, f"{own}_00000040", f"{own}_n00000040", f"{own}_p2")
    ]
    assert removed.has("whatever", "v/c.mp4")
    assert not removed.has("a_2", "v/a.mp4")
    assert not Removed()


def test_batches_are_found_without_a_listing_and_with_one_request_where_there_is_none(store: Store) -> None:
    recording = RecordingStore(store)
    removed = Removed(recording)
    for i in range(3):
        Removed(store).append([Entry(f"k_{i}", None)])
    assert sorted(store.list("")) == ["removed.0001.parquet", "removed.0002.parquet", "removed.parquet"]
    assert removed.refresh()
    assert removed.keys == {"k_0", "k_1", "k_2"}
    recording.operations.clear()
    assert not removed.refresh()
    assert [(each.name, each.path) for each in recording.operations] == [("size", "removed.0003.parquet")]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_batch_is_missed_and_never_written_anew(store: Store, lost: int) -> None:
    for i in range(3):
        Removed(store).append([Entry(f"k_{i}", None)])
    store.delete(batch_path(lost))
    with pytest.raises(
        IntegrityError, match=rf"{batch_path(lost)} is missing, but removed\.000{lost + 1}\.parquet is there"
    ):
        Removed(store)
    assert len(Removed(store, with_gaps=True).batches) == lost


def test_batches_that_come_while_one_asks_are_no_gap(store: Store) -> None:
    def other(_: int, name: str, path: str) -> None:
        if (name, path) == ("size", batch_path(1)) and not store.list(""):
            for i in range(3):
                Removed(store).append([Entry(f"k_{i}", None)])

    assert Removed(HookedStore(store, other)).keys == {"k_0", "k_1", "k_2"}


def test_who_loses_a_race_takes_the_next_number(store: Store) -> None:
    def other(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "removed.parquet"):
            Removed(store).append([Entry("first", None)])

    removed = Removed(HookedStore(store, other))
    removed.append([Entry("second", None)])
    assert [batch.entries[0].key for batch in removed.batches] == ["first", "second"]
    assert Removed(store).keys == {"first", "second"}


def test_a_batch_at_anothers_place_is_damage(store: Store) -> None:
    Removed(store).append([Entry("a", None)])
    store.create(batch_path(1), store.read(batch_path(0)))
    with pytest.raises(IntegrityError, match=r"removed\.0001\.parquet is batch 0"):
        Removed(store)


def test_a_masked_row_says_whose_it_was_and_no_more() -> None:
    row = {"key": "k", "source": "s", "video_id": "v", "text": "x", "kept": True, "dropped_by": None, "error": "e"}
    row |= {"shard": "t", "offset": 1, "size": 2, "xxh128": "0", "members": {"npy": 1}}
    left = {name: value for name, value in masked(row).items() if value is not None}
    assert left == {"key": "k", "source": "s", "video_id": "v", "kept": False, "dropped_by": "removed", "members": {}}


def put_tar(store: Store, files: dict[str, bytes]) -> None:
    folder = store.scratch()
    with TarWriter(folder / "x.tar") as tar:
        for name, data in files.items():
            tar.add(name, data)
        tar.close()
    store.put_file("d/x.tar", folder / "x.tar")


FILES = {"a_1.json": b"{}", "a_1.mp4": b"a" * 700, "b_1.json": b"[]", "b_1.mp4": b"b" * 512, "c_1.mp4": b"c" * 3}


def test_blanked_clips_are_zeros_and_nothing_else_moves(store: Store) -> None:
    put_tar(store, FILES)
    before, places = store.read("d/x.tar"), {name: (at, size) for name, at, size in members_in(store, "d/x.tar")}
    removed = Removed(store, also=[Entry("b_1", None), Entry("nobody", None)])
    assert not is_blank(store, "d/x.tar", [places["b_1.mp4"][0]])
    assert blank(store, "d/x.tar", removed)
    assert is_blank(store, "d/x.tar", [places["b_1.mp4"][0], places["b_1.json"][0]])
    after = store.read("d/x.tar")
    start = places["b_1.json"][0] - 512
    end = places["c_1.mp4"][0] - 512
    assert (after[:start], after[end:]) == (before[:start], before[end:])
    with tarfile.open(fileobj=io.BytesIO(after)) as tar:
        found = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    assert found[2:4] == [(BLANK, bytes(2)), (BLANK, bytes(512))]
    assert not blank(store, "d/x.tar", removed)
    assert store.read("d/x.tar") == after


def test_what_comes_on_the_list_while_a_tar_is_blanked_goes_too(store: Store) -> None:
    """Another `remove` blanks a clip more while ours has read the tar: ours must not bring it back."""
    put_tar(store, FILES)
    Removed(store).append([Entry("a_1", None)])

    def other(_: int, name: str, path: str) -> None:
        if (name, path) == ("overwrite", "d/x.tar") and store.size(batch_path(1)) is None:
            Removed(store).append([Entry("b_1", None)])
            blank(store, "d/x.tar", Removed(store))

    hooked = HookedStore(store, other)
    assert blank(hooked, "d/x.tar", Removed(hooked))
    assert [name for name, _, _ in members_in(store, "d/x.tar")] == [BLANK] * 4 + ["c_1.mp4"]

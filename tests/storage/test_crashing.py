"""The stores that tests crash with: counts, modes, hooks, and that the dead write nothing."""

from pathlib import Path

import pytest

from shardpipe.core.errors import StoreError
from shardpipe.storage.crashing import Crash, CrashingStore, CrashMode, HookedStore, Operation, RecordingStore
from shardpipe.storage.store import Store, open_store


def drive(store: Store) -> None:
    """A little driver with every operation, eight in all, four of them writes."""
    store.create("a", b"one")
    file = store.scratch() / "file"
    file.write_bytes(b"tar!")
    store.put_file("b", file)
    store.replace("_run/x", b"x")
    store.list("")
    store.read("a")
    store.read_range("b", 1, 2)
    store.size("a")
    store.delete("a")


def test_operations_are_written_down(tmp_path: Path) -> None:
    store = RecordingStore(open_store(str(tmp_path)))
    drive(store)
    assert store.operations == [
        Operation("create", "a", 3),
        Operation("put_file", "b", 4),
        Operation("replace", "_run/x", 1),
        Operation("list", "", 0),
        Operation("read", "a", 3),
        Operation("read_range", "b", 2),
        Operation("size", "a", 0),
        Operation("delete", "a", 0),
    ]


def test_count_without_a_crash(tmp_path: Path) -> None:
    for writes_only, count in ((False, 8), (True, 4)):
        store = CrashingStore(open_store(str(tmp_path / str(count))), None, writes_only=writes_only)
        drive(store)
        assert store.count == count


@pytest.mark.parametrize("writes_only", [False, True])
@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_crash_at_every_operation(tmp_path: Path, mode: CrashMode, *, writes_only: bool) -> None:
    for n in range(4 if writes_only else 8):
        store = CrashingStore(open_store(str(tmp_path / str(n))), n, mode, writes_only=writes_only)
        with pytest.raises(Crash):
            drive(store)
        effects = {op.name for op in store.operations}
        writes = [name for name in ("create", "put_file", "replace", "delete") if name in effects]
        at = n if writes_only else min(n, 3) if n < 7 else 3
        expected = at + (mode == "after" and (writes_only or n in (0, 1, 2, 7)))
        assert len(writes) == expected
        with pytest.raises(Crash, match="dead"):
            store.create("late", b"x")
        assert store.inner.size("late") is None


def test_a_crash_is_no_exception() -> None:
    assert not issubclass(Crash, Exception)


def test_a_torn_reply_takes_effect_and_life_goes_on(tmp_path: Path) -> None:
    store = CrashingStore(open_store(str(tmp_path)), 0, "torn reply")
    with pytest.raises(StoreError, match="reply was lost"):
        store.create("a", b"x")
    assert store.create("a", b"y") == b"x"
    assert not store.crashed


def test_a_hook_runs_another_driver_in_between(tmp_path: Path) -> None:
    inner = open_store(str(tmp_path))
    seen = []

    def hook(n: int, name: str, path: str) -> None:
        seen.append((n, name, path))
        if n == 0:
            inner.create("a", b"rival")

    store = HookedStore(inner, hook, writes_only=True)
    assert store.create("a", b"mine") == b"rival"
    assert store.read("a") == b"rival"
    store.delete("a")
    assert seen == [(0, "create", "a"), (1, "delete", "a")]


def test_the_rest_is_passed_on(tmp_path: Path) -> None:
    inner = open_store(str(tmp_path))
    store = CrashingStore(inner, 0)
    assert store.url == inner.url
    assert store.local_path("a") is None  # so that every read is counted
    assert store.count == 0

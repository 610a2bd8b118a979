"""A unit's commit, crashed at every operation and run by two drivers in every interleaving: rows and tar agree.

Each attempt packs other bytes, as encoders and scorers that answer differently do.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from shardpipe.core.columns import string
from shardpipe.core.errors import StoreError
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.crashing import Crash, CrashingStore, CrashMode, HookedStore
from shardpipe.storage.rows import RowsMeta, TarRef, decode_rows, encode_rows
from shardpipe.storage.store import Store, open_store
from shardpipe.storage.tar import TarWriter

UNITS = ("000000", "000001")
NUM_OPERATIONS = 1 + 3 * len(UNITS)


def run(store: Store, attempt: int) -> None:
    """Commit what is not done yet: the tar, then the rows that name it, then a look at the tar that counts."""
    done = RowsLog(store, "clips").done()
    for unit in UNITS:
        if unit in done:
            continue
        file = store.scratch() / "a.tar"
        with TarWriter(file) as writer:
            writer.add("k.mp4", f"{unit} {attempt}".encode())
            tar = writer.close()
        ref = TarRef(f"shards/{unit}-{tar.sha256[:12]}.tar", tar.num_bytes, tar.sha256)
        store.put_file(f"clips/{ref.name}", file)
        ours = encode_rows({"key": string}, [{"key": "k"}], RowsMeta("f", unit, tar=ref))
        _, meta = decode_rows(RowsLog(store, "clips").commit(unit, ours))
        assert meta.tar
        assert store.size(f"clips/{meta.tar.name}") == meta.tar.num_bytes


def check(store: Store) -> dict[str, str]:
    """Every unit is done once, and its rows name a whole tar; the hash of each."""
    log = RowsLog(store, "clips")
    assert tuple(log.done()) == UNITS
    hashes = {}
    for unit, path in log.done().items():
        _, meta = decode_rows(store.read(path))
        assert meta.unit == unit
        assert meta.tar
        data = store.read(f"clips/{meta.tar.name}")
        assert hashlib.sha256(data).hexdigest() == meta.tar.sha256
        hashes[unit] = meta.tar.sha256
    return hashes


def test_the_number_of_operations(tmp_path: Path) -> None:
    store = CrashingStore(open_store(str(tmp_path)), None)
    run(store, 0)
    assert store.count == NUM_OPERATIONS


@pytest.mark.parametrize("mode", ["before", "after", "torn reply"])
def test_a_crash_at_every_operation(tmp_path: Path, mode: CrashMode) -> None:
    for n in range(NUM_OPERATIONS):
        store = open_store(str(tmp_path / str(n)))
        with pytest.raises(StoreError if mode == "torn reply" else Crash):
            run(CrashingStore(store, n, mode), 0)
        first = RowsLog(store, "clips").done()
        before = {unit: store.read(path) for unit, path in first.items()}
        run(store, 1)
        check(store)
        assert all(store.read(first[unit]) == data for unit, data in before.items())


def interleave(store: Store, n: int, other: Callable[[], None]) -> None:
    """Run a driver; before its n-th operation, run another from start to end."""
    run(HookedStore(store, lambda at, *_: other() if at == n else None), 0)


def dies(store: Store, crash: int) -> None:
    """Another driver that dies after its operation number `crash`, if it has that many left to do."""
    with suppress(Crash):
        run(CrashingStore(store, crash, "after"), 1)


def test_two_drivers_in_every_interleaving(tmp_path: Path) -> None:
    for n in range(NUM_OPERATIONS):
        for crash in (*range(NUM_OPERATIONS), 1000):
            store = open_store(str(tmp_path / f"{n}-{crash}"))
            interleave(store, n, partial(dies, store, crash))
            check(store)


def test_a_zombie_changes_nothing(tmp_path: Path) -> None:
    """A driver sleeps before its n-th operation, wakes when another has done all, and keeps what it finds."""
    for n in range(NUM_OPERATIONS):
        store = open_store(str(tmp_path / str(n)))
        then: list[dict[str, str]] = []

        def other(store: Store = store, then: list[dict[str, str]] = then) -> None:
            run(store, 1)
            then.append(check(store))

        interleave(store, n, other)
        assert [check(store)] == then

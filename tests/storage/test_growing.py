"""A file is put while it is still written: its parts go up as they come, and nothing shows, or is left, unless it ends."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.s3_servers import S3Root

from shardpipe.core.errors import IncompleteError
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.remote import RemoteStore
from shardpipe.storage.s3 import S3Backend
from shardpipe.storage.store import Store, open_store

PART_BYTES = 5 << 20
"""The smallest that S3 takes."""

WAIT_S = 60.0


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _write(file: GrowingFile, data: bytes) -> None:
    with file.path.open("ab") as out:
        out.write(data)
        size = out.tell()
    file.grew(size)


def _in_parts(root: S3Root) -> Store:
    found = open_store(root.url)
    assert isinstance(found, RemoteStore)
    assert isinstance(found.backend, S3Backend)
    found.backend._part_bytes = PART_BYTES
    return found


@pytest.mark.parametrize("at_most", [None, 10, 1 << 30, PART_BYTES * 20_000])
def test_parts_go_up_before_the_file_ends(each_root: S3Root, tmp_path: Path, at_most: int | None) -> None:
    store, data = _in_parts(each_root), os.urandom(3 * PART_BYTES + 7)
    file = GrowingFile(tmp_path / "a.tar", at_most=at_most)
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(store.put_file, "shards/a.tar", file)
        _write(file, data[: PART_BYTES + 1])
        _until(lambda: bool(each_root.uploads()))
        _write(file, data[PART_BYTES + 1 : -1])
        assert each_root.sizes() == {}
        assert not put.done()
        _write(file, data[-1:])
        file.end(len(data))
        put.result()
    assert each_root.objects() == {"shards/a.tar": data}
    assert each_root.uploads() == {}
    assert not file.path.exists()


@pytest.mark.parametrize("num_bytes", [0, 3, PART_BYTES, 2 * PART_BYTES + 3])
def test_one_that_is_given_up_leaves_nothing(each_root: S3Root, tmp_path: Path, num_bytes: int) -> None:
    store, file = _in_parts(each_root), GrowingFile(tmp_path / "a.tar", at_most=1 << 30)
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(store.put_file, "a.tar", file)
        _write(file, bytes(num_bytes))
        if num_bytes > PART_BYTES:
            _until(lambda: bool(each_root.uploads()))
        file.give_up()
        with pytest.raises(IncompleteError, match=r"a\.tar was given up"):
            put.result()
    assert each_root.sizes() == {}
    assert each_root.uploads() == {}


@pytest.mark.parametrize("url", ["{folder}", "memory://growing/{name}"])
def test_other_stores_wait_for_its_end(tmp_path: Path, url: str) -> None:
    store = open_store(url.format(folder=tmp_path / "root", name=tmp_path.name))
    file = GrowingFile(store.scratch() / "a.tar")
    threading.Timer(0.2, lambda: (_write(file, b"whole"), file.end(5))).start()
    store.put_file("a.tar", file)
    assert store.read("a.tar") == b"whole"
    lost = GrowingFile(store.scratch() / "b.tar")
    threading.Timer(0.2, lost.give_up).start()
    with pytest.raises(IncompleteError):
        store.put_file("b.tar", lost)
    assert sorted(store.list("")) == ["a.tar"]


def test_what_ended_is_not_given_up_any_more(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "a")
    file.grew(3)
    assert file.wait(2) == file.wait(3) == 3
    file.end(7)
    file.give_up()
    assert file.wait() == file.wait(99) == 7

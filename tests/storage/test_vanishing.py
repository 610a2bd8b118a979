"""A tar that `gc` deletes between its put and the look at its size: a worker that comes too late puts it again, and goes on."""

from pathlib import Path
from uuid import uuid4

import pytest

from shardpipe.storage.backend import TransientError
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.probe import _second_is_refused
from shardpipe.storage.remote import RemoteStore
from shardpipe.storage.store import open_store


def test_a_tar_that_is_gone_after_its_put_is_put_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"memory://{uuid4().hex}/root")
    assert isinstance(store, RemoteStore)
    real, gone = store.backend.put_file, []

    def put(key: str, file: GrowingFile, *, if_absent: bool) -> None:
        real(key, file, if_absent=if_absent)
        if not gone:
            gone.append(key)
            store.backend.delete(key)

    monkeypatch.setattr(store.backend, "put_file", put)
    file = tmp_path / "a.tar"
    file.write_bytes(b"tar")
    store.put_file("shards/a.tar", file)
    assert gone
    assert store.read("shards/a.tar") == b"tar"


def test_a_probe_that_is_gone_is_made_again() -> None:
    store = open_store(f"memory://{uuid4().hex}/root")
    assert isinstance(store, RemoteStore)
    with pytest.raises(TransientError, match="root/a was written, and is gone"):
        _second_is_refused(store.backend, store.key("a"), lambda key, _: store.backend.delete(key))

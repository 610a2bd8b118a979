"""Large files go up in parts: seen whole or not at all, and nothing is left behind, whatever goes wrong on the way."""

import os
import signal
import threading
import time
from itertools import product
from pathlib import Path

import pytest
from support.s3_faults import Fault
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.s3_servers import S3Root

from shardpipe.core import temporary
from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage import remote, s3
from shardpipe.storage.store import Store, open_store

PART_BYTES = 5 << 20
"""The smallest that S3 takes."""

NUM_BYTES = 3 * PART_BYTES + 1
GOT_OVER: list[Fault] = ["500", "503", "reset", "lost"]
LASTING: list[Fault] = ["403", "503", "reset"]


@pytest.fixture
def proxy(each_root: S3Root, s3_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return s3_proxy(each_root.server, stall_s=0.5)


@pytest.fixture
def store(each_root: S3Root, proxy: S3Proxy) -> Store:
    return in_parts(each_root)


def in_parts(root: S3Root) -> Store:
    """A store with the smallest parts."""
    found = open_store(root.url)
    assert isinstance(found, remote.RemoteStore)
    assert isinstance(found.backend, s3.S3Backend)
    found.backend._part_bytes = PART_BYTES
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.tar"
    path.write_bytes(os.urandom(NUM_BYTES))
    return path


def test_a_large_file_goes_in_parts_and_shows_when_it_is_whole(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path
) -> None:
    data, seen = file.read_bytes(), []

    def look(asked: Asked) -> bool:
        if asked.kind in ("put part", "complete upload"):
            seen.append(each_root.sizes())
        return False

    proxy.fault("500", look)
    store.put_file("shards/a.tar", file)
    assert not file.exists()
    assert seen == [{}] * 5
    assert each_root.objects() == {"shards/a.tar": data}
    assert each_root.uploads() == {}
    kinds = [asked.kind for asked in proxy.asked if asked.kind != "head"]
    assert kinds == ["create upload", *["put part"] * 4, "complete upload"]
    assert sum(asked.up for asked in proxy.asked if asked.kind == "put part") == NUM_BYTES
    assert [asked.is_conditional for asked in proxy.asked if asked.kind == "complete upload"] == [True]


@pytest.mark.parametrize("harm", [*product(["create upload", "put part", "complete upload", "head"], GOT_OVER)])
def test_put_file_gets_over_faults(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path, harm: tuple[str, Fault]
) -> None:
    (kind, fault), data = harm, file.read_bytes()
    proxy.fault(fault, lambda asked: asked.kind == kind, times=2)
    store.put_file("a.tar", file)
    assert not file.exists()
    assert each_root.objects() == {"a.tar": data}
    begun_unknown = 2 if (kind, fault) == ("create upload", "lost") else 0
    assert len(each_root.uploads()) == begun_unknown  # the server alone knows of these
    for upload in store.uploads():
        assert upload.path == "a.tar"
        assert 0 <= upload.age_s < 60 or each_root.server.kind == "moto"  # it says 2010 of all
        store.abort_upload(upload)
        store.abort_upload(upload)
    assert each_root.uploads() == {}
    assert each_root.sizes() == {"a.tar": NUM_BYTES}


@pytest.mark.parametrize("harm", [*product(["put part", "complete upload"], LASTING)])
def test_what_fails_for_good_is_aborted(
    each_root: S3Root, proxy: S3Proxy, file: Path, harm: tuple[str, Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (remote, s3):
        monkeypatch.setattr(module, "TRIES", 2)
    store, (kind, fault) = in_parts(each_root), harm
    proxy.fault(fault, lambda asked: asked.kind == kind and (kind != "put part" or asked.query["partNumber"] == "3"))
    with pytest.raises(StoreError, match=r"a\.tar in s3://"):
        store.put_file("a.tar", file)
    assert file.stat().st_size == NUM_BYTES
    assert each_root.sizes() == {}
    assert each_root.uploads() == {}
    begun = sum(asked.kind == "create upload" for asked in proxy.asked)
    assert begun == (2 if kind == "complete upload" and fault != "403" else 1), "a part is tried by itself alone"


@pytest.mark.parametrize("place", ["put part", "complete upload"])
@pytest.mark.parametrize("replaces", [False, True])
def test_an_upload_that_another_aborted_is_begun_anew(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path, place: str, *, replaces: bool
) -> None:
    """As `doctor` or a lifecycle rule do it."""
    data = file.read_bytes()
    proxy.fault("404", lambda asked: asked.kind == place, times=1)
    (store.overwrite if replaces else store.put_file)("a.tar", file)
    assert each_root.objects() == {"a.tar": data}
    assert each_root.uploads() == {}
    assert sum(asked.kind == "create upload" for asked in proxy.asked) == 2


def test_a_look_that_fails_for_good_begins_nothing_anew(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path
) -> None:
    proxy.fault("503", lambda asked: asked.kind == "head" and asked.n_of_kind > 0)
    with pytest.raises(StoreError, match=r"a\.tar in s3://"):
        store.put_file("a.tar", file)
    assert [asked.kind for asked in proxy.asked if asked.kind == "head"] == ["head"] * (1 + temporary.TRIES)


def test_the_first_error_is_told(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes of the abort, as when credentials run out meanwhile."""
    assert isinstance(store, remote.RemoteStore)
    real = store.backend._call  # type: ignore[attr-defined]

    async def call(name: str, *where: str, **args: object) -> object:
        if name == "abort_multipart_upload":
            raise ConfigError("no token")
        return await real(name, *where, **args)

    monkeypatch.setattr(store.backend, "_call", call)
    proxy.fault("403", lambda asked: asked.kind == "put part")
    with pytest.raises(StoreError, match="AccessDenied"):
        store.put_file("a.tar", file)


def test_a_probe_whose_upload_is_gone_is_made_again(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    """As after a completion whose reply was lost, which the client repeats by itself."""
    proxy.fault("404", lambda asked: asked.kind == "complete upload", times=1)
    assert store.probe().conditional_put
    assert each_root.uploads() == {}


@pytest.mark.parametrize("kind", ["create upload", "abort upload"])
def test_an_interrupt_aborts_what_is_just_begun_or_aborted(
    each_root: S3Root, proxy: S3Proxy, store: Store, file: Path, kind: str
) -> None:
    def interrupt(asked: Asked) -> bool:
        if asked.kind == kind:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.3)  # before the server hears of it
        return False

    proxy.fault("500", interrupt)
    proxy.fault("403", lambda asked: asked.kind == "put part")
    with pytest.raises(KeyboardInterrupt):
        store.put_file("a.tar", file)
    assert [asked.kind for asked in proxy.asked if "upload" in asked.kind] == ["create upload", "abort upload"]
    assert each_root.uploads() == {}


def test_an_interrupt_aborts(each_root: S3Root, proxy: S3Proxy, store: Store, file: Path) -> None:
    def interrupt(asked: Asked) -> bool:
        if asked.kind == "put part" and asked.n_of_kind == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return asked.kind == "put part" and asked.n_of_kind > 0

    proxy.fault("stall", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put_file("a.tar", file)
    assert each_root.sizes() == {}
    assert each_root.uploads() == {}


def test_the_size_is_checked_after(each_root: S3Root, proxy: S3Proxy, store: Store, tmp_path: Path) -> None:
    def lose(asked: Asked) -> bool:
        if asked.kind == "head" and each_root.sizes():
            each_root.write("b", b"loss")
        return False

    proxy.fault("500", lose)
    file = tmp_path / "small"
    file.write_bytes(b"lossy")
    with pytest.raises(IntegrityError, match=r"b in s3://.* has 4 bytes"):
        store.put_file("b", file)
    assert file.read_bytes() == b"lossy"


def test_who_comes_second_leaves_the_first(each_root: S3Root, proxy: S3Proxy, store: Store, file: Path) -> None:
    """A twin puts the same name while our parts are under way: one object of that size is there, and no upload is left."""
    data = file.read_bytes()

    def twin(asked: Asked) -> bool:
        if asked.kind == "complete upload" and not each_root.sizes():
            each_root.write("a.tar", data)
        return False

    proxy.fault("500", twin)
    store.put_file("a.tar", file)
    assert not file.exists()
    assert each_root.objects() == {"a.tar": data}
    assert each_root.uploads() == {}

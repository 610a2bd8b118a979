"""S3's part of what stores promise: refusals, conflicts, lost replies and damaged answers, on real servers behind a proxy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.s3_faults import Fault
from support.s3_fixtures import MakeProxy, MakeRoot
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.s3_servers import S3Root

from shardpipe.core import temporary
from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage.probe import known_honours, note_honours
from shardpipe.storage.store import Honours, Store, open_store

ABOVE_BLOCKS = (50 << 20) + 1
"""s3fs writes what is larger than its block of 50 MiB as a multipart upload."""


@pytest.fixture
def proxy(each_root: S3Root, s3_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own, which would make counts larger
    return s3_proxy(each_root.server, stall_s=0.5)


@pytest.fixture
def store(each_root: S3Root, proxy: S3Proxy) -> Store:
    return open_store(each_root.url)


def of_kind(proxy: S3Proxy, *kinds: str) -> list[Asked]:
    return [asked for asked in proxy.asked if asked.kind in kinds]


def is_put(asked: Asked) -> bool:
    return asked.kind == "put"


def is_read(asked: Asked) -> bool:
    return asked.kind in ("get", "get range")


def test_create_is_one_conditional_put(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    assert store.create("a", b"mine") == b"mine"
    assert store.create("a", b"late") == b"mine"
    assert each_root.objects() == {"a": b"mine"}
    (put,) = of_kind(proxy, "put")
    assert put.is_conditional


def test_create_is_never_an_upload_in_parts(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    data = b"\0" * ABOVE_BLOCKS
    assert store.create("rows/000000.parquet", data) == data
    assert each_root.sizes() == {"rows/000000.parquet": ABOVE_BLOCKS}
    assert [put.is_conditional for put in of_kind(proxy, "put")] == [True]
    assert of_kind(proxy, "create upload", "put part") == []


@pytest.mark.parametrize("fault", ["409", "500", "503", "reset", "stall", "lost"])
def test_create_gets_over_faults(each_root: S3Root, proxy: S3Proxy, store: Store, fault: Fault) -> None:
    proxy.fault(fault, is_put, times=3)
    assert store.create("a", b"mine") == b"mine"
    assert each_root.objects() == {"a": b"mine"}
    # aiohttp itself sends a PUT once more where a connection that it had kept is reset
    assert len(of_kind(proxy, "put")) in ((1, 2) if fault == "lost" else (4,))
    assert all(put.is_conditional for put in of_kind(proxy, "put"))


def test_a_lost_reply_to_a_loser_is_no_win(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    def another_was_first(asked: Asked) -> bool:
        if is_put(asked) and not each_root.sizes():
            each_root.write("a", b"theirs")
        return is_put(asked)

    proxy.fault("lost", another_was_first)
    assert store.create("a", b"mine") == b"theirs"
    assert each_root.objects() == {"a": b"theirs"}


def test_a_lasting_error_ends(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    proxy.fault("503", is_put)
    with pytest.raises(StoreError, match=rf"cannot write a in {each_root.url}: .*SlowDown.*nothing is there"):
        store.create("a", b"mine")
    assert len(of_kind(proxy, "put")) == temporary.TRIES


def test_a_refusal_ends_at_once(proxy: S3Proxy, store: Store) -> None:
    proxy.fault("403", is_put)
    with pytest.raises(StoreError, match=r"cannot write a in s3://.*AccessDenied"):
        store.create("a", b"mine")
    assert len(of_kind(proxy, "put")) == 1


def test_a_missing_bucket_and_wrong_keys_are_for_the_user(
    s3_root: MakeRoot, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="s3://no-such-bucket/x: there is no such bucket"):
        open_store("s3://no-such-bucket/x").create("a", b"")
    assert len(proxy.asked) <= 2
    on_ceph = s3_root("ceph")  # moto takes any
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigError, match="SignatureDoesNotMatch") as refused:
        open_store(on_ceph.url).create("a", b"")
    assert "wrong" not in str(refused.value)
    assert on_ceph.server.secret_key not in str(refused.value)


def test_a_range_beyond_the_end(each_root: S3Root, store: Store) -> None:
    each_root.write("a", b"0123456789")
    assert store.read_range("a", 2, 3) == b"234"
    for start, length in ((8, 3), (10, 1), (99, 1)):
        with pytest.raises(IntegrityError, match="ends too early"):
            store.read_range("a", start, length)


@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall", "cut", "short", "lost"])
def test_reads_get_over_faults(each_root: S3Root, proxy: S3Proxy, store: Store, fault: Fault) -> None:
    data = bytes(range(256)) * 100
    each_root.write("a", data)
    for read in (lambda: store.read("a"), lambda: store.read_range("a", 0, 25_600)):
        proxy.forget()
        proxy.fault(fault, is_read, times=2)
        assert read() == data
        assert len(of_kind(proxy, "get", "get range")) == 3
    proxy.fault(fault, is_read, times=2)
    assert store.read_range("a", 100, 1000) == data[100:1100]


def test_a_lasting_short_answer_is_no_data(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    each_root.write("a", b"x" * 1000)
    proxy.fault("short", is_read)
    for read in (lambda: store.read("a"), lambda: store.read_range("a", 0, 1000)):
        with pytest.raises(StoreError, match=r"a in s3://"):
            read()


def test_other_requests_get_over_faults(each_root: S3Root, proxy: S3Proxy, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"

    def overwrite() -> None:
        file.write_bytes(b"over")
        store.overwrite("a", file)

    acts: list[Callable[[], object]] = [
        lambda: store.size("a"), lambda: store.age_s("a") is not None, lambda: store.list(""), lambda: store.size("no"),
        lambda: store.replace("_run/x", b"1"), overwrite, lambda: store.delete("b"), lambda: list(store.uploads()),
    ]  # fmt: skip
    each_root.write("a", b"abcd")
    each_root.write("b", b"")
    wanted = [act() for act in acts]
    for fault in ("500", "503", "reset", "lost"):
        proxy.no_faults()
        for act, result in zip(acts, wanted, strict=True):
            proxy.fault(fault, times=2)  # type: ignore[arg-type]
            assert [act()][0] == result or act is acts[2]
    assert each_root.sizes() == {"_run/x": 1, "a": 4}


def test_what_the_store_honours(each_root: S3Root, proxy: S3Proxy, store: Store) -> None:
    kept = Honours(conditional_put=True, conditional_complete=each_root.server.kind == "moto", list_after_write=True)
    assert store.probe() == kept
    assert each_root.sizes() == {}
    assert each_root.uploads() == {}
    proxy.strip_conditions()
    assert store.probe() == Honours(conditional_put=False, conditional_complete=False, list_after_write=True)
    proxy.strip_conditions(strips=False)
    proxy.delay_lists(seconds=60)
    found = store.probe()
    assert found == Honours(
        conditional_put=True, conditional_complete=kept.conditional_complete, list_after_write=False
    )
    assert known_honours(store) is None
    note_honours(store, found)
    assert known_honours(open_store(each_root.url, read_only=True)) == found

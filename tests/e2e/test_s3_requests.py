"""What a whole run asks of S3: each committed object is one conditional PUT, whose reply may be lost; tars alone come in parts."""

import base64
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.places import ON_S3, SLOWLY_ON_S3, LocalPlace, S3Place
from support.runs import make_config, run_inline, snapshot
from support.s3_faults import Fault
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.whole_run import whole_config

from shardpipe.core import temporary
from shardpipe.storage import s3
from shardpipe.storage.store import open_store

ON_BOTH = pytest.mark.parametrize("place", ON_S3, indirect=True)
ABOVE_BLOCKS = 50 << 20


@pytest.fixture(scope="module")
def clean(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run on a local disk leaves."""
    root = LocalPlace(tmp_path_factory.mktemp("clean")).root()
    assert not run_inline(whole_config(root, videos)).pending
    return snapshot(open_store(root))


@pytest.fixture
def proxy(place: S3Place, s3_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    return s3_proxy(place.s3.server, stall_s=1.5)


def is_commit(asked: Asked) -> bool:
    return asked.is_conditional and "/_run/" not in asked.key


def check_run(place: S3Place, videos: Path, clean: dict[str, bytes]) -> str:
    """A run ends whole, with the bucket that it should leave."""
    config = whole_config(place.root(), videos)
    report = run_inline(config)
    assert not report.failed_units
    assert not report.pending
    left = place.seen(config.root).objects()
    assert {path: data for path, data in left.items() if not path.startswith("_run/")} == clean
    assert not place.seen(config.root).uploads()
    return config.root


def nth(n: int) -> Callable[[Asked], bool]:
    """Holds for the n-th object that is asked for to be committed."""
    keys: list[str] = []

    def is_it(asked: Asked) -> bool:
        if not is_commit(asked) or asked.key in keys:
            return False
        keys.append(asked.key)
        return len(keys) == n + 1

    return is_it


@ON_BOTH
def test_the_reply_to_each_commit_is_lost(
    place: S3Place, proxy: S3Proxy, videos: Path, clean: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxy.fault("lost", is_commit)
    check_run(place, videos, clean)
    assert sum(asked.fault == "lost" for asked in proxy.asked) >= len(clean)


@pytest.mark.slow
@ON_BOTH
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["lost", "late"])
def test_the_reply_to_the_nth_commit_is_lost(
    place: S3Place,
    proxy: S3Proxy,
    videos: Path,
    clean: dict[str, bytes],
    fault: Fault,
) -> None:
    for n in range(len(clean)):
        proxy.no_faults()
        proxy.forget()
        proxy.fault(fault, nth(n))
        check_run(place, videos, clean)
        assert [asked.fault for asked in proxy.asked].count(fault) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for less long than a late request takes."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1.0}})


@pytest.mark.s3
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", ["ceph"], indirect=True)
def test_commits_that_come_late(place: S3Place, proxy: S3Proxy, videos: Path, clean: dict[str, bytes]) -> None:
    """The client gave up on them, and asks again, before they are performed."""
    late: set[str] = set()

    def once(asked: Asked) -> bool:
        is_new = is_commit(asked) and len(late) < 6 and asked.key not in late and asked.n % 5 == 0
        if is_new:
            late.add(asked.key)
        return is_new

    proxy.fault("late", once)
    check_run(place, videos, clean)
    again = Counter(asked.key for asked in proxy.asked if asked.kind in ("put", "complete upload"))
    assert late
    assert all(again[key] > 1 for key in late)


@ON_BOTH
def test_tars_alone_are_put_in_parts(
    place: S3Place, proxy: S3Proxy, videos: Path, clean: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small a part is. All else is one PUT, if absent, that no other one follows."""
    monkeypatch.setattr(s3, "MAX_PARTS", 1)  # servers refuse small parts, but for the last
    monkeypatch.setitem(s3.S3Backend.__init__.__kwdefaults__, "part_bytes", 1)
    prefix = place.seen(check_run(place, videos, clean)).key("")
    asked = [each for each in proxy.asked if "/_run/" not in each.key]
    of = {
        kind: Counter(each.key.removeprefix(prefix) for each in asked if each.kind == kind)
        for kind in ("create upload", "complete upload", "put")
    }
    tars = Counter(path for path in clean if path.endswith(".tar"))
    assert of["create upload"] == of["complete upload"] == tars
    assert of["put"] == Counter(path for path in clean if path not in tars)
    assert all(each.is_conditional for each in asked if each.kind == "put")


@pytest.mark.parametrize("place", [pytest.param("ceph", marks=pytest.mark.s3), SLOWLY_ON_S3[0]], indirect=True)
def test_a_batch_of_sources_above_the_size_of_blocks_is_one_put(
    place: S3Place, proxy: S3Proxy, videos: Path, tmp_path: Path
) -> None:
    """s3fs would write it in parts, and drop the condition. A long column of the user's own, that nothing compresses."""
    urls = [str(path) for path in sorted(videos.glob("*.mp4"))]
    texts = [base64.b64encode(os.urandom(ABOVE_BLOCKS // 2)).decode() for _ in urls]
    pq.write_table(pa.table({"url": urls, "words": texts}), tmp_path / "list.parquet")
    config = make_config(place.root(), tmp_path / "list.parquet")
    run_inline(config, limit=0)
    (batch,) = [asked for asked in proxy.asked if asked.key.endswith("/clips/sources/0000.parquet") and asked.up]
    assert (batch.kind, batch.is_conditional) == ("put", True)
    assert batch.up > ABOVE_BLOCKS
    assert not [asked for asked in proxy.asked if "upload" in asked.kind and "/_run/" not in asked.key]

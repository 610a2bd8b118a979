"""Raw videos on real S3 servers, behind a proxy that counts and breaks: read once, of one version, whole."""

from pathlib import Path
from typing import Any

import pytest
from support.numbered import make_numbered
from support.runs import make_config, rows_of, run_inline
from support.s3_faults import Fault
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.s3_servers import S3Root

from shardpipe.core import temporary
from shardpipe.engine.sources import rawfile
from shardpipe.engine.sources.sourcefetch import SourceFetch
from shardpipe.storage.store import open_store

READS = ("get", "get range")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    options = {"g": "25", "preset": "ultrafast", "crf": "8"}
    made = make_numbered(tmp_path_factory.mktemp("v") / "v.mp4", num_frames=400, size=(320, 180), options=options)
    return made.path.read_bytes()


@pytest.fixture
def proxy(each_root: S3Root, s3_proxy: MakeProxy, video: bytes, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("v.mp4", "w.mp4"):
        each_root.write(name, video)
    return s3_proxy(each_root.server, stall_s=0.5)


def cut(root: Path, source: object) -> tuple[list[dict[str, Any]], Any]:
    report = run_inline(make_config(root, str(source), every_s=2.0))
    rows = [] if report.failed_units else list(rows_of(open_store(str(root)), "clips").values())
    return rows, report


def is_read(asked: Asked) -> bool:
    return asked.kind in READS and asked.key.endswith("v.mp4")


def test_a_video_is_read_once(each_root: S3Root, proxy: S3Proxy, video: bytes, tmp_path: Path) -> None:
    rows, _ = cut(tmp_path / "root", f"{each_root.url}/v.mp4")
    assert all(row["kept"] for row in rows)
    assert len(video) <= sum(asked.down for asked in proxy.asked if is_read(asked)) <= 1.1 * len(video)


@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut", "short"])
def test_troubles_that_pass(each_root: S3Root, proxy: S3Proxy, video: bytes, tmp_path: Path, fault: Fault) -> None:
    (tmp_path / "v.mp4").write_bytes(video)
    plain, _ = cut(tmp_path / "plain", tmp_path / "v.mp4")
    proxy.fault(fault, lambda asked: is_read(asked) and asked.n_of_kind % 2 == 1, times=4)
    rows, _ = cut(tmp_path / "root", f"{each_root.url}/v.mp4")
    assert [row["sha256"] for row in rows] == [row["sha256"] for row in plain]
    assert any(asked.fault == fault for asked in proxy.asked)


def test_what_stays_wrong(each_root: S3Root, proxy: S3Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling fails the unit, and no row tells of it; what is forbidden is the video's error."""
    monkeypatch.setattr(temporary, "TRIES", 2)
    proxy.fault("503", is_read)
    _, report = cut(tmp_path / "away", each_root.url)
    (message,) = report.failed_units.values()
    assert f"{each_root.url}/v.mp4 could not be read for now" in message
    assert len(open_store(str(tmp_path / "away")).list("clips/rows")) == 1
    proxy.no_faults()
    proxy.fault("403", is_read)
    rows, _ = cut(tmp_path / "closed", each_root.url)
    (error,) = [row["error"] for row in rows if row["error"]]
    assert f"cannot read {each_root.url}/v.mp4" in error


def test_a_video_that_is_replaced_while_it_is_read(
    each_root: S3Root, proxy: S3Proxy, video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error, and no clip has bytes of both."""
    real, reads = SourceFetch._of_s3, 0

    def replacing(self: SourceFetch, start: int, stop: int) -> bytes:
        nonlocal reads
        reads += self.url.endswith("v.mp4")
        if reads == 4:  # two were the glance at its header
            each_root.write("v.mp4", bytes(reversed(video)))
        return real(self, start, stop)

    monkeypatch.setattr(SourceFetch, "_of_s3", replacing)
    monkeypatch.setattr(rawfile, "AHEAD_BYTES", 64 << 10)
    rows, _ = cut(tmp_path / "root", each_root.url)
    errors = [row["error"] for row in rows if row["source"].endswith("v.mp4")]
    assert any("was replaced while it was read" in (error or "") for error in errors)
    assert all(errors)

"""Remote sources kept whole on this machine (execute.cache_bytes), and scratch with a limit (execute.scratch_bytes), in whole runs."""

import errno
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.counted_fs import Reads, counted
from support.numbered import make_numbered
from support.runs import make_config, rows_of

from shardpipe.core import temporary
from shardpipe.engine.sources import sourcefetch
from shardpipe.executors.run import run_config
from shardpipe.storage.store import open_store


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    options = {"g": "25", "preset": "ultrafast", "crf": "10"}
    made = make_numbered(tmp_path_factory.mktemp("v") / "v.mp4", num_frames=300, size=(192, 108), options=options)
    return made.path.read_bytes()


@pytest.fixture
def sent(video: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(sourcefetch, "WHOLE_BYTES", 100_000)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        for name in ("a.mp4", "b.mp4"):
            member = tarfile.TarInfo(name)
            member.size = len(video)
            out.addfile(member, io.BytesIO(video))
    with counted({"/raw/v.mp4": video, "/raw/w.mp4": video, "/tars/t.tar": tar.getvalue()}) as seen:
        yield seen


def cut(root: Path, source: str, execute: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], Any]:
    report = run_config(make_config(root, source, execute={"type": "inline", **execute}, every_s=2.0, **options))
    rows = [] if report.failed_units else list(rows_of(open_store(str(root)), "clips").values())
    return rows, report


def hashes(rows: list[dict[str, Any]]) -> list[str]:
    return [row["sha256"] for row in rows]


def test_a_source_is_fetched_once_a_machine(sent: Reads, video: bytes, tmp_path: Path) -> None:
    execute = {"cache": str(tmp_path / "cache"), "cache_bytes": "100MB"}
    plain, _ = cut(tmp_path / "plain", "counted://raw/v.mp4", {})
    sent.reads.clear()
    rows, _ = cut(tmp_path / "parts", "counted://raw/v.mp4", execute, unit_s=3.0)
    assert len(open_store(str(tmp_path / "parts")).list("clips/rows")) == 4
    assert hashes(rows) == hashes(plain)
    assert len(video) <= sent.num_bytes() <= 1.1 * len(video)
    sent.reads.clear()
    rows, _ = cut(tmp_path / "again", "counted://raw/v.mp4", execute)
    assert hashes(rows) == hashes(plain)
    assert sent.num_bytes() <= 0.1 * len(video)  # a glance at the header


def test_members_of_tars_and_what_is_larger_than_the_cache(sent: Reads, video: bytes, tmp_path: Path) -> None:
    for limit in ("100MB", "1kB"):
        sent.reads.clear()
        rows, _ = cut(
            tmp_path / limit, "counted://tars/t.tar", {"cache": str(tmp_path / "cache"), "cache_bytes": limit}
        )
        assert {row["source"] for row in rows if row["kept"]} == {f"counted://tars/t.tar::{name}.mp4" for name in "ab"}
        assert 2 * len(video) <= sent.num_bytes() <= 1.1 * (2 * len(video) + 4096)


def test_a_store_that_goes_away_while_a_copy_is_made(sent: Reads, tmp_path: Path) -> None:
    def trouble(path: str, start: int, _stop: int) -> None:
        if path == "/raw/v.mp4" and start > 200_000:
            raise ConnectionResetError("reset")

    execute = {"cache": str(tmp_path / "cache"), "cache_bytes": "100MB"}
    sent.trouble = trouble  # type: ignore[assignment]
    _, report = cut(tmp_path / "root", "counted://raw", execute)
    (message,) = report.failed_units.values()
    assert "counted://raw/v.mp4 could not be read for now" in message
    assert len(list((tmp_path / "cache").glob("*.file"))) == 1
    sent.trouble = lambda *_: None
    rows, _ = cut(tmp_path / "root", "counted://raw", execute)
    assert all(row["kept"] for row in rows)


def test_a_limit_of_scratch_is_kept(sent: Reads, video: bytes, tmp_path: Path) -> None:
    """Enough for a unit: it is cut. Too little: it fails, says what it needs, and loses nothing."""
    folder = tmp_path / "scratch"
    _, report = cut(tmp_path / "root", "counted://raw/v.mp4", {"scratch": str(folder), "scratch_bytes": len(video)})
    (message,) = report.failed_units.values()
    assert f"bytes of scratch in {folder}, and execute.scratch_bytes allows {len(video):,}: raise it" in message
    rows, _ = cut(tmp_path / "root", "counted://raw/v.mp4", {"scratch": str(folder), "scratch_bytes": 3 * len(video)})
    assert all(row["kept"] for row in rows)
    assert not list(folder.glob("*/*"))


def test_a_full_disk_while_a_source_is_read(sent: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "scratch"
    with monkeypatch.context() as patch:
        patch.setattr("shardpipe.engine.sources.remotefile.write_at", full)
        _, report = cut(tmp_path / "root", "counted://raw/v.mp4", {"scratch": str(folder)})
    (message,) = report.failed_units.values()
    assert "v.mp4 was not cut, which is no fault of its own: [Errno 28] No space left on device" in message
    assert str(folder) in message
    rows, _ = cut(tmp_path / "root", "counted://raw/v.mp4", {"scratch": str(folder)})
    assert all(row["kept"] for row in rows)

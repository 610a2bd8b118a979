"""Raw videos at a remote: how many bytes a cut reads, and what its store's troubles come to."""

import io
import tarfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from support.counted_fs import CountedFileSystem, Reads, counted
from support.file_server import serve_files
from support.numbered import make_numbered
from support.runs import make_config, rows_of, run_inline

from shardpipe.core import temporary
from shardpipe.core.errors import MediaError
from shardpipe.core.temporary import TRIES
from shardpipe.engine.sources.lastread import LastRead, worth_keeping
from shardpipe.storage.store import open_store

NAMES = ("end.mp4", "fast.mp4", "a.mkv", "a.ts")
TURNS = 16


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of 320 s as several files: the same packets."""
    folder = tmp_path_factory.mktemp("videos")
    options = {"g": "25", "preset": "ultrafast", "crf": "10"}
    made = make_numbered(folder / "once.mp4", num_frames=500, size=(192, 108), scenes=(60, 130, 300), options=options)
    for name in NAMES:
        _repeat(made.path, folder / name, {"movflags": "faststart"} if name == "fast.mp4" else {})
    return folder


def _repeat(once: Path, path: Path, options: dict[str, str]) -> None:
    with av.open(str(once)) as given, av.open(str(path), "w", container_options=options) as out:
        video = given.streams.video[0]
        stream = out.add_stream_from_template(video)
        packets = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in given.demux(video) if p.size]
        length = sum(p[3] or 0 for p in packets)
        for turn in range(TURNS):
            for data, pts, dts, duration, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, video.time_base or Fraction(1)
                packet.pts, packet.dts = (pts or 0) + turn * length, (dts or 0) + turn * length
                packet.duration, packet.is_keyframe = duration or 0, is_key
                out.mux(packet)


def cut(root: Path, source: str, **options: Any) -> tuple[list[dict[str, Any]], int, Any]:
    """The rows, how many units there were, and the report."""
    report = run_inline(make_config(root, source, every_s=4.0, **options))
    store = open_store(str(root))
    rows = [] if report.failed_units else list(rows_of(store, "clips").values())
    return rows, len(store.list("clips/rows")), report


WAYS: dict[str, dict[str, Any]] = {
    "copy": {"scenes": {"type": "fixed", "every_s": 4.0}},
    "smart": {"scenes": {"type": "fixed", "every_s": 4.1}, "write": {"max_trim_s": 0}},
    "encode": {"scenes": {"type": "fixed", "every_s": 4.0}, "write": {"method": "encode", "preset": "ultrafast"}},
    "adaptive": {"scenes": {"type": "adaptive"}},
}


@pytest.mark.parametrize(
    ("name", "way"),
    [*((name, "copy") for name in NAMES), ("end.mp4", "smart"), ("a.mkv", "encode"), ("a.ts", "adaptive")],
)
def test_a_cut_reads_a_video_once(videos: Path, tmp_path: Path, name: str, way: str) -> None:
    size = (videos / name).stat().st_size
    with counted({f"/raw/{name}": videos / name}) as seen:
        rows, num_units, _ = cut(tmp_path / "root", f"counted://raw/{name}", **WAYS[way])
    assert num_units == 1
    assert all(row["kept"] for row in rows)
    assert size <= seen.num_bytes() <= 1.1 * size


SPLITS = [
    *((name, "copy", 80.0) for name in NAMES),
    ("fast.mp4", "smart", 40.0),
    ("end.mp4", "encode", 80.0),
    ("end.mp4", "copy", 20.0),
    ("a.mkv", "copy", 10.0),
]


@pytest.mark.parametrize(("name", "way", "unit_s"), SPLITS)
def test_the_parts_of_a_video_read_it_once(videos: Path, tmp_path: Path, name: str, way: str, unit_s: float) -> None:
    """One worker, which keeps what the next part begins with."""
    size = (videos / name).stat().st_size
    whole, _, _ = cut(tmp_path / "whole", str(videos / name), **WAYS[way])
    with counted({f"/raw/{name}": videos / name}) as seen:
        rows, num_units, _ = cut(tmp_path / "root", f"counted://raw/{name}", unit_s=unit_s, **WAYS[way])
    assert num_units == 320 / unit_s
    assert [row["sha256"] for row in rows] == [row["sha256"] for row in whole]
    assert seen.num_bytes() <= 1.05 * size


def test_another_worker_reads_a_part_with_little_around_it(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each part has a worker of its own."""
    monkeypatch.setattr(LastRead, "of", lambda *_: ())
    size = (videos / "end.mp4").stat().st_size
    with counted({"/raw/end.mp4": videos / "end.mp4"}) as seen:
        _, num_units, _ = cut(tmp_path / "root", "counted://raw/end.mp4", unit_s=80.0, **WAYS["copy"])
    assert num_units == 4
    assert 1.05 * size < seen.num_bytes() <= 1.2 * size


def test_what_is_kept_is_of_one_version_and_bounded() -> None:
    last = LastRead()
    last.keep("a", [(0, b"head")])
    assert last.of("a") == [(0, b"head")]
    assert last.of("b") == ()
    ranges = [(i << 20, (i + 1) << 20) for i in range(100)]
    assert worth_keeping(ranges) == [*ranges[:8], *ranges[:75:-1]]
    assert sorted(worth_keeping(ranges[:20])) == ranges[:20]
    assert worth_keeping([(0, 1 << 30)]) == []


def test_tiny_videos_and_members_of_tars(videos: Path, tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "tiny.mp4", num_frames=50, size=(64, 48), options={"g": "25"})
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        for i in range(3):
            out.add(videos / "end.mp4", f"{i}.mp4")
    for source, data in (("counted://raw/tiny.mp4", made.path.read_bytes()), ("counted://raw/all.tar", tar.getvalue())):
        with counted({source.removeprefix("counted:/"): data}) as seen:
            rows, _, _ = cut(tmp_path / Path(source).stem, source, scenes={"type": "none", "max_s": None})
        assert all(row["kept"] for row in rows)
        assert len(data) * 0.9 < seen.num_bytes() <= 1.1 * len(data)


@pytest.fixture
def one(videos: Path) -> Iterator[Reads]:
    with counted({"/raw/a.mp4": videos / "end.mp4", "/raw/b.mp4": videos / "fast.mp4"}) as seen:
        yield seen


def test_troubles_that_pass_cost_nothing(one: Reads, videos: Path, tmp_path: Path) -> None:
    count = 0

    def trouble(path: str, start: int, stop: int) -> bytes | None:
        nonlocal count
        count += 1
        match count % 4:
            case 0:
                raise ConnectionResetError("reset")
            case 2:
                return CountedFileSystem.store[path].getvalue()[start : (start + stop) // 2]  # with status 200
        return None

    one.trouble = trouble
    rows, _, _ = cut(tmp_path / "root", "counted://raw/a.mp4")
    plain, _, _ = cut(tmp_path / "plain", str(videos / "end.mp4"))
    assert [row["sha256"] for row in rows] == [row["sha256"] for row in plain]


@pytest.mark.parametrize("from_byte", [0, 200_000])
def test_a_store_that_stays_away_fails_the_unit_and_no_video(one: Reads, tmp_path: Path, from_byte: int) -> None:
    tries = 0

    def trouble(path: str, start: int, _stop: int) -> bytes | None:
        nonlocal tries
        if path.endswith("a.mp4") and start >= from_byte:
            tries += 1
            raise TimeoutError("no answer")
        return None

    one.trouble = trouble
    _, num_units, report = cut(tmp_path / "root", "counted://raw")
    assert num_units == 1
    (message,) = report.failed_units.values()
    assert (
        "counted://raw/a.mp4 could not be read for now, which is no fault of its own (TimeoutError: no answer)"
        in message
    )
    assert tries >= TRIES
    one.trouble = lambda *_: None
    rows, num_units, _ = cut(tmp_path / "root", "counted://raw")
    assert num_units == 2
    assert all(row["kept"] for row in rows)


@pytest.mark.parametrize("error", [PermissionError("AccessDenied"), FileNotFoundError("gone"), MediaError("replaced")])
def test_what_is_the_videos_own_fault_is_its_row(one: Reads, tmp_path: Path, error: Exception) -> None:
    def trouble(path: str, start: int, _stop: int) -> bytes | None:
        if path.endswith("a.mp4") and start > 200_000:
            raise error
        return None

    one.trouble = trouble
    rows, num_units, _ = cut(tmp_path / "root", "counted://raw")
    assert num_units == 2
    errors = [row["error"] for row in rows if row["error"]]
    assert errors
    assert all(str(error) in each for each in errors)


def test_a_server_that_knows_no_ranges_sends_it_whole(videos: Path, tmp_path: Path) -> None:
    with serve_files() as server:
        server.files["/a.mp4"] = (videos / "fast.mp4").read_bytes()
        rows, _, _ = cut(tmp_path / "root", f"{server.url}/a.mp4")
        assert all(row["kept"] for row in rows)
        assert len(server.fetched()) <= 4  # two glances at its header, and the cut

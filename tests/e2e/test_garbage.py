"""Garbage in: every file becomes an error row or valid clips; the run ends, and nothing leaks, hangs or is left."""

import io
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import pytest
from support import odd_files
from support.garbage import open_files
from support.opens import watching
from support.processes import commands_of_children, marked_run, temp_files
from support.runs import make_config, rows_of, run_inline

from shardpipe.engine.views.opened import open_dataset
from shardpipe.storage.store import open_store

CONFIG = """\
root: {root}
cut:
  sources: {sources}
  scenes: {{type: adaptive, min_s: 0, max_s: 2}}
  write: {{method: auto, max_trim_s: 0}}
  max_failed: {max_failed}
execute: {{workers: 2, clip_timeout_s: 20}}
"""
WAYS: dict[str, dict[str, Any]] = {
    "fixed": {
        "scenes": {"type": "fixed", "every_s": 0.5, "min_s": 0.1},
        "write": {"method": "encode", "short_side": 48},
    },
    "none": {"scenes": {"type": "none", "min_s": 0, "max_s": None}, "write": {"method": "editlist"}},
}


def check_rows(root: Path, files: set[str], *, was_decoded: bool = True) -> dict[str, list[dict[str, Any]]]:
    """The rows of `clips` by file name, after a look at each: an error, or a clip that decodes as its row says.

    Where scenes were found without decoding, a copied clip may show the damage that its source shows.
    """
    dataset = open_dataset(f"{root}/clips")
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(open_store(str(root)), "clips").values():
        by_file.setdefault(Path(row["source"]).name, []).append(row)
        if row["error"] is not None:
            assert (row["kept"], row["dropped_by"], row["shard"]) == (False, "error: cut", None), row
            assert len(row["error"]) > 10
            continue
        with av.open(io.BytesIO(dataset.clip(row["key"]))) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
        assert len(frames) == row["num_frames"] > 0, row
        assert not (was_decoded and any(frame.is_corrupt for frame in frames)), row
        assert len({(frame.width, frame.height) for frame in frames}) == 1, row
        assert row["end_s"] > row["start_s"]
    assert set(by_file) == files
    return by_file


def run_over(folder: Path, root: Path, *, max_failed: float = 1) -> int:
    """`shardpipe run` in processes of its own, of which none is left, nor a temporary file; its exit code."""
    config = root.parent / "cut.yaml"
    config.write_text(CONFIG.format(root=root, sources=folder, max_failed=max_failed), encoding="utf-8")
    with marked_run("run", str(config)) as run:
        code, out, err = run.wait(timeout_s=3000)
        run.assert_gone()
    assert "Traceback" not in err, err
    assert code == 0 or not out
    assert temp_files(root) == []
    return code


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What mutations are made of."""
    return odd_files.write_shortened(tmp_path_factory.mktemp("short"))


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A video and an address that nothing may look at."""
    canary = tmp_path / "canary.mp4"
    canary.write_bytes((odd_files.VIDEOS / "carphone_pristine.mp4").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield canary, server


def test_mutated_odd_and_hostile_files(short: list[Path], tmp_path: Path, canaries: tuple[Path, socket.socket]) -> None:
    canary, server = canaries
    folder = tmp_path / "videos"
    folder.mkdir()
    port = server.getsockname()[1]
    hostile = odd_files.write_traps(folder, [str(canary), f"file://{canary}", f"http://127.0.0.1:{port}/x.ts"])
    hostile += odd_files.write_reference(folder, canary)
    hopeless = odd_files.write_hopeless(folder)
    odd_files.write_strange(folder)
    mutated = odd_files.write_mutations(folder, short, range(50))
    files = {path.name for path in folder.iterdir()}
    with watching(canary) as watch:
        assert run_over(folder, tmp_path / "run") == 0
        assert not watch.opened()
    with pytest.raises(BlockingIOError):
        server.accept()
    by_file = check_rows(tmp_path / "run", files)
    for name in [*hostile, *hopeless]:
        assert [row["error"] is None for row in by_file[name]] == [False], name
    check_strange(by_file)
    outcomes = Counter(any(row["error"] is None for row in by_file[name]) for name in mutated)
    assert outcomes[True] >= 10, "the mutations are too crude to reach the decoders"
    assert outcomes[False] >= 10


def listed(root: Path) -> set[str]:
    """The names of all sources that have a row."""
    return {Path(row["source"]).name for row in rows_of(open_store(str(root)), "clips").values()}


def check_strange(by_file: Mapping[str, list[dict[str, Any]]]) -> None:
    """What is documented of the strange files."""
    clips = {name: [row for row in rows if row["error"] is None] for name, rows in by_file.items()}
    frames = {name: sum(row["num_frames"] for row in rows) for name, rows in clips.items()}
    assert (frames["one-frame.mp4"], frames["one-frame.mkv"]) == (1, 1)
    assert (frames["one-pixel.mkv"], frames["one-column.mp4"]) == (30, 30)
    assert (frames["resized.ts"], frames["other.ts"]) == (80, 40)
    assert (frames["gap.mkv"], frames["slow.mp4"]) == (60, 3)
    assert {row["width"] for row in clips["resized.ts"]} == {160}
    assert "would last" in by_file["years.mkv"][0]["error"]
    assert "restart" in by_file["twice.ts"][0]["error"]


def test_too_many_failures_end_with_exit_1(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "text.mp4").write_text("dear diary\n", encoding="utf-8")
    assert run_over(folder, tmp_path / "run", max_failed=0.5) == 1
    check_rows(tmp_path / "run", {"text.mp4"})


@pytest.mark.parametrize("way", WAYS)
def test_odd_files_cut_in_other_ways_leak_nothing(way: str, short: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    odd_files.write_hopeless(folder)
    odd_files.write_strange(folder)
    odd_files.write_mutations(folder, short, range(100, 112))
    config = make_config(tmp_path / "warm", odd_files.VIDEOS / "carphone_pristine.mp4", max_failed=1.0)
    run_inline(config)  # what is opened once and kept does not count as a leak
    before = open_files()
    run_inline(make_config(tmp_path / "run", folder, **WAYS[way], max_failed=1.0))
    check_rows(tmp_path / "run", listed(tmp_path / "run"), was_decoded=way != "none")
    assert open_files() <= before
    assert [child for child in commands_of_children() if "resource_tracker" not in child] == []


@pytest.mark.parametrize("seeds", [range(50, 60), pytest.param(range(100), marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["auto", pytest.param("encode", marks=pytest.mark.slow)])
def test_mutated_files_with_sound(method: str, seeds: range, tmp_path: Path) -> None:
    """Some have sound whose times go backwards, which mp4 cannot hold: the clips go on without that part of it."""
    folder = tmp_path / "videos"
    folder.mkdir()
    done = odd_files.write_mutations(folder, odd_files.write_sounding(tmp_path / "short"), seeds)
    write = {"method": method, "audio": True, **({"max_trim_s": 0} if method == "auto" else {"preset": "ultrafast"})}
    scenes = {"type": "adaptive", "min_s": 0, "max_s": 1.5}
    run_inline(make_config(tmp_path / "run", folder, scenes=scenes, write=write, max_failed=1.0))
    by_file = check_rows(tmp_path / "run", set(done))
    assert any(row["has_audio"] for rows in by_file.values() for row in rows)
    messages = [row["error"] or "" for rows in by_file.values() for row in rows]
    assert not any("mp4 cannot hold" in text for text in messages), messages


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1500, 100))
def test_many_more_mutations(first: int, short: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    done = odd_files.write_mutations(folder, short, range(first, first + 100))
    assert run_over(folder, tmp_path / "run") == 0
    check_rows(tmp_path / "run", set(done))

"""The quickstart by the command line: demo videos to training shards, read back, asked about, and run again."""

import gc
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet
import pytest
import webdataset as wds
from support.scripts import script

from shardpipe.cli.app import run_app

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "quickstart.yaml")
pytestmark = pytest.mark.filterwarnings(  # webdataset leaves its files to the collector
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
Captured = pytest.CaptureFixture[str]
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as scripts/quickstart leaves it, but of small videos."""
    folder = tmp_path_factory.mktemp("quickstart")
    makes = script("demo_videos")
    makes.SIZE = (320, 180)
    makes.make(folder / "videos")
    assert run_app(["run", *settings(folder)]) == 0
    return folder


def samples_of(*urls: str) -> list[dict[str, Any]]:
    """What webdataset reads."""
    found = list(wds.WebDataset(list(urls), shardshuffle=False, empty_check=False))
    gc.collect()
    return found


def settings(demo: Path) -> list[str]:
    return [CONFIG, "--set", f"root={demo / 'run'}", "--set", f"cut.sources={demo / 'videos'}"]


@pytest.fixture
def shell(capsys: Captured) -> Shell:
    """Runs a command line: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_app(arguments)
        return code, *capsys.readouterr()

    return run


def committed(root: Path) -> dict[str, tuple[int, int]]:
    """Every committed file with its inode and time of change."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if not {"_run", ".tmp"} & set(path.relative_to(root).parts):
                found[str(path)] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def test_webdataset_reads_what_index_and_wids_say(demo: Path, capsys: Captured) -> None:
    train = demo / "run" / "train"
    urls = [str(train / line) for line in (train / "urls.txt").read_text(encoding="utf-8").split()]
    samples = samples_of(*urls)
    index = pyarrow.parquet.read_table(train / "index.parquet").to_pylist()
    rows = {row["key"]: row for row in index}
    assert len(samples) == len(rows) == len(index) >= 3
    for sample in samples:
        row, sidecar = rows[sample["__key__"]], json.loads(sample["json"])
        for name in ("flow_px_s", "cmotion", "phash", "description", "start_s", "num_frames"):
            assert sidecar[name] == (pytest.approx(row[name]) if isinstance(row[name], float) else row[name])
        data = (train / row["shard"]).read_bytes()[row["offset"] : row["offset"] + row["size"]]
        assert data == sample["mp4"]
    wids = json.loads((train / "wids.json").read_text(encoding="utf-8"))["shardlist"]
    assert [Path(each["url"]).name for each in wids] == [Path(url).name for url in urls]
    assert sum(each["nsamples"] for each in wids) == len(samples)
    assert script("read_back").main(train) == 0
    assert f"{len(samples)} clips in {len(urls)} shards" in capsys.readouterr().out


def test_the_demo_loses_what_it_should(demo: Path, shell: Shell) -> None:
    code, out, _ = shell("query", str(demo / "run"), "SELECT source, kept, dropped_by, error FROM train", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    kept = Counter(Path(row["source"]).name for row in rows if row["kept"])
    assert code == 0
    assert {"street.mp4", "bunny.mp4"} <= set(kept)
    assert all(row["dropped_by"] for row in rows if not row["kept"])
    code, out, _ = shell(
        "query", str(demo / "run"), "SELECT source, error FROM clips WHERE error IS NOT NULL", "--json"
    )
    assert [Path(json.loads(line)["source"]).name for line in out.splitlines()] == ["broken.mp4"]


def test_running_it_again_does_nothing(demo: Path, shell: Shell) -> None:
    before = committed(demo / "run")
    code, out, err = shell("run", *settings(demo), "--json")
    report = json.loads(out)
    assert code == 0
    assert [each["complete"] for each in report["passes"]] == [True, True, True]
    assert committed(demo / "run") == before
    assert err.count("done before") >= 3


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        ("cut.scenes.threshold=4.5", "3.0", "4.5"),
        ("passes.train.keep.0=duration_s >= 2", "duration_s >= 1", "duration_s >= 2"),
        ("passes.score.stages.0.preset=fast", "ultrafast", "fast"),
        ("cut.write.crf=20", "18", "20"),
    ],
)
def test_another_config_on_the_same_root_is_refused(change: str, old: str, new: str, demo: Path, shell: Shell) -> None:
    before = committed(demo / "run")
    code, out, err = shell("run", *settings(demo), "--set", change)
    assert (code, out) == (2, "")
    assert old in err
    assert new in err
    assert committed(demo / "run") == before


def test_every_command_answers(demo: Path, shell: Shell) -> None:
    root = str(demo / "run")
    code, out, _ = shell("status", root, "--json")
    passes = {each["name"]: each for each in json.loads(out)["passes"]}
    assert (code, list(passes)) == (0, ["clips", "score", "train"])
    assert all(each["complete"] for each in passes.values())
    assert shell("plan", *settings(demo))[0] == 0
    phases = json.loads(shell("plan", *settings(demo), "--json")[1])["phases"]
    assert all(each["num_units"] in (None, each["num_done"]) for each in phases)
    assert shell("verify", root, "--deep")[0] == 0
    json.loads(shell("verify", root, "--json")[1])
    code, out, _ = shell("stages")
    assert code == 0
    assert {"flow", "borders", "adaptive"} <= set(out.split())
    assert "flow" in json.dumps(json.loads(shell("stages", "--json")[1]))
    assert "train" in shell("status", root)[1]


def test_inspect_shows_what_training_sees(demo: Path, shell: Shell) -> None:
    train = demo / "run" / "train"
    sample = samples_of(str(train / "shards" / "train-000000.tar"))[0]
    key, sidecar = sample["__key__"], json.loads(sample["json"])
    for place in (train, train / "shards" / "train-000000.tar"):
        code, out, _ = shell("inspect", str(place), key)
        assert (code, json.loads(out)) == (0, sidecar)
    with av.open(str(demo / "videos" / "bunny.mp4")) as container:
        assert container.streams.audio, "the demo has a video with sound"
    rows: list[dict[str, Any]] = [json.loads(line) for line in shell("inspect", str(train), "--json")[1].splitlines()]
    assert {row["key"] for row in rows if row["kept"]} >= {key}

"""`shardpipe models`: what a config needs, where it is, and fetching it."""

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.file_server import Files, serve_files
from support.weighted import PAGE, write_number

from shardpipe.cli.app import run_app
from shardpipe.config import registry
from shardpipe.core.fingerprint import sha256_hex

Captured = pytest.CaptureFixture[str]
CONFIG = """\
root: {root}
passes:
  - name: score
    from: clips
    stages:
      - {{type: flow}}
      - {{type: weighted, weights: "{url}", encoder: {local}}}
      - {{type: weighted, weights: {none}, column: more}}
    emit: rows
"""
DATA = b"     2.000"


@pytest.fixture(autouse=True)
def _own_cache_and_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDPIPE_CACHE", str(tmp_path / "cache"))
    for name in ("SHARDPIPE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    own = EntryPoint("weighted", "support.weighted:Weighted", registry.STAGES)
    real = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*real(group=group), *([own] if group == registry.STAGES else [])]
    )


@pytest.fixture
def server() -> Iterator[Files]:
    with serve_files() as files:
        files.files["/head.txt"] = DATA
        yield files


@pytest.fixture
def needy(tmp_path: Path, server: Files) -> Path:
    local = write_number(tmp_path / "encoder.txt", 1.0)
    path = tmp_path / "needy.yaml"
    text = CONFIG.format(root=tmp_path / "root", url=f"{server.url}/head.txt", local=local, none=tmp_path / "none.txt")
    path.write_text(text, encoding="utf-8")
    return path


def test_the_table(needy: Path, capsys: Captured) -> None:
    assert run_app(["models", str(needy)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["pass", "stage", "role", "url", "size", "licence", "sha256", "where"]
    assert [line.split()[:4] for line in lines] == [
        ["score", "1", "weighted", "head"],
        ["score", "1", "weighted", "shares.0.backbone"],
        ["score", "2", "weighted", "head"],
    ]
    assert lines[0].split()[5:] == ["3.7", "MB", "MIT", "-", "to", "pull"]
    assert lines[1].split()[5:] == ["10", "B", "unknown", sha256_hex(b"     1.000")[:12], "local"]
    assert lines[2].endswith("missing: there is no such file or folder")


def test_pull(needy: Path, server: Files, tmp_path: Path, capsys: Captured) -> None:
    assert run_app(["models", str(needy), "--pull", "--json"]) == 1
    found = capsys.readouterr()
    remote, local, none = json.loads(found.out)["weights"]
    assert (remote["where"], remote["sha256"], remote["num_bytes"]) == ("cached", sha256_hex(DATA), len(DATA))
    assert Path(remote["path"]).read_bytes() == DATA
    assert (remote["licence"], remote["source"], remote["error"]) == ("MIT", PAGE, None)
    assert (local["where"], local["role"]) == ("local", "shares.0.backbone")
    assert (none["where"], none["path"]) == ("missing", None)
    assert none["error"].endswith("there is no such file or folder")
    assert "head.txt: pulled, 10 B" in found.err
    assert "none.txt: not pulled" in found.err
    write_number(tmp_path / "none.txt", 3.0)
    assert run_app(["models", str(needy), "--pull"]) == 0
    assert len(server.fetched()) == 1
    assert capsys.readouterr().out.count("cached") == 1


def test_what_cannot_be_pulled(needy: Path, server: Files, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    server.files.clear()
    assert run_app(["models", str(needy), "--pull"]) == 1
    assert "head.txt: not pulled: " in capsys.readouterr().err
    monkeypatch.setenv("SHARDPIPE_OFFLINE", "1")
    assert run_app(["models", str(needy), "--pull"]) == 1
    assert "SHARDPIPE_OFFLINE=1 forbids to fetch it" in capsys.readouterr().out


def test_set(needy: Path, tmp_path: Path, capsys: Captured) -> None:
    path = write_number(tmp_path / "mine.txt", 3.0)
    assert run_app(["models", str(needy), "--set", f"passes.score.stages.2.weights={path}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"][2]["path"] == str(path)


def test_a_config_without_weights(config: Path, capsys: Captured) -> None:
    assert run_app(["models", str(config)]) == 0
    assert capsys.readouterr().out == "no stage of this config loads weights\n"
    assert run_app(["models", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"weights": []}


def test_a_run_says_what_is_missing(needy: Path, config: Path, tmp_path: Path, capsys: Captured) -> None:
    cut = ["--set", f"cut={{sources: {config.parent}/videos, scenes: {{type: fixed, every_s: 1}}}}"]
    for command in (["plan"], ["run"], ["run", "--dry-run"]):
        assert run_app([*command, str(needy), *cut]) == 2
        assert "2 files of weights are not here" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
    assert run_app(["models", str(tmp_path / "nothing.yaml")]) == 2


def test_stages_shows_what_it_loads(capsys: Captured) -> None:
    assert run_app(["stages", "weighted"]) == 0
    text = capsys.readouterr().out
    assert "url of weights" in text
    assert "hf://org/repo/head.txt" in text

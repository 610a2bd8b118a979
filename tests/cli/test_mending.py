"""`gc` and `doctor` as commands: what they print, and their exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from shardpipe.cli.app import run_app

Captured = pytest.CaptureFixture[str]
LOST = "clips/shards/000000-0123456789ab.tar"


@pytest.fixture
def own(root: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "own"))


@pytest.fixture
def lost(own: Path) -> Path:
    (own / LOST).write_bytes(bytes(2000))
    return own / LOST


def test_a_clean_root(own: Path, capsys: Captured) -> None:
    assert run_app(["doctor", str(own)]) == 0
    assert capsys.readouterr().out == "nothing to mend\n"
    assert run_app(["doctor", str(own), "--fix"]) == 0
    assert run_app(["gc", str(own)]) == 0
    assert capsys.readouterr().out.endswith("deleted 0 tars that no rows name, 0 B\n")


def test_gc(own: Path, lost: Path, capsys: Captured) -> None:
    assert run_app(["gc", str(own), "--dry-run"]) == 0
    assert f"would delete {LOST} (2.0 kB)" in capsys.readouterr().out
    assert lost.exists()
    assert run_app(["gc", str(own), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_bytes"], [tar["path"] for tar in found["deleted"]], found["kept"]) == (2000, [LOST], [])
    assert not lost.exists()


def test_gc_says_what_it_keeps(own: Path, capsys: Captured) -> None:
    (own / "clips/shards/000099-0123456789ab.tar").write_bytes(b"x")
    assert run_app(["gc", str(own)]) == 0
    assert "kept clips/shards/000099-0123456789ab.tar (1 B): no rows of unit 000099" in capsys.readouterr().out


def test_doctor_says_what_it_would_do_and_then_does_it(own: Path, lost: Path, capsys: Captured) -> None:
    (own / "clips/x").touch()
    assert run_app(["doctor", str(own)]) == 1
    told = capsys.readouterr().out
    assert f"would delete tar {LOST} (2.0 kB)" in told
    assert "left stray clips/x" in told
    assert lost.exists()
    assert run_app(["doctor", str(own), "--json"]) == 1
    assert [each["done"] for each in json.loads(capsys.readouterr().out)["findings"]] == [False, False]
    assert run_app(["doctor", str(own), "--fix"]) == 0
    told = capsys.readouterr().out
    assert f"deleted tar {LOST}" in told
    assert "1 of 1 things mended" in told
    assert not lost.exists()
    assert (own / "clips/x").exists()


@pytest.mark.parametrize("command", ["gc", "doctor"])
def test_a_wrong_root_is_told(command: str, tmp_path: Path, capsys: Captured) -> None:
    assert run_app([command, str(tmp_path)]) == 2
    assert "there is no Dataset here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""`shardpipe copy`."""

import json
import shutil
from pathlib import Path

import pytest
from support.runs import snapshot

from shardpipe.cli.app import run_app
from shardpipe.storage.store import open_store

Captured = pytest.CaptureFixture[str]


def test_copy_once_and_again(root: str, tmp_path: Path, capsys: Captured) -> None:
    copied = str(tmp_path / "copy")
    assert run_app(["copy", root, copied]) == 0
    said = capsys.readouterr()
    num = len(snapshot(open_store(root)))
    assert f"{num} objects copied (" in said.out
    assert said.out.endswith(f"{copied}/clips\n{copied}/score\n{copied}/train\n")
    assert snapshot(open_store(copied)) == snapshot(open_store(root))
    assert run_app(["copy", root, copied, "--verify", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["num_objects"], done["num_there"], done["problems"]) == (0, num, [])
    assert run_app(["verify", copied]) == 0


def test_copy_tells_of_damage(root: str, tmp_path: Path, capsys: Captured) -> None:
    shutil.copytree(root, tmp_path / "root")
    tar = next((tmp_path / "root" / "clips" / "shards").iterdir())
    tar.write_bytes(tar.read_bytes()[:-512])
    assert run_app(["copy", f"{tmp_path}/root/score", str(tmp_path / "copy")]) == 1
    said = capsys.readouterr().out
    assert f"clips/shards/{tar.name}: has {tar.stat().st_size} bytes, and clips/rows/" in said
    assert f"{tmp_path}/copy/score  (not finished: it is no Dataset yet)" in said
    assert run_app(["copy", root, root]) == 2

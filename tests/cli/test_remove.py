"""`shardpipe remove` on a copy of a small finished run."""

import json
import shutil
from pathlib import Path

import pytest

from shardpipe.cli.app import run_app
from shardpipe.engine.views.opened import open_dataset

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def copied(root: str, tmp_path: Path) -> str:
    shutil.copytree(root, tmp_path / "run")
    return str(tmp_path / "run")


def test_remove_tells_what_it_would_do_does_it_and_is_over(copied: str, tmp_path: Path, capsys: Captured) -> None:
    key = next(open_dataset(f"{copied}/train").rows(kept_only=True))["key"]
    (tmp_path / "keys").write_text(f"{key}\nnobody_00000000\n")
    assert run_app(["remove", copied, "--key-file", str(tmp_path / "keys"), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "nothing was changed" in told.out
    assert "not cut here so far: nobody_00000000" in told.err
    assert not Path(copied, "removed.parquet").exists()
    assert run_app(["remove", copied, "--key-file", str(tmp_path / "keys"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {each["name"]: (each["num_clips"], each["num_tars"], each["num_shards"]) for each in report["datasets"]}
    assert found == {"clips": (1, 1, 0), "train": (1, 0, 1)}
    assert (report["num_new"], report["unknown"]) == (2, ["nobody_00000000"])
    assert run_app(["remove", copied]) == 0
    assert "no object holds any of them" in capsys.readouterr().out
    assert run_app(["verify", copied]) == 0
    assert run_app(["status", copied]) == 0
    assert "1 clips are removed" in capsys.readouterr().out
    assert run_app(["inspect", f"{copied}/clips"]) == 0
    assert "dropped: removed" in capsys.readouterr().out


def test_bad_command_lines(copied: str, tmp_path: Path, capsys: Captured) -> None:
    for options, says in (
        (["--dataset", "score"], "--where sees"),
        (["--where", "nothing > 1"], "nothing"),
        (["--source", "https://u:pass@host/v.mp4"], "a password"),
        (["--key-file", str(tmp_path / "none")], "cannot read"),
    ):
        assert run_app(["remove", copied, *options]) == 2
        assert says in capsys.readouterr().err
    assert run_app(["remove", str(tmp_path / "nowhere")]) == 2
    assert not Path(copied, "removed.parquet").exists()


def test_what_cannot_be_cleaned_is_told_and_the_rest_is_clean(copied: str, capsys: Captured) -> None:
    key = next(open_dataset(f"{copied}/train").rows(kept_only=True))["key"]
    Path(copied, "clips/shards/odd.tar").write_bytes(b"x" * 2000)
    assert run_app(["remove", copied, "--where", f"key = '{key}'"]) == 1
    assert "not clean: clips/shards/odd.tar" in capsys.readouterr().err
    Path(copied, "clips/shards/odd.tar").unlink()
    assert run_app(["verify", copied]) == 0

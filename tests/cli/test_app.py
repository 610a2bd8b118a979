"""The command line: arguments, exit codes, and what goes to stdout and stderr."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.small_run import write_small_run

from shardpipe.cli.app import COMMANDS, run_app

SHARDPIPE = [sys.executable, "-m", "shardpipe"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([command, "--help"]) == 0
    assert "Usage: shardpipe " + command in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["run"], "Missing argument"),
        (["run", "x.yaml", "--limit", "0"], "--limit"),
        (["run", "nowhere.yaml"], "nowhere.yaml: the config cannot be read"),
        (["plan", "nowhere.yaml"], "nowhere.yaml: the config cannot be read"),
        (["status", "nowhere"], "nowhere: there is no Dataset here"),
        (["inspect", "/"], "names no Dataset"),
        (["inspect", "nowhere/train"], "is no Dataset"),
        (["inspect", "nowhere/a.tar"], "there is no such shard"),
        (["emit", "nowhere/train"], "is no Dataset"),
        (["emit", "nowhere/train", "--shard-bytes", "0"], "--shard-bytes 0: give at least 1 byte"),
        (["verify", "nowhere"], "nowhere: there is no Dataset here"),
        (["retry", "nowhere"], "nowhere: there is no Dataset here"),
        (["query", "nowhere", "SELECT * FROM clips"], "nowhere: there is no Dataset here"),
        (["emit", "nowhere/train", "--shard-bytes", "5 apples"], "is no size"),
        (["stages", "flwo"], "'flwo' is no stage or detector (did you mean 'flow'?)"),
    ],
)
def test_what_the_user_got_wrong_exits_2(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert expected in found.err
    assert "Traceback" not in found.err


def test_stages_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["stages"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in listed for name in ("flow", "quality", "adaptive", "fixed"))
    assert run_app(["stages", "flow"]) == 0
    shown = capsys.readouterr().out
    assert "flow_px_s" in shown
    assert "engine" in shown
    assert run_app(["stages", "flow", "--json"]) == 0
    assert '"columns": {"flow_px_s": "float32"' in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from shardpipe.cli.app import build_app; build_app()\n"
        "print([m for m in ('pyarrow', 'numpy', 'av', 'cv2', 'duckdb', 'torch', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def plainly(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, its stdout buffered as it mostly is."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([*SHARDPIPE, *arguments], env=env, stderr=subprocess.PIPE, text=True, check=False, **streams)


def test_a_reader_that_has_gone_is_no_error_to_tell() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = plainly("stages", stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_stdout_without_room_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = plainly("stages", stdout=full)
    assert (done.returncode, done.stderr) == (1, "shardpipe: stdout cannot be written: No space left on device\n")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    config = write_small_run(tmp_path)
    process = subprocess.Popen(
        [*SHARDPIPE, "run", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("clips: ")
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.rstrip().endswith(f"To go on from there: shardpipe run {config}")
    assert out == ""


def test_libraries_that_end_badly_do_not_change_the_exit_code() -> None:
    code = "import atexit, os, sys; atexit.register(os.abort); sys.argv = ['shardpipe', '--version']; import shardpipe.__main__ as m; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()

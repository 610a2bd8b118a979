"""`kill -9` of a real run, of one of its workers or of a decoder, at random moments: run again, the bucket is the same.

No process is left behind, and no temporary file after the next start.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.processes import MarkedRun, killed_config, marked_run, num_objects, temp_files
from support.runs import snapshot

from shardpipe.storage.store import open_store

VICTIMS = ("group", "worker", "decoder")


def write_config(folder: Path, videos: Path, *, workers: int = 1) -> tuple[str, Path]:
    """A config file in `folder`, and the root that it names."""
    root = folder / "root"
    return killed_config(folder, str(root), videos, workers=workers), root


def finish(config: str, root: Path) -> None:
    with marked_run("run", config) as run:
        code, _, err = run.wait()
        assert code == 0, err
        run.assert_gone()
    assert temp_files(root) == []


def strike(run: MarkedRun, root: Path, victim: str, *, chance: random.Random, num_clean: int) -> None:
    """Kill the victim some moment after so many objects are there."""
    wanted = chance.randrange(num_clean)
    while run.process.poll() is None and num_objects(root) < wanted:
        time.sleep(0.01)
    time.sleep(chance.random() * 0.2)
    if victim == "group":
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        return
    while run.process.poll() is None:
        workers, decoders = run.spawned()
        found = workers if victim == "worker" else decoders
        if found:
            with suppress(psutil.Error):
                chance.choice(found).kill()
            return
        time.sleep(0.02)


def kill_one(folder: Path, videos: Path, clean_run: dict[str, bytes], seed: int, *, workers: int = 1) -> None:
    chance = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    config, root = write_config(folder, videos, workers=workers)
    with marked_run("run", config) as run:
        strike(run, root, victim, chance=chance, num_clean=len(clean_run))
        code, _, err = run.wait()
        run.assert_gone()
        if victim != "group":
            assert code == 0, err
    if victim == "group":
        finish(config, root)
    assert temp_files(root) == []
    assert snapshot(open_store(str(root))) == clean_run


@pytest.mark.parametrize("seed", range(3))
def test_kill_9(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    kill_one(tmp_path, many_videos, clean_run, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 53))
def test_kill_9_fifty_times(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    kill_one(tmp_path, many_videos, clean_run, seed, workers=2)


def test_kill_9_of_the_run_alone(tmp_path: Path, many_videos: Path) -> None:
    """Workers and decoders notice that their run is dead, and end."""
    config, root = write_config(tmp_path, many_videos)
    with marked_run("run", config) as run:
        while run.process.poll() is None and num_objects(root) < 14:
            time.sleep(0.02)
        run.process.kill()
        run.wait()
        run.assert_gone()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes], number: signal.Signals) -> None:
    """Ctrl-C (to the whole group, as a terminal does), a scheduler's SIGTERM, a lost terminal: a clean end that says how to go on."""
    config, root = write_config(tmp_path, many_videos)
    with marked_run("run", config) as run:
        while run.process.poll() is None and num_objects(root) < 6:
            time.sleep(0.02)
        if number is signal.SIGINT:
            os.killpg(run.process.pid, number)
        else:
            run.process.send_signal(number)
        code, out, err = run.wait()
        run.assert_gone()
    assert code == 130, err
    assert f"shardpipe run {config}" in err
    assert "Traceback" not in err
    assert out == ""
    assert temp_files(root) == []
    finish(config, root)
    assert snapshot(open_store(str(root))) == clean_run

"""Roots on a file system of which nothing is known but fsspec's plain calls: the same bytes as anywhere, whatever is killed."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.places import PlainPlace
from support.processes import killed_config, marked_run, num_objects
from support.runs import snapshot, without_orphans

from shardpipe.cli.app import run_app
from shardpipe.engine.verifying.verify import verify
from shardpipe.storage.drivers import all_drivers
from shardpipe.storage.store import TEMP, open_store


def kill_one(folder: Path, videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    """`kill -9` of all of a run at a random moment; run again; `doctor --fix`."""
    chance = random.Random(seed)
    root = PlainPlace(folder).root()
    files = Path(root.removeprefix("local://"))
    config = killed_config(folder, root, videos)
    with marked_run("run", config) as run:
        wanted = chance.randrange(len(clean_run))
        while run.process.poll() is None and num_objects(files) < wanted:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.wait()
        run.assert_gone()
    with marked_run("run", config) as again:
        code, _, err = again.wait()
        assert code == 0, err
    store = open_store(root)
    assert without_orphans(store) == clean_run
    run_app(["doctor", root, "--fix"])
    assert run_app(["doctor", root]) == 0, "nothing is left to mend"
    assert snapshot(store) == clean_run
    assert list((files / TEMP).iterdir()) == []
    assert verify(root).problems == ()


@pytest.mark.parametrize("seed", range(3))
def test_kill_9(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    kill_one(tmp_path, many_videos, clean_run, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_kill_9_twenty_times(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    kill_one(tmp_path, many_videos, clean_run, seed)


def test_commands_on_such_a_root(tmp_path: Path, many_videos: Path, clean_run: dict[str, bytes]) -> None:
    """What is removed there is gone from all objects, and a copy of the rest is whole."""
    root, copied = PlainPlace(tmp_path).root(), PlainPlace(tmp_path).root()
    assert run_app(["run", killed_config(tmp_path, root, many_videos, executor="inline")]) == 0
    assert snapshot(open_store(root)) == clean_run
    assert all_drivers(open_store(root)) == []
    (url,) = {url for url in map(str, many_videos.glob("*.mp4")) if url.endswith("v1.mp4")}
    assert run_app(["remove", root, "--source", url]) == 0
    assert verify(root).problems == ()
    assert run_app(["copy", root, copied]) == 0
    assert verify(copied, deep=True).problems == ()
    kept = {path: data for path, data in snapshot(open_store(root)).items() if path.startswith("train/")}
    assert {path: data for path, data in snapshot(open_store(copied)).items() if path.startswith("train/")} == kept

"""`kill -9` of a real run on Ceph at random moments: run again, the bucket is the same, and after `doctor --fix` nothing else is there."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.places import S3Place
from support.processes import PATH, MarkedRun, killed_config, marked_run
from support.runs import snapshot, without_orphans
from support.s3_servers import S3Root

from shardpipe.cli.app import run_app
from shardpipe.storage.store import open_store

IN_PARTS = """\
from shardpipe.storage import s3
s3.MAX_PARTS = 1  # servers refuse small parts, but for the last
s3.S3Backend.__init__.__kwdefaults__["part_bytes"] = 1
"""
"""In each process of a run: every tar is an upload of its own, that is created, filled and completed."""

VICTIMS = ("group", "worker", "group", "decoder", "run")
pytestmark = pytest.mark.s3


def committed(seen: S3Root) -> list[str]:
    return [path for path in seen.sizes() if not path.startswith("_run/")]


def strike(run: MarkedRun, seen: S3Root, victim: str, *, chance: random.Random, num_clean: int) -> None:
    """Kill the victim some moment after so many objects are there."""
    wanted = chance.randrange(num_clean)
    while run.process.poll() is None and len(committed(seen)) < wanted:
        time.sleep(0.02)
    time.sleep(chance.random() * 0.2)
    if victim == "group":
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
    if victim == "run":
        run.process.kill()
    while victim in ("worker", "decoder") and run.process.poll() is None:
        workers, decoders = run.spawned()
        if found := workers if victim == "worker" else decoders:
            with suppress(psutil.Error):
                chance.choice(found).kill()
            return
        time.sleep(0.02)


def kill_one(folder: Path, place: S3Place, videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    chance = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    root = place.root()
    config = killed_config(folder, root, videos)
    (folder / "sitecustomize.py").write_text(IN_PARTS, encoding="utf-8")
    env = {"PYTHONPATH": f"{folder}{os.pathsep}{PATH}"}
    with marked_run("run", config, env=env) as run:
        strike(run, place.seen(root), victim, chance=chance, num_clean=len(clean_run))
        code, _, err = run.wait()
        run.assert_gone()
        if victim in ("worker", "decoder"):
            assert code == 0, err
    with marked_run("run", config) as again:
        code, _, err = again.wait()
        assert code == 0, err
        again.assert_gone()
    store = open_store(root)
    assert without_orphans(store) == clean_run
    run_app(["doctor", root, "--fix"])
    assert run_app(["doctor", root]) == 0, "nothing is left to mend"
    assert snapshot(store) == clean_run
    assert place.seen(root).uploads() == {}


@pytest.mark.parametrize("place", ["ceph"], indirect=True)
@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9(tmp_path: Path, place: S3Place, many_videos: Path, clean_run: dict[str, bytes], seed: int) -> None:
    kill_one(tmp_path, place, many_videos, clean_run, seed)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ceph"], indirect=True)
@pytest.mark.parametrize("seed", range(2, 100))
def test_kill_9_a_hundred_times(
    tmp_path: Path, place: S3Place, many_videos: Path, clean_run: dict[str, bytes], seed: int
) -> None:
    kill_one(tmp_path, place, many_videos, clean_run, seed)

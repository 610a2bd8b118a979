"""Captions are paid for once: a run that was killed asks about what was in flight, new rules about newly admitted clips alone.

Counted in the server's log. `slow`: 200 clips, killed 20 times.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.caption_runs import ended, finish, in_mid_pass, write_config
from support.openai_server import Plan, Served, serve
from support.planted import asked_keys, check_pairing, committed_rows, cut_root
from support.processes import marked_run, temp_files
from support.runs import rows_of, snapshot

from shardpipe.storage.store import open_store


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 24 clips."""
    return cut_root(tmp_path_factory.mktemp("small"), 3)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 200 clips."""
    return cut_root(tmp_path_factory.mktemp("large"), 25)


def undisturbed(folder: Path, cut: Path, server: Served, **options: Any) -> dict[str, bytes]:
    """The bucket of a run that nobody disturbs."""
    folder.mkdir()
    code, said = ended("run", write_config(folder, cut, server.url, **options))
    assert code == 0, said
    return snapshot(open_store(str(folder / "root")))


def settled(server: Served) -> None:
    """Wait until the server has dealt with what came before its client was killed."""
    assert server.server is not None
    while server.server.at_once:
        time.sleep(0.02)


def kill_and_finish(folder: Path, cut: Path, server: Served, chance: random.Random, **options: Any) -> None:
    """`kill -9` of all processes of a run after some requests, of a third of runs twice; then to its end."""
    config, root = write_config(folder, cut, server.url, **options), folder / "root"
    num_clips = len(rows_of(open_store(str(root)), "clips"))
    for _ in range(chance.choice([1, 1, 2])):
        done, before = set(committed_rows(root, "text")), len(server.requests())
        with in_mid_pass(config, server, before + chance.randrange(num_clips - len(done) + 1)) as run:
            time.sleep(chance.random() * 0.2)
            with suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
            run.wait()
        settled(server)
        print("KILLED", len(done), len(committed_rows(root, "text")), len(server.requests()) - before)
        assert not done & set(asked_keys(server.requests()[before:]))
    if len(committed_rows(root, "text")) < num_clips:
        finish(config, root, server)
    else:
        assert ended("run", config)[0] == 0
    assert temp_files(root) == []


def test_kill_9_of_a_run(cut: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "log", Plan(delay_s=0.3)) as server:
        clean = undisturbed(tmp_path / "clean", cut, server)
        for seed in (1, 2):
            folder = tmp_path / str(seed)
            folder.mkdir()
            kill_and_finish(folder, cut, server, random.Random(seed), workers=seed)
            assert snapshot(open_store(str(folder / "root"))) == clean


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_of_a_run_twenty_times(large: Path, tmp_path: Path, seed: int) -> None:
    options = {"workers": 1 + seed % 2, "unit_clips": 5 + 3 * (seed % 7), "num_in_flight": (4, 16, 64)[seed % 3]}
    with serve(tmp_path / "log", Plan(delay_s=0.3)) as server:
        clean = undisturbed(tmp_path / "clean", large, server, **options)
        folder = tmp_path / "killed"
        folder.mkdir()
        kill_and_finish(folder, large, server, random.Random(seed), **options)
        assert snapshot(open_store(str(folder / "root"))) == clean


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_kill_9_of_a_worker(cut: Path, tmp_path: Path, seed: int) -> None:
    """The run goes on: the clips that the worker had in flight are asked about again, those of committed slices are not."""
    chance = random.Random(seed)
    with serve(tmp_path / "log", Plan(delay_s=0.3)) as server:
        clean = undisturbed(tmp_path / "clean", cut, server)
        before = len(server.requests())
        config, root = write_config(tmp_path, cut, server.url, workers=2), tmp_path / "root"
        with in_mid_pass(config, server, before + chance.randrange(4, 20)) as run:
            victims = run.spawned()[0]
            with suppress(psutil.Error):
                chance.choice(victims).kill()
            done, at = set(committed_rows(root, "text")), len(server.requests())
            code, _, err = run.wait()
            assert code == 0, err
        assert not done & set(asked_keys(server.requests()[at:]))
        assert max(asked_keys(server.requests()[before:]).values()) <= 2
        assert snapshot(open_store(str(root))) == clean


def test_two_drivers_at_once(cut: Path, tmp_path: Path) -> None:
    """Both end well, each clip is there once, and all is as one driver makes it."""
    with serve(tmp_path / "log", Plan(delay_s=0.2)) as server:
        clean = undisturbed(tmp_path / "clean", cut, server)
        config, root = write_config(tmp_path, cut, server.url), tmp_path / "root"
        with marked_run("run", config) as first, marked_run("run", config) as second:
            for run in (first, second):
                code, _, err = run.wait()
                assert code == 0, err
        check_pairing(open_store(str(root)), "text", server.requests())
        assert snapshot(open_store(str(root))) == clean

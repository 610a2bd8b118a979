"""Real runs in processes of their own, to be killed: started in a session of their own and marked by their environment."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil

from shardpipe.storage.store import TEMP

KILLED_RUN = """\
root: {root}
cut:
  sources: {videos}
  scenes: {{type: fixed, every_s: 1, min_s: 0.5}}
passes:
  - {{name: score, from: clips, stages: [{{type: phash}}], emit: rows}}
  - {{name: train, from: score, keep: [start_s < 2], emit: shards, shard_bytes: 20000}}
execute: {{type: {executor}, workers: {workers}, decoders: 1}}
"""
"""The config of a run that is killed: cut, rows and shards, of many small objects."""


def killed_config(folder: Path, root: str, videos: Path, *, workers: int = 2, executor: str = "local") -> str:
    """The file of such a config in `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(KILLED_RUN.format(workers=workers, root=root, videos=videos, executor=executor), encoding="utf-8")
    return str(path)


MARK = "SHARDPIPE_TEST_RUN"
TESTS = Path(__file__).parents[1]
PATH = f"{TESTS}{os.pathsep}{TESTS.parent}"
"""Where its processes find modules: the code beside these tests, wherever the one that is installed lies."""


class MarkedRun:
    """`python -m shardpipe ARGUMENTS`, and whatever processes it starts."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.mark = uuid4().hex
        own = {**os.environ, MARK: self.mark, "PYTHONPATH": PATH, "COVERAGE_PROCESS_START": "", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shardpipe", *arguments],
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def alive(self) -> list[psutil.Process]:
        """All processes of this run that live (zombies do not)."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def spawned(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """(workers, decoders) that live: the children that multiprocessing spawned, and theirs."""
        workers: list[psutil.Process] = []
        decoders: list[psutil.Process] = []
        with suppress(psutil.Error):
            own = psutil.Process(self.process.pid)
            for worker in _spawned_by(own):
                workers.append(worker)
                with suppress(psutil.Error):
                    decoders += _spawned_by(worker)
        return workers, decoders

    def wait(self, timeout_s: float = 120) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err

    def assert_gone(self, timeout_s: float = 15) -> None:
        """No process of this run is left, after a moment."""
        deadline = time.monotonic() + timeout_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, [process.cmdline() for process in left]


def _spawned_by(process: psutil.Process) -> list[psutil.Process]:
    """Its children that multiprocessing spawned (not the resource tracker)."""
    found = []
    for child in process.children():
        with suppress(psutil.Error):  # it has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def commands_of_children() -> list[str]:
    """The command line of each process that this one started and that lives."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.append(" ".join(child.cmdline()))
    return found


@contextmanager
def marked_run(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[MarkedRun]:
    """A MarkedRun of which nothing is left in the end, even where the test fails."""
    run = MarkedRun(*arguments, env=env)
    try:
        yield run
    finally:
        for process in run.alive():
            with suppress(psutil.Error):
                process.kill()
        run.process.wait(timeout=20)
        for stream in (run.process.stdout, run.process.stderr):
            if stream is not None:
                stream.close()


def num_objects(root: Path) -> int:
    """How many committed objects lie under a local root."""
    count = 0
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in (TEMP, "_run")]
        count += len(files) if Path(folder) != root else 0
    return count


def temp_files(root: Path) -> list[str]:
    """What lies in the root's folder of temporary files."""
    return sorted(str(path.relative_to(root)) for path in (root / TEMP).rglob("*"))

"""The worker's side: what is told where it cannot be set up."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shardpipe.core.errors import ConfigError
from shardpipe.executors.workerside import worker_main
from shardpipe.storage.scratch import ScratchSettings


@dataclass(frozen=True)
class Unmade:
    """A task that cannot be made."""

    error: Exception

    def make(self, *_: Any) -> NoReturn:
        raise self.error


@pytest.mark.parametrize(
    ("error", "why", "has_trace"),
    [(ConfigError("name a model"), "name a model", False), (OSError("no disk"), "OSError: no disk", True)],
)
def test_an_error_that_says_what_to_do_is_told_without_a_trace(
    error: Exception, why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], *, has_trace: bool
) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(
        target=worker_main, args=(theirs, str(tmp_path), ScratchSettings(), Unmade(error), "cpu", os.getpid())
    )
    worker.start()
    worker.join(60)
    assert ours.recv() == ("fatal", why)
    assert worker.exitcode == 1
    assert ("Traceback" in capfd.readouterr().err) == has_trace

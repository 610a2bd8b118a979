"""One small finished run for all tests of this folder; it is only read."""

from pathlib import Path

import pytest
from support.small_run import write_small_run

from shardpipe.cli.app import run_app


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_small_run(tmp_path_factory.mktemp("small") / "it")
    assert run_app(["run", str(path)]) == 0
    return path


@pytest.fixture
def root(config: Path) -> str:
    return str(config.parent / "run")

"""What the end-to-end tests share: tiny videos, rendered once a session, and what a run leaves that nobody kills."""

from fractions import Fraction
from pathlib import Path

import pytest
from support.fakes import CALLS
from support.numbered import make_numbered
from support.processes import killed_config
from support.runs import SIZE, render_videos, snapshot

from shardpipe.config.load import load_config
from shardpipe.executors.run import run_config
from shardpipe.storage.store import open_store


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    options = {"g": "12", "bf": "0", "preset": "ultrafast"}
    make_numbered(folder / "long.mp4", num_frames=12 * 11, fps=Fraction(12), size=SIZE, options=options)
    return folder


@pytest.fixture(scope="session")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("many"), seconds=(3, 2, 2, 2))


@pytest.fixture(scope="session")
def clean_run(many_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bucket of a KILLED_RUN that nobody disturbed, on a local disk, all in this process."""
    folder = tmp_path_factory.mktemp("clean")
    root = str(folder / "root")
    assert not run_config(load_config(killed_config(folder, root, many_videos, executor="inline"), [])).pending
    return snapshot(open_store(root))


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()

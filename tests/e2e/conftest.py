"""What the end-to-end tests share: tiny videos, rendered once a session."""

from fractions import Fraction
from pathlib import Path

import pytest
from support.fakes import CALLS
from support.numbered import make_numbered
from support.runs import SIZE, render_videos


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    options = {"g": "12", "bf": "0", "preset": "ultrafast"}
    make_numbered(folder / "long.mp4", num_frames=12 * 11, fps=Fraction(12), size=SIZE, options=options)
    return folder


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()

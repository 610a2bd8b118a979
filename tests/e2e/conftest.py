"""What the end-to-end tests share: tiny videos, rendered once a session."""

from pathlib import Path

import pytest
from support.fakes import CALLS
from support.runs import render_videos


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()

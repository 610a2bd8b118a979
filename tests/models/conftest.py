"""A cache of its own for each test, and a server of weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_server import Files, serve_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARDPIPE_CACHE", str(tmp_path / "cache"))
    for name in ("SHARDPIPE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def server() -> Iterator[Files]:
    with serve_files() as files:
        yield files

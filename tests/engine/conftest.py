"""A store for tests that make their Datasets by hand."""

from pathlib import Path

import pytest

from shardpipe.storage.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))

"""A cache of its own for each test, a server of weights, and clients of servers that write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from support.file_server import Files, serve_files
from support.openai_server import MODEL
from support.tiny_vlm import make_tiny_llm, make_tiny_vlm

from shardpipe.core import temporary
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.openai_client import OpenAIClient


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARDPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    for name in ("SHARDPIPE_OFFLINE", "HF_HUB_OFFLINE", "SHARDPIPE_CACHE_BYTES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def server() -> Iterator[Files]:
    with serve_files() as files:
        yield files


class OpenClient(Protocol):
    def __call__(self, url: str | None, **settings: Any) -> OpenAIClient: ...


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenClient]:
    """Opens clients whose waits are short, with a key in the environment, and closes them."""
    clients: list[OpenAIClient] = []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    def open_client(url: str | None, **settings: Any) -> OpenAIClient:
        spec = EngineSpec("openai", **{"model": MODEL, "base_url": url, "unreachable_s": 10.0, **settings})
        clients.append(OpenAIClient(spec, first_wait_s=0.01, max_wait_s=0.05, connect_s=2.0))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llm(tmp_path_factory.mktemp("llm"))

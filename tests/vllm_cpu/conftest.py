"""Real vLLM on the CPU, on tiny random models: scripts/test runs these in the environment of scripts/vllm_env."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tiny_vlm import make_tiny_vlm

from shardpipe.core.weights import Weights
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.vllm_engine import VllmEngine

# a GB for the key-value cache, both cores for whoever wants them, no hub
os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", HF_HUB_OFFLINE="1")

SETTINGS = {"dtype": "float32", "max_model_len": 1024, "max_images": 8, "has_video": True}
ARGS = '{"enforce_eager":true,"max_num_seqs":32}'


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("models") / "tiny-vlm")


@pytest.fixture(scope="session")
def engine(vlm: Path) -> Iterator[VllmEngine]:
    """One for all tests: it takes half a minute to start."""
    opened = open_engine(vlm)
    yield opened
    opened.close()


def open_engine(folder: Path, **settings: Any) -> VllmEngine:
    given = {"weights": Weights("model", str(folder)), "args_json": ARGS, **SETTINGS, **settings}
    opened = EngineSpec("vllm", **given).open(["cpu"])
    assert isinstance(opened, VllmEngine)
    return opened

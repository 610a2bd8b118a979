"""What can be said of the engine vllm without it; tests/vllm_cpu has the rest."""

import os
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_vlm import make_tiny_llm

from shardpipe.core.errors import ConfigError
from shardpipe.core.weights import Weights
from shardpipe.models.generate import vllm_engine
from shardpipe.models.generate.engine import EngineSpec

GB = 10**9


def test_without_vllm_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    spec = EngineSpec("vllm", weights=Weights("model", str(make_tiny_llm(tmp_path))))
    with pytest.raises(ConfigError, match=r"pip install 'shardpipe\[vllm\]', or use the engine openai"):
        spec.open(["cpu"])


@pytest.mark.parametrize(
    ("seen", "devices", "expected"),
    [
        (None, ["cuda:0"], "0"),
        (None, ["cuda:2", "cuda:3"], "2,3"),
        ("4,5,6,7", ["cuda:1", "cuda:2"], "5,6"),
        (None, ["cuda"], "0"),
        ("1", ["cpu"], "1"),
    ],
)
def test_its_processes_see_the_workers_gpus(
    seen: str | None, devices: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    with vllm_engine._environment(devices):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.parametrize(("free", "reserved", "share"), [(78, 0, 0.89), (60, 10, 0.6), (40, 0, 0.42)])
def test_its_share_is_what_is_free(free: int, reserved: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 GB; beside stages that compute there too, more is left to them. The fullest GPU decides."""
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((free if device == "cuda:0" else 79) * GB, 80 * GB))
    assert vllm_engine._free_share(["cuda:0", "cuda:1"]) == pytest.approx(share)
    assert vllm_engine._free_share(["cpu"]) is None


def test_too_little_free_memory_is_told_before_anything_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8 * GB, 80 * GB))
    with pytest.raises(ConfigError, match=r"cuda:0 has 8\.0 of 80\.0 GB free"):
        vllm_engine._free_share(["cuda:0"])

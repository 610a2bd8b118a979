"""Shares of a GPU: what is free, what a batch and what an engine may take of it."""

import os

import pytest
import torch

from shardpipe.core.errors import ConfigError
from shardpipe.models.gpu_memory import GpuMemory, engine_share, items_that_fit, share_of

GB = 10**9


@pytest.mark.parametrize(
    ("free", "others", "expected"), [(80, 8, 0.9), (79, 8, 0.88), (40, 8, 0.4), (80, 0, 1.0), (8, 8, 0.0), (4, 8, 0.0)]
)
def test_an_engine_takes_what_is_free_less_what_others_will_take(free: int, others: int, expected: float) -> None:
    assert share_of(free_bytes=free * GB, total_bytes=80 * GB, others_bytes=others * GB) == expected


def test_an_engine_that_would_get_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * GB, 80 * GB))  # noqa: ARG005  torch's name
    assert engine_share("cuda:0", others_bytes=8 * GB) == 0.15
    with pytest.raises(ConfigError, match=r"cuda:0 has 20\.0 of 80\.0 GB free.*take 18\.0.*GPU of its own"):
        engine_share("cuda:0", others_bytes=18 * GB)


def test_items_that_fit() -> None:
    assert items_that_fit(1000, 20) == 25
    assert items_that_fit(0, 20) == items_that_fit(39, 20) == 1
    assert items_that_fit(1000, 0) == 500  # a size of nothing is no size


def test_what_torch_keeps_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (30, 80))  # noqa: ARG005
    stats = {"reserved_bytes": {"all": {"current": 20}}, "allocated_bytes": {"all": {"current": 15}}}
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda device: stats)  # noqa: ARG005
    assert GpuMemory("cuda:0").free_bytes() == 35


@pytest.mark.gpu
def test_a_gpu_is_measured() -> None:
    if not torch.cuda.is_available():
        assert os.environ.get("REQUIRE_GPU") != "1", "REQUIRE_GPU=1, and there is no CUDA"
        pytest.skip("no CUDA")
    memory = GpuMemory("cuda:0")
    before = memory.free_bytes()
    made, num_bytes = memory.measured(lambda: torch.zeros(1 << 20, device="cuda:0"))
    assert made.numel() * 4 <= num_bytes < 2 * made.numel() * 4
    assert memory.free_bytes() < before
    assert 0 < engine_share("cuda:0", others_bytes=0) <= 1

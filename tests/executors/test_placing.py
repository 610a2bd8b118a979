"""How many cores a run takes for its own."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shardpipe.config.parts import ExecuteConfig
from shardpipe.config.registry import stage_class
from shardpipe.core.errors import ConfigError
from shardpipe.core.work import Phase, WorkerNeeds
from shardpipe.executors import placing
from shardpipe.executors.local import LocalExecutor
from shardpipe.storage.store import open_store


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("150000 100000", 2), ("5000 100000", 1), ("garbage", None)],
)
def test_a_containers_quota_counts(
    text: str, cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(placing, "CPU_MAX", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert placing.num_cores() == (4 if cores is None else cores)


def test_without_a_quota_all_bound_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "CPU_MAX", tmp_path / "absent")
    assert placing.num_cores() == len(os.sched_getaffinity(0))


def places(
    execute: dict[str, Any], tmp_path: Path, *, uses_device: bool, phase: Phase = "rows"
) -> tuple[int, tuple[str, ...]]:
    store = open_store(str(tmp_path))
    executor = placing.executor_for(
        ExecuteConfig.model_validate(execute), store, phase=phase, needs=WorkerNeeds(uses_device)
    )
    assert isinstance(executor, LocalExecutor)
    return executor._settings.num_workers, executor._settings.devices


@pytest.mark.parametrize(
    ("execute", "uses_device", "expected"),
    [
        ({}, True, (2, ("cuda:0", "cuda:1"))),
        ({}, False, (8, ("cpu",))),
        ({"devices": ["cuda:1"]}, True, (1, ("cuda:1",))),
        ({"devices": ["cuda:1"]}, False, (8, ("cpu",))),  # cut and emit ask for no GPU
        ({"devices": ["cuda:0"], "workers": 2}, True, (2, ("cuda:0",))),
        ({"devices": ["cpu"]}, True, (1, ("cpu",))),
        ({"workers": 3}, False, (3, ("cpu",))),
    ],
)
def test_models_get_the_gpus_and_all_else_the_cores(
    execute: dict[str, Any],
    uses_device: bool,  # noqa: FBT001  pytest passes it
    expected: tuple[int, tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placing, "gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(placing, "num_cores", lambda: 8)
    assert places(execute, tmp_path, uses_device=uses_device) == expected
    decoders = placing.num_decoders(ExecuteConfig.model_validate(execute), WorkerNeeds(uses_device))
    assert decoders == max(1, 8 // expected[0])


def test_a_scene_network_shares_its_gpus_among_cutters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "gpus", lambda: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(placing, "num_cores", lambda: 64)
    assert places({}, tmp_path, uses_device=True, phase="cut") == (16, ("cuda:0", "cuda:1"))
    assert places({"devices": ["cuda:1"]}, tmp_path, uses_device=True, phase="cut") == (8, ("cuda:1",))
    assert places({"workers": 3}, tmp_path, uses_device=True, phase="cut") == (3, ("cuda:0", "cuda:1"))


def test_workers_of_named_gpus_leave_the_cores_to_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "num_cores", lambda: 64)
    asked = {"devices": ["cuda:0"], "workers": 2}
    assert places(asked, tmp_path, uses_device=True) == (2, ("cuda:0",))
    assert places(asked, tmp_path, uses_device=False) == (64, ("cpu",))


def test_without_a_gpu_models_get_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "num_cores", lambda: 8)
    monkeypatch.setattr(placing, "gpus", list)
    assert places({}, tmp_path, uses_device=True) == (8, ("cpu",))


def test_gpus_are_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert placing.gpus() == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(placing, "find_spec", lambda _: None)
    assert placing.gpus() == []


@pytest.mark.parametrize("device", ["gpu7", "cuda:x", "", "cuda:0,cuda:1"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ValidationError):
        ExecuteConfig(devices=[device])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "flow"}, False),
        ({"type": "flow", "engine": "unimatch"}, True),
        ({"type": "camera_motion"}, False),
        ({"type": "aes"}, True),
        ({"type": "embed"}, True),
        ({"type": "quality"}, False),
        ({"type": "describe"}, False),
        ({"type": "ocr"}, False),  # the onnxruntime of the tests has no CUDA
    ],
)
def test_which_stages_want_a_gpu(fields: dict[str, Any], expected: bool) -> None:  # noqa: FBT001
    assert stage_class(fields["type"]).model_validate(fields).uses_device is expected


@pytest.mark.parametrize(
    ("execute", "expected"),
    [
        ({}, (2, ("cuda:0,cuda:1", "cuda:2,cuda:3"))),
        ({"devices": ["cuda:1", "cuda:3", "cuda:4"]}, (1, ("cuda:1,cuda:3",))),
        ({"devices": ["cpu"]}, (1, ("cpu",))),
        ({"workers": 1}, (1, ("cuda:0,cuda:1", "cuda:2,cuda:3"))),
        ({"workers": 8}, (2, ("cuda:0,cuda:1", "cuda:2,cuda:3"))),
        ({"workers": 3, "devices": ["cpu"]}, (3, ("cpu",))),
    ],
)
def test_a_worker_gets_all_gpus_that_its_engine_needs(
    execute: dict[str, Any], expected: tuple[int, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "gpus", lambda: [f"cuda:{i}" for i in range(5)])
    needs = WorkerNeeds(uses_device=True, num_devices=2, serves_all=True)
    executor = placing.executor_for(
        ExecuteConfig.model_validate(execute), open_store(str(tmp_path)), phase="rows", needs=needs
    )
    assert isinstance(executor, LocalExecutor)
    assert (executor._settings.num_workers, executor._settings.devices) == expected


def test_too_few_gpus_for_an_engine_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "gpus", lambda: ["cuda:0"])
    needs = WorkerNeeds(uses_device=True, num_devices=4, serves_all=True)
    with pytest.raises(ConfigError, match=r"4 GPUs a worker \(tensor_parallel_size\), and there are 1: cuda:0"):
        placing.executor_for(ExecuteConfig(), open_store(str(tmp_path)), phase="rows", needs=needs)


@pytest.mark.parametrize(("execute", "workers", "decoders"), [({}, 1, 8), ({"workers": 2}, 2, 4)])
def test_one_worker_serves_a_cpu_or_a_server(
    execute: dict[str, Any], workers: int, decoders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "gpus", list)
    monkeypatch.setattr(placing, "num_cores", lambda: 8)
    config, needs = ExecuteConfig.model_validate(execute), WorkerNeeds(uses_device=False, serves_all=True)
    executor = placing.executor_for(config, open_store(str(tmp_path)), phase="rows", needs=needs)
    assert isinstance(executor, LocalExecutor)
    assert executor._settings.num_workers == workers
    assert placing.num_decoders(config, needs) == decoders

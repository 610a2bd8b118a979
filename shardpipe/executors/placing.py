"""How many workers and decode processes a phase gets on this machine, and on which devices."""

import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from shardpipe.config.parts import ExecuteConfig
from shardpipe.core.errors import ConfigError
from shardpipe.core.filecache import CacheSettings
from shardpipe.core.work import Phase, WorkerNeeds
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.local import LocalExecutor, LocalSettings
from shardpipe.models.cache import cache_folder
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CPU = ("cpu",)
CUTTERS = 8
"""Of workers of `cut` whose detector is a network, so many share a device: most of what they do is decoding and encoding."""


def executor_for(
    execute: ExecuteConfig, store: Store, *, phase: Phase, needs: WorkerNeeds
) -> LocalExecutor | InlineExecutor:
    """The executor that `execute:` asks for, of a phase whose workers need this."""
    devices = _devices(execute, needs)
    if execute.type == "inline":
        return InlineExecutor(store, devices[0])
    if store.url.startswith("memory://"):
        raise ConfigError(
            f"{store.url} lies in the memory of one process, which workers do not see: set execute.type: inline"
        )
    num_workers = _num_workers(execute, devices, needs, a_device=CUTTERS if phase == "cut" else 1)
    settings = LocalSettings(num_workers, tuple(devices), execute.tries, scratch_of(execute))
    return LocalExecutor(store.url, settings)


def scratch_of(execute: ExecuteConfig) -> ScratchSettings:
    """Where `execute:` wants scratch, and how much of it."""
    folder = None if execute.scratch is None else Path(execute.scratch).expanduser().absolute()
    return ScratchSettings(folder, execute.scratch_bytes)


def execute_with(scratch: ScratchSettings | None) -> ExecuteConfig:
    """What `execute:` is by default, with this scratch: for commands that have no config."""
    if scratch is None:
        return ExecuteConfig()
    return ExecuteConfig(
        scratch=None if scratch.folder is None else str(scratch.folder), scratch_bytes=scratch.max_bytes
    )


def cache_of(execute: ExecuteConfig) -> CacheSettings | None:
    """Where `execute:` wants whole copies of remote sources to be kept; None: nowhere."""
    if execute.cache_bytes is None:
        return None
    folder = cache_folder("sources") if execute.cache is None else Path(execute.cache).expanduser().absolute()
    return CacheSettings(folder, execute.cache_bytes)


def num_decoders(execute: ExecuteConfig, needs: WorkerNeeds) -> int:
    """Decode processes of each worker of a pass: its share of the cores, one at least; none inline."""
    if execute.type == "inline":
        return 0
    if execute.decoders is not None:
        return execute.decoders
    return max(1, num_cores() // _num_workers(execute, _devices(execute, needs), needs))


def _devices(execute: ExecuteConfig, needs: WorkerNeeds) -> Sequence[str]:
    """The CPU for what uses no device, else what is asked for, else all GPUs; in groups, where a worker needs several."""
    if not needs.uses_device:
        return CPU
    found = execute.devices or gpus() or CPU
    if needs.num_devices == 1 or found == ["cpu"] or found is CPU:
        return found
    size = needs.num_devices
    groups = [",".join(found[i : i + size]) for i in range(0, len(found) - size + 1, size)]
    if not groups:
        raise ConfigError(
            f"a stage wants {size} GPUs a worker (tensor_parallel_size), and there are {len(found)}: {', '.join(found)}"
        )
    return groups


def _num_workers(execute: ExecuteConfig, devices: Sequence[str], needs: WorkerNeeds, *, a_device: int = 1) -> int:
    """What is asked for (on the devices that are named, where any are), else so many a device, and one a core; but only one
    where one serves all, and no second one on a GPU that an engine fills.
    """
    if devices is CPU:
        if needs.serves_all:
            return execute.workers or 1
        return num_cores() if execute.devices else execute.workers or num_cores()
    if execute.workers:
        fills = needs.serves_all and tuple(devices) != CPU
        return min(execute.workers, len(devices)) if fills else execute.workers
    return len(devices) if a_device == 1 else min(num_cores(), a_device * len(devices))


def gpus() -> list[str]:
    """The GPUs that torch sees, as torch devices; none without torch."""
    if find_spec("torch") is None:
        return []
    try:
        import torch  # noqa: PLC0415  an extra, and slow to import
    except (ImportError, OSError):  # a broken one: a worker that needs it says so
        return []
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def num_cores() -> int:
    """The cores that this process may use: those that it is bound to, or its container's quota where that is less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, _quota())))


def _quota() -> float:
    """CPU seconds a second that the cgroup (version 2) of a container allows; infinite where nothing is said."""
    try:
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf

"""How many workers and decode processes a config gets on this machine."""

import math
import os
from pathlib import Path

from shardpipe.config.models import Config
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.local import LocalExecutor, LocalSettings
from shardpipe.storage.store import Store

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def executor_for(config: Config, store: Store) -> LocalExecutor | InlineExecutor:
    """The executor that `execute:` asks for."""
    execute = config.execute
    if execute.type == "inline":
        return InlineExecutor(store, (execute.devices or ["cpu"])[0])
    devices = tuple(execute.devices or ("cpu",))
    num_workers = execute.workers or (len(devices) if execute.devices else num_cores())
    return LocalExecutor(config.root, LocalSettings(num_workers, devices, execute.tries))


def num_decoders(config: Config) -> int:
    """Decode processes of each worker of a pass: its share of the cores, one at least; none inline."""
    execute = config.execute
    if execute.type == "inline":
        return 0
    if execute.decoders is not None:
        return execute.decoders
    num_workers = execute.workers or (len(execute.devices) if execute.devices else num_cores())
    return max(1, num_cores() // num_workers)


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

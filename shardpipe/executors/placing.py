"""How many workers and decode processes a config gets on this machine."""

import os

from shardpipe.config.models import Config
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.local import LocalExecutor, LocalSettings
from shardpipe.storage.store import Store


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
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""What a GPU has free, and how much of it may be taken where other stages, workers and an engine such as vLLM live on it too.

free      what no process holds, and what torch keeps here without using it
batch     at most half of free, by what an item was seen to take      `items_that_fit`, for each batch anew
engine    all of free at its start, less what the others will take    `engine_share`, once
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from shardpipe.core.errors import ConfigError

BATCH_SHARE = 0.5
LEAST_SHARE = 0.05
Made = TypeVar("Made")


class Memory(Protocol):
    """The memory that a model's batches live in."""

    def free_bytes(self) -> int:
        """Bytes that a batch could have now."""

    def measured(self, work: Callable[[], Made]) -> tuple[Made, int]:
        """What `work` makes, and how many bytes it held at its peak, beyond those held before."""


@dataclass(frozen=True)
class GpuMemory:
    """The memory of a CUDA device. Nothing here waits for what is queued on it."""

    device: str

    def free_bytes(self) -> int:
        """What no process holds, and what torch keeps for this one without using it."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(free) + self._bytes("reserved_bytes", "current") - self._bytes("allocated_bytes", "current")

    def measured(self, work: Callable[[], Made]) -> tuple[Made, int]:
        """As torch's allocator counts."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = self._bytes("allocated_bytes", "current")
        made = work()
        return made, self._bytes("allocated_bytes", "peak") - before

    def _bytes(self, kind: str, which: str) -> int:
        """A number of torch's allocator, 0 before its first allocation. `memory_allocated` and the like flatten and sort all of them."""
        stats = torch.cuda.memory_stats_as_nested_dict(self.device)
        return int(stats[kind]["all"][which]) if stats else 0


def items_that_fit(free_bytes: int, item_bytes: int) -> int:
    """How many items a batch may have that leaves half of what is free to others; at least one."""
    return max(1, int(free_bytes * BATCH_SHARE) // max(1, item_bytes))


def engine_share(device: str, *, others_bytes: int) -> float:
    """The share of a GPU that an engine which fills it at its start may take: vLLM's `gpu_memory_utilization`.

    others_bytes: what the workers of shardpipe on this GPU will take, as `docs/models.md` gives it for each stage; nothing for
    those that run already, since it is what is free now that is shared out. Raises ConfigError where too little is left.
    """
    free, total = torch.cuda.mem_get_info(device)
    share = share_of(free_bytes=int(free), total_bytes=int(total), others_bytes=others_bytes)
    if share < LEAST_SHARE:
        raise ConfigError(
            f"{device} has {free / 1e9:.1f} of {total / 1e9:.1f} GB free, and the stages beside the engine take"
            f" {others_bytes / 1e9:.1f}: give the engine a GPU of its own (`execute.devices`)"
        )
    return share


def share_of(*, free_bytes: int, total_bytes: int, others_bytes: int) -> float:
    """What is free less what others will take, as a share of all, rounded down to hundredths; 0 where nothing is left."""
    return max(0, 100 * (free_bytes - others_bytes) // total_bytes) / 100

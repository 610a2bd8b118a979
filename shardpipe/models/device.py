"""What a torch device can do: number formats, and batches as large as its memory allows."""

import re
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

import torch

from shardpipe.core.errors import StageError
from shardpipe.models.backbone import Precision
from shardpipe.models.gpu_memory import GpuMemory, Made, Memory, items_that_fit

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_INFO = Path("/proc/cpuinfo")
CPU_BF16 = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)
"""Flags of x86 and ARM processors that multiply bf16; others only imitate it, slower than fp32."""

NO_MEMORY = re.compile(r"out of memory|can't allocate memory|_ALLOC_FAILED", re.IGNORECASE)


def chosen_dtype(precision: Precision, device: str, cpu_info: Path = CPU_INFO) -> torch.dtype:
    """The dtype that `precision` means on `device`."""
    if precision != "auto":
        return DTYPES[precision]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "cpu" and cpu_info.is_file() and CPU_BF16.search(cpu_info.read_text(encoding="utf-8")):
        return torch.bfloat16
    return torch.float32


class BatchSize:
    """How many items a model takes at once on a device: at most `most`, which is halved for good where memory runs out.

    On a GPU also at most what fits half of the memory that is free just then, by what an item of that shape took before, so
    that several stages and processes live on one GPU; the first batch of a shape is one item.
    """

    def __init__(self, most: int, device: str, memory: Memory | None = None) -> None:
        self.most = most
        self._device = device
        self._memory = GpuMemory(device) if memory is None and device.startswith("cuda") else memory
        self._item_bytes: dict[Hashable, int] = {}

    def of(self, shape: Hashable) -> int:
        """How many items of this shape to take next."""
        if self._memory is None:
            return self.most
        seen = self._item_bytes.get(shape)
        return 1 if seen is None else min(self.most, items_that_fit(self._memory.free_bytes(), seen))

    def attempt(self, work: Callable[[], Made], count: int, shape: Hashable) -> Made | None:
        """What `work` makes of `count` items of a shape; None where memory ran out: ask `of` again, it is at most half.

        Raises StageError where a single item does not fit.
        """
        try:
            if self._memory is None:
                return work()
            made, num_bytes = self._memory.measured(work)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if count == 1:
                raise StageError(f"not even one item fits the memory of {self._device}: {error}") from error
            self.most = count // 2
        else:
            self._item_bytes[shape] = -(-num_bytes // count)
            return made
        if self._device.startswith("cuda"):  # outside `except`, whose traceback holds the batch that did not fit
            torch.cuda.empty_cache()
        return None


class Batches:
    """Runs a model over slices of tensors, each as large as its BatchSize says."""

    def __init__(self, size: int, device: str, memory: Memory | None = None) -> None:
        self._size = BatchSize(size, device, memory)

    def run(self, work: Callable[[torch.Tensor], torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        """What `work` makes of all of `items`, along the first dimension. Raises StageError where not even one item fits."""
        done: list[torch.Tensor] = []
        shape = (items.shape[1:], items.dtype)
        start = 0
        while start < len(items):
            part = items[start : start + self._size.of(shape)]
            made = self._size.attempt(partial(work, part), len(part), shape)
            if made is not None:
                done.append(made)
                start += len(part)
        return torch.cat(done) if len(done) != 1 else done[0]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device has no memory left: torch's own, and what CUDA, its libraries and the CPU's say."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    )

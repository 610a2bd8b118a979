"""What a torch device can do: number formats, and batches as large as its memory allows."""

import re
from collections.abc import Callable
from pathlib import Path

import torch

from shardpipe.core.errors import StageError
from shardpipe.models.backbone import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_INFO = Path("/proc/cpuinfo")
CPU_BF16 = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)
"""Flags of x86 and ARM processors that multiply bf16; others only imitate it, slower than fp32."""


def chosen_dtype(precision: Precision, device: str, cpu_info: Path = CPU_INFO) -> torch.dtype:
    """The dtype that `precision` means on `device`."""
    if precision != "auto":
        return DTYPES[precision]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "cpu" and cpu_info.is_file() and CPU_BF16.search(cpu_info.read_text(encoding="utf-8")):
        return torch.bfloat16
    return torch.float32


class Batches:
    """Runs a model over slices of at most `size` items; where they do not fit the device's memory, it halves `size` for good."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self._device = device

    def run(self, work: Callable[[torch.Tensor], torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        """What `work` makes of all of `items`, along the first dimension. Raises StageError where not even one item fits."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(items):
            part = items[start : start + self.size]
            try:
                done.append(work(part))
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise StageError(f"not even one item fits the memory of {self._device}: {error}") from error
                self.size = len(part) // 2
            else:
                start += len(part)
                continue
            if self._device.startswith("cuda"):  # outside `except`, whose traceback holds the batch that did not fit
                torch.cuda.empty_cache()
        return torch.cat(done) if len(done) != 1 else done[0]

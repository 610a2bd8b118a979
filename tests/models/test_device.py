"""Number formats, and batches that shrink where memory is short."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shardpipe.core.errors import StageError
from shardpipe.models.device import Batches, chosen_dtype
from shardpipe.models.gpu_memory import Made


class Small:
    """A model that takes at most `most` items."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sizes: list[int] = []

    def __call__(self, items: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(items))
        if len(items) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return items * 2


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost() -> None:
    model, batches = Small(5), Batches(32, "cpu")
    items = torch.arange(41.0)
    assert torch.equal(batches.run(model, items), items * 2)
    assert model.sizes[:4] == [32, 16, 8, 4]
    model.sizes.clear()
    assert torch.equal(batches.run(model, items), items * 2)
    assert max(model.sizes) == 4  # the smaller size stays


def test_one_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(StageError, match="not even one"):
        Batches(8, "cpu").run(Small(0), torch.zeros(3))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_what_libraries_and_the_cpu_say_is_short_memory_too(error: Exception) -> None:
    tried: list[int] = []

    def at_most_two(items: torch.Tensor) -> torch.Tensor:
        tried.append(len(items))
        if len(items) > 2:
            raise error
        return items

    items = torch.arange(5.0)
    assert torch.equal(Batches(4, "cpu").run(at_most_two, items), items)
    assert tried == [4, 2, 2, 1]


class Shared:
    """A memory of which others take more and more. An item of n numbers takes 10 n bytes."""

    def __init__(self, *free: int) -> None:
        self.free = list(free)

    def free_bytes(self) -> int:
        return self.free.pop(0) if len(self.free) > 1 else self.free[0]

    def measured(self, work: Callable[[], Made]) -> tuple[Made, int]:
        made = work()
        return made, 10 * made.numel()  # type: ignore[attr-defined]


def test_a_batch_takes_half_of_what_is_free_by_what_an_item_took() -> None:
    model, batches = Small(100), Batches(32, "cpu", Shared(1000, 1000, 100, 0, 10**9))
    items = torch.arange(120.0).reshape(60, 2)
    assert torch.equal(batches.run(model, items), items * 2)
    # the first tells what an item takes, 20 bytes; then half of 1000, half of 100, one at least, and never above 32
    assert model.sizes == [1, 25, 25, 2, 1, 6]
    model.sizes.clear()
    batches.run(model, items)
    assert model.sizes == [32, 28]
    model.sizes.clear()
    batches.run(model, torch.zeros(3, 5))
    assert model.sizes == [1, 2]  # other shapes take other amounts


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise ValueError("other")

    with pytest.raises(ValueError, match="other"):
        Batches(8, "cpu").run(broken, torch.zeros(3))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile\n", torch.bfloat16),
        ("flags\t\t: fpu amx_bf16\n", torch.bfloat16),
        ("Features\t: fp asimd bf16 i8mm\n", torch.bfloat16),
        ("flags\t\t: fpu avx2 avx512f\n", torch.float32),
        ("model name: bf16\n", torch.float32),
    ],
)
def test_auto_on_a_cpu_is_what_it_computes_in(tmp_path: Path, info: str, expected: torch.dtype) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    assert chosen_dtype("auto", "cpu", tmp_path / "cpuinfo") == expected
    assert chosen_dtype("auto", "cpu", tmp_path / "none") == torch.float32


def test_a_precision_that_is_named_is_taken() -> None:
    assert [chosen_dtype(name, "cpu") for name in ("fp32", "bf16", "fp16")] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: torch.dtype) -> None:  # noqa: FBT001
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)  # noqa: ARG005
    assert chosen_dtype("auto", "cuda:0") == expected

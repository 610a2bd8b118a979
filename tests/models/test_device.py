"""Number formats, and batches that shrink where memory is short."""

from pathlib import Path

import pytest
import torch

from shardpipe.core.errors import StageError
from shardpipe.models.device import Batches, chosen_dtype


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

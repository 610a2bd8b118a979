"""Which files of a folder of weights at a remote are fetched: those that count, and of tensors in several formats one."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from shardpipe.models.cache import counts
from shardpipe.models.statedict import INDEX, SAFE

OF_TORCH = (".bin", ".pth", ".ckpt", ".pt")
NEVER_A_COPY = ".pt"
"""Tables such as the voices of Qwen's Omni models end so, beside safetensors."""

ONNX = ".onnx"
AS_RELEASED = "consolidated"
"""How the authors' own files begin, beside those that transformers reads."""


def chosen(names: Iterable[str]) -> list[str]:
    """The files of a repository that count, by their paths: tensors of one format, configs, tokenizers and templates; no code.

    The first of these that it has: safetensors, safetensors as released (`consolidated*`), files of torch, those as released, ONNX.
    """
    counted = [name for name in names if counts(PurePosixPath(name))]
    kinds = [kind_of(name) for name in counted]
    best = min((kind for kind in kinds if kind is not None), default=None)
    return [name for name, kind in zip(counted, kinds, strict=True) if kind in (None, best) or _is_no_copy(name)]


def kind_of(name: str) -> int | None:
    """The rank of the format of the tensors that a file, or an index, is of; None for any other file."""
    path = PurePosixPath(name.lower().removesuffix(INDEX))
    released = path.name.startswith(AS_RELEASED)
    if path.suffix == SAFE:
        return 1 if released else 0
    if path.suffix in OF_TORCH:
        return 3 if released else 2
    return 4 if path.suffix == ONNX else None


def _is_no_copy(name: str) -> bool:
    return name.lower().endswith(NEVER_A_COPY)

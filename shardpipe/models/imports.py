"""Importing what the extra `models` installs, with a clear word where it is not there."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from shardpipe.core.errors import ConfigError

OPERATORS = ("nms", "qnms")
"""The compiled operators that torchvision's Python names while it is imported."""


NEEDS_NO_TORCHVISION = frozenset(
    {"torch", "huggingface_hub", "huggingface_hub.errors", "safetensors.torch", "tokenizers"}
)


def import_model_library(name: str) -> ModuleType:
    """`torch`, `open_clip`, `transformers`, ...; raises ConfigError, with what to install, where it is missing."""
    try:
        if name not in NEEDS_NO_TORCHVISION:
            _let_torchvision_import()
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} cannot be imported ({error}): pip install 'shardpipe[models]'") from error


def _let_torchvision_import() -> None:
    """Let a torchvision that was built for CUDA be imported beside a torch that was not.

    Its compiled operators do not load there, and its Python fails at their missing names, although nothing of ours or of
    open_clip calls them. So their names are declared, without an implementation: a call of one still fails.
    """
    spec = importlib.util.find_spec("torchvision")
    if "torchvision" in sys.modules or spec is None or spec.origin is None:
        return
    torch = importlib.import_module("torch")
    compiled = Path(spec.origin).with_name("_C.so")
    if torch.version.cuda is not None or torch.version.hip is not None or not compiled.exists():
        return
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in (name for name in OPERATORS if not hasattr(torch.ops.torchvision, name)):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision").__dict__["_shardpipe_operators"] = library  # as long as it lives

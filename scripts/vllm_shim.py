"""Lets a torchvision that was built for CUDA be imported beside a CPU's torch, in every process of the environment of scripts/vllm_env.

torchvision's compiled operators do not load there, and its Python fails at their missing names, although vLLM and transformers call
none of them here: they are declared, without an implementation, when torchvision is imported for the first time.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; declares the operators where torchvision is about to be found."""

    def __init__(self) -> None:
        self.declared: Any = None
        self._is_at_it = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ANN401, ARG002
        if name == "torchvision" and self.declared is None and not self._is_at_it:
            self._is_at_it = True
            try:
                self._declare()
            finally:
                self._is_at_it = False
        return None

    def _declare(self) -> None:
        import torch  # noqa: PLC0415  only where torchvision is wanted

        spec = importlib.util.find_spec("torchvision")
        compiled = Path(spec.origin).with_name("_C.so") if spec and spec.origin else None
        if compiled is None or not compiled.exists() or torch.version.cuda is not None:
            return
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            self.declared = torch.library.Library("torchvision", "FRAGMENT")
            for operator in (name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)):
                self.declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _BeforeTorchvision())

"""Engines of transformers on the CPU, for tests."""

from pathlib import Path
from typing import Any

from shardpipe.core.weights import Weights
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.transformers_engine import TransformersEngine


class Opened:
    """Opens engines on the CPU in fp32, and closes them."""

    def __init__(self) -> None:
        self.engines: list[TransformersEngine] = []

    def __call__(self, folder: Path, **settings: Any) -> TransformersEngine:
        spec = EngineSpec(
            "transformers", weights=Weights("model", str(folder)), **{"dtype": "float32", "max_images": 4, **settings}
        )
        self.engines.append(TransformersEngine(spec, "cpu"))
        return self.engines[-1]

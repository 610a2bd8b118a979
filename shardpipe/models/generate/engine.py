"""The engines behind one interface: `EngineSpec.open` gives a TextEngine, which answers requests in any order.

vllm           in process: its async engine, with continuous batching     shardpipe.models.generate.vllm_engine
openai         any OpenAI-compatible server                               shardpipe.models.generate.openai_client
transformers   in process, batch by batch                                 shardpipe.models.generate.transformers_engine
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from shardpipe.core.weights import Weights
from shardpipe.models.generate.request import Answer, Request

EngineName = Literal["vllm", "openai", "transformers"]


class TextEngine(Protocol):
    """What answers. All of it may be called from any thread."""

    def submit(self, request: Request) -> "Future[Answer]":
        """Begin with a request; does not wait. The future raises GenerateError for what is the request's own fault, and UnitError
        where the engine or its server is gone for good.
        """

    def close(self) -> None:
        """End it; what has no answer yet is cancelled."""


@dataclass(frozen=True)
class EngineSpec:
    """An engine with its model: all that `open` needs. Equal specs are the same engine; `joined` ones serve several stages.

    weights: the model's files; None for `openai`. model: what the server calls it, for `openai`.
    args_json: `engine_args` as canonical JSON: AsyncEngineArgs of vLLM, keyword arguments of transformers' from_pretrained, more
    keys of the request's body for a server.
    max_images: frames that a request has at most (0: text alone); has_video: whether some come as one video.
    batch_size: requests that transformers takes at once. num_gpus: for tensor parallelism. gpu_memory: share of a GPU, None: computed.
    dialect: `vllm` lets the client use what vLLM's server adds to OpenAI's API (choices, min_tokens, top_k, ...).
    """

    engine: EngineName
    weights: Weights | None = None
    model: str = ""
    args_json: str = "{}"
    max_in_flight: int = 64
    max_images: int = 0
    has_video: bool = False
    dtype: str = "auto"
    max_model_len: int | None = None
    num_gpus: int = 1
    gpu_memory: float | None = None
    batch_size: int = 8
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    dialect: Literal["vllm", "openai"] = "vllm"
    retries: int = 8
    unreachable_s: float = 600.0

    @property
    def args(self) -> dict[str, Any]:
        """`engine_args`."""
        made: dict[str, Any] = json.loads(self.args_json)
        return made

    @property
    def num_devices(self) -> int:
        """None for a server elsewhere."""
        return 0 if self.engine == "openai" else self.num_gpus

    def joined(self, other: object) -> "EngineSpec | None":
        """One for both, if they differ in nothing but in what their requests hold and how many there are."""
        if not isinstance(other, EngineSpec):
            return None
        most = {
            "max_in_flight": max(self.max_in_flight, other.max_in_flight),
            "max_images": max(self.max_images, other.max_images),
            "has_video": self.has_video or other.has_video,
        }
        same = all(
            getattr(self, each.name) == getattr(other, each.name) for each in fields(self) if each.name not in most
        )
        return replace(self, **most) if same else None  # type: ignore[arg-type]

    def open(self, devices: Sequence[str]) -> TextEngine:
        """Load the model on these torch devices, or look for the server. ShardpipeError where that cannot be."""
        if self.engine == "openai":
            from shardpipe.models.generate.openai_client import OpenAIClient  # noqa: PLC0415  an extra each

            return OpenAIClient(self)
        if self.engine == "transformers":
            from shardpipe.models.generate.transformers_engine import TransformersEngine  # noqa: PLC0415

            return TransformersEngine(self, devices[0])
        from shardpipe.models.generate.vllm_engine import VllmEngine  # noqa: PLC0415

        return VllmEngine(self, devices)

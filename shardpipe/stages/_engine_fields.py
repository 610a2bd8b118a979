"""The fields that say which engine answers a stage's questions, with which model, and how: the same for all such stages."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from shardpipe.core.asyncstage import AsyncStage
from shardpipe.core.fingerprint import canonical_json
from shardpipe.core.weights import PIN, Weights, WeightsUrl
from shardpipe.models.generate.engine import EngineName, EngineSpec

IN_PROCESS: tuple[EngineName, ...] = ("vllm", "transformers")
SERVED: tuple[EngineName, ...] = ("openai",)
ONLY_FOR: Mapping[str, tuple[EngineName, ...]] = {
    "dtype": IN_PROCESS,
    "max_model_len": IN_PROCESS,
    "tensor_parallel_size": ("vllm",),
    "gpu_memory_utilization": ("vllm",),
    "batch_size": ("transformers",),
    "base_url": SERVED,
    "api_key_env": SERVED,
    "dialect": SERVED,
    "retries": SERVED,
    "unreachable_s": SERVED,
}
"""Settings that are null unless set, and the engines that have a use for them."""

HOW = (
    "tensor_parallel_size",
    "gpu_memory_utilization",
    "batch_size",
    "base_url",
    "api_key_env",
    "retries",
    "unreachable_s",
    "timeout_s",
    "num_in_flight",
)
"""Settings that change no answer."""

HOW_ARGS: Mapping[EngineName, frozenset[str]] = {
    "vllm": frozenset(
        {
            *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "enable_chunked_prefill", "enable_prefix_caching"),
            *("block_size", "swap_space", "cpu_offload_gb", "kv_cache_memory_bytes", "num_gpu_blocks_override"),
            *("disable_log_stats", "disable_custom_all_reduce", "distributed_executor_backend", "async_scheduling"),
            *("max_parallel_loading_workers", "compilation_config", "skip_mm_profiling", "scheduling_policy"),
            *("download_dir", "mm_encoder_tp_mode", "max_num_partial_prefills", "mm_processor_cache_gb", "long_prefill_token_threshold"),
        }
    ),
    "openai": frozenset({"service_tier", "metadata", "store", "priority"}),
    "transformers": frozenset({"device_map", "low_cpu_mem_usage", "max_memory", "offload_folder"}),
}  # fmt: skip
"""Keys of `engine_args` that change no answer."""

OURS: Mapping[EngineName, Mapping[str, str]] = {
    "vllm": {name: name for name in ("model", "dtype", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization")},
    "openai": {
        "model": "model",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_tokens",
        **{name: name for name in ("min_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "stop", "seed")},
    },
    "transformers": {"pretrained_model_name_or_path": "model", "torch_dtype": "dtype", "dtype": "dtype"},
}  # fmt: skip
"""Keys of `engine_args` that stand as fields of the stage."""

NEVER: Mapping[EngineName, frozenset[str]] = {
    "vllm": frozenset(),
    "openai": frozenset({"messages", "n", "stream", "user"}),
    "transformers": frozenset({"use_safetensors", "local_files_only", "output_loading_info", "config"}),
}
"""Keys of `engine_args` that shardpipe sets, always in the same way."""

SECRET = frozenset({"hf_token", "token", "use_auth_token", "api_key", "headers", "extra_headers"})
"""Keys of `engine_args` that would lie open in every Dataset's lineage."""

IN_FLIGHT: Mapping[EngineName, int] = {"vllm": 256, "openai": 64}
BATCH_SIZE = 8
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class EngineFields(AsyncStage):
    """Which engine and model; settings that an engine has no use for stay null, and are refused where they are set."""

    engine: EngineName = Field(default="vllm", description="vllm and transformers in process; openai: a server")
    model: WeightsUrl = Field(
        description="org/repo or hf://org/repo@revision, or a folder (/... or ./...); engine openai: what the server calls it"
    )
    model_name: str | None = Field(
        default=None, min_length=1, description="what rows call the model; null: the last part of `model`"
    )
    dtype: str | None = Field(
        default=None, description="of the weights: bfloat16, float16, float32; null: the model's own"
    )
    max_model_len: int | None = Field(
        default=None, ge=16, description="tokens of prompt and answer; null: the model's own"
    )
    tensor_parallel_size: int | None = Field(default=None, ge=1, description="engine vllm: GPUs of one engine; null: 1")
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="engine vllm: share of a GPU's memory; null: computed from what is free"
    )
    engine_args: dict[str, Any] = Field(
        default={},
        description="more of the engine's own: AsyncEngineArgs, from_pretrained's keywords, keys of a request's body",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description=f"engine transformers: requests at once; null: {BATCH_SIZE}"
    )
    base_url: str | None = Field(
        default=None, description="engine openai: http://host:8000/v1; null: that of this machine"
    )
    api_key_env: str | None = Field(
        default=None, description="engine openai: environment variable that holds the key; null: OPENAI_API_KEY"
    )
    dialect: Literal["vllm", "openai"] | None = Field(
        default=None, description="engine openai: vllm (also null) uses what vLLM's server adds to OpenAI's API"
    )
    retries: int | None = Field(default=None, ge=0, description="engine openai: more tries of a request; null: 8")
    unreachable_s: float | None = Field(
        default=None, ge=0, description="engine openai: how long to wait for a server that is gone; null: 600"
    )
    timeout_s: float = Field(
        default=300.0, gt=0, description="how long the answer for one clip may take; with engine openai, each try of it"
    )
    num_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="clips asked about at once; null: 256 of vllm, 64 of openai, two batches of transformers",
    )

    @field_validator("base_url")
    @classmethod
    def _is_plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give the server's address as http://host:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "no key belongs into an address: put it into the environment, and its name into api_key_env"
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not ENV_NAME.match(name):
            raise ValueError("give the name of an environment variable, not the key itself")
        return name

    @field_validator("engine_args")
    @classmethod
    def _is_json(cls, args: dict[str, Any]) -> dict[str, Any]:
        try:
            canonical_json(args)
        except (TypeError, ValueError) as error:
            raise ValueError(f"only what JSON can say may stand here: {error}") from None
        return args

    @field_validator("engine_args")
    @classmethod
    def _without_secrets(cls, args: dict[str, Any]) -> dict[str, Any]:
        if named := sorted(SECRET & args.keys()):
            raise ValueError(
                f"{', '.join(named)}: no key belongs into a config; HF_TOKEN of the environment is read, and api_key_env"
            )
        return args

    @model_validator(mode="after")
    def _engine_takes_them(self) -> "EngineFields":
        idle = [
            name for name, engines in ONLY_FOR.items() if getattr(self, name) is not None and self.engine not in engines
        ]
        if idle:
            which = "; ".join(f"{name} is for engine {' or '.join(ONLY_FOR[name])}" for name in idle)
            raise ValueError(f"{which}; the engine here is {self.engine}: leave {', '.join(idle)} out")
        if "trust_remote_code" in self.engine_args:
            raise ValueError(
                "engine_args.trust_remote_code: code that lies beside weights is never run; name another model"
            )
        for name in self.engine_args:
            if name in NEVER[self.engine]:
                raise ValueError(
                    f"engine_args.{name}: shardpipe sets it itself with engine {self.engine}; leave it out"
                )
            if (field := OURS[self.engine].get(name)) is not None:
                raise ValueError(f"engine_args.{name}: set the stage's own {field} instead")
        if not self.model.strip():
            raise ValueError("model is empty")
        return self

    @property
    def model_weights(self) -> Weights | None:
        """The model's folder; None for what a server has."""
        if self.engine == "openai":
            return None
        place, mark, sha256 = self.model.partition(PIN)
        is_hub = REPOSITORY.match(place) is not None and not place.startswith((".", "/")) and not Path(place).is_dir()
        return Weights("model", f"hf://{place}{mark}{sha256}" if is_hub else self.model, setting="model=PATH")

    @property
    def label(self) -> str:
        """What rows call the model: the same wherever a copy of it lies."""
        weights = self.model_weights
        if self.model_name is not None or weights is None:
            return self.model_name or self.model
        place = weights.url.partition(PIN)[0]
        if place.startswith("hf://"):
            place = place.partition("@")[0]
        return place.rstrip("/").rpartition("/")[2] or place

    @property
    def loads(self) -> Sequence[Weights]:
        """The model's folder, where it runs in process."""
        return () if self.model_weights is None else (self.model_weights,)

    @property
    def max_in_flight(self) -> int:
        """`num_in_flight`, or what suits the engine."""
        return self.num_in_flight or IN_FLIGHT.get(self.engine, 2 * (self.batch_size or BATCH_SIZE))

    @property
    @abstractmethod
    def max_images(self) -> int:
        """Frames that a question has at most."""

    @property
    @abstractmethod
    def has_video(self) -> bool:
        """Whether they are given as one video."""

    @property
    def opens(self) -> EngineSpec:
        """The engine; equal settings give equal ones, however many frames their stages show it."""
        given = {
            "num_gpus": self.tensor_parallel_size,
            "gpu_memory": self.gpu_memory_utilization,
            **{name: getattr(self, name) for name in ONLY_FOR if name in EngineSpec.__dataclass_fields__},
        }
        return EngineSpec(
            engine=self.engine,
            weights=self.model_weights,
            model=self.model if self.engine == "openai" else "",
            args_json=canonical_json(self.engine_args).decode(),
            max_in_flight=self.max_in_flight,
            max_images=self.max_images,
            has_video=self.has_video,
            **{name: value for name, value in given.items() if value is not None},
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Its fields, less those that change no answer; the model by what rows call it, and of a server by its name there."""
        made = {name: value for name, value in super().identity.items() if name not in HOW}
        args = {name: value for name, value in self.engine_args.items() if name not in HOW_ARGS[self.engine]}
        served = {"model": self.model} if self.engine == "openai" else {}
        return made | served | {"engine_args": args, "model_name": self.label}

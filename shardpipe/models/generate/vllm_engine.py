"""vLLM in process, behind the interface of engines: its async engine batches whatever is in flight, step by step.

submit ─▶ chat template ─▶ AsyncLLM.generate (its core is a process of its own) ─▶ Answer
                               │ the core dies, or answers nobody any more
                               ▼
          started again; those that were in flight are asked by halves, until the one that kills it is alone
"""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.models.generate.bisection import Bisection, EngineDied
from shardpipe.models.generate.chat import Chat, kind_of, sees_pictures
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.loop import LoopThread
from shardpipe.models.generate.request import Answer, Finish, GenerateError, Request, Sampling
from shardpipe.models.generate.video_input import video_metadata
from shardpipe.models.generate.vllm_plugin import WORKER
from shardpipe.models.imports import import_model_library
from shardpipe.models.weights import resolve

FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
START_S = 3600.0
PROBE_S = 60.0
"""An engine that gives no token within this time, and answered nobody else meanwhile, hangs."""

OTHERS_SHARE = 0.15
"""Of a GPU that stages of this worker compute on too, so much is left to their batches, which fit themselves to what is free."""
MOST_SHARE = 0.92
GUIDED = {"backend": "guidance", "disable_any_whitespace": True}
"""Small models otherwise end in blanks between the parts of a JSON answer; and this backend knows bounds of lengths."""

OURS = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""A fork of a process with threads may hang; nobody is told that anybody captions; and the terminal is the pass's."""


class VllmEngine:
    """A TextEngine. Raises ConfigError or UnitError where vLLM, or this model in it, cannot be had."""

    def __init__(self, spec: EngineSpec, devices: Sequence[str]) -> None:
        assert spec.weights is not None
        self._spec = spec
        self._devices = devices
        self._folder = resolve(spec.weights)
        self._vllm = _import_vllm()
        self._sees, self._chat = _chat_of(self._folder)
        for kind, is_wanted in (("images", spec.max_images > 0), ("video", spec.has_video)):
            if is_wanted and not self._chat.takes(kind):  # type: ignore[arg-type]
                raise ConfigError(f"{self._folder} takes no {kind}: name a model that does")
        self._numbers = itertools.count()
        self._engine: Any = None
        self._last_answer_s = 0.0
        self._probing = asyncio.Lock()
        self._loop = LoopThread("vllm", self._stop)
        self._bisection = Bisection(self._ask, self._restart)
        try:
            self._loop.submit(self._start()).result(START_S)
        except BaseException:
            self._loop.close()
            raise

    def submit(self, request: Request) -> "Future[Answer]":
        """As TextEngine."""
        return self._loop.submit(self._bisection.answer(request))

    def close(self) -> None:
        """End what is in flight, and the engine with its processes."""
        self._loop.close()

    async def _start(self) -> None:
        with _environment(self._devices):
            try:
                args = self._vllm.AsyncEngineArgs(**self._settings())
                self._engine = await asyncio.to_thread(self._vllm.AsyncLLMEngine.from_engine_args, args)
            except TypeError as error:  # an engine_args key that vLLM does not know
                raise ConfigError(f"engine_args: {error}") from error
            except Exception as error:
                raise UnitError(f"vLLM cannot run {self._folder}: {_first_line(error)}; see its log above") from error
        self._last_answer_s = time.monotonic()

    async def _stop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    async def _restart(self) -> None:
        await self._stop()
        await self._start()
        if not await self._responds(self._engine):
            raise UnitError(f"vLLM gives no token any more with {self._folder}, started again: see its log above")

    def _settings(self) -> dict[str, Any]:
        spec = self._spec
        ours: dict[str, Any] = {
            "model": str(self._folder),
            "dtype": spec.dtype,
            "tensor_parallel_size": spec.num_gpus,
            "mm_processor_cache_gb": 0,  # each clip is another one
            "disable_log_stats": True,
            "trust_remote_code": False,
        }
        if self._sees:
            ours["limit_mm_per_prompt"] = {"image": spec.max_images, "video": int(spec.has_video)}
        if spec.max_model_len is not None:
            ours["max_model_len"] = spec.max_model_len
        share = spec.gpu_memory if spec.gpu_memory is not None else _free_share(self._devices)
        if share is not None:
            ours["gpu_memory_utilization"] = share
        asked = spec.args
        guided = {**GUIDED, **asked.pop("structured_outputs_config", {})}
        return {**ours, **asked, "structured_outputs_config": self._vllm.config.StructuredOutputsConfig(**guided)}

    async def _ask(self, request: Request) -> Answer:
        """One request to the engine as it runs now; EngineDied where that ends before it answers, or seems to hang."""
        engine = self._engine
        if engine is None:
            raise EngineDied("the engine is not running")
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(request.timeout_s):
                answer = await self._generate(engine, request)
        except TimeoutError:
            if self._last_answer_s < began_s and not await self._responds(engine):
                raise EngineDied(f"the engine answered nobody for {request.timeout_s:g} s") from None
            raise GenerateError(f"no answer within {request.timeout_s:g} s (timeout_s)") from None
        self._last_answer_s = time.monotonic()
        return answer

    async def _responds(self, engine: Any) -> bool:  # noqa: ANN401  vLLM's
        """Whether the engine still gives a token to whoever asks for one."""
        async with self._probing:
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._generate(engine, Request("probe", "?", sampling=Sampling(max_tokens=1)))
            except (TimeoutError, EngineDied):
                return False
            return True

    async def _generate(self, engine: Any, request: Request) -> Answer:  # noqa: ANN401  vLLM's
        dead = self._vllm.v1.engine.exceptions.EngineDeadError
        try:
            prompt = await asyncio.to_thread(self._prompt, request)
            last = None
            name = f"{next(self._numbers)}-{request.key}"
            options = {"tokenization_kwargs": {"add_special_tokens": not self._chat.is_whole(prompt["prompt"])}}
            async for made in engine.generate(prompt, self._sampling(request), name, **options):
                last = made
        except dead as error:
            raise EngineDied(_first_line(error)) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if getattr(engine, "errored", False):
                raise EngineDied(_first_line(error)) from error
            raise GenerateError(_first_line(error.__cause__ or error)) from error
        if last is None or not last.outputs or last.outputs[0].finish_reason not in FINISHES:
            raise GenerateError("vLLM gave no whole answer")
        made = last.outputs[0]
        return Answer(made.text, FINISHES[made.finish_reason], len(made.token_ids), len(last.prompt_token_ids or ()))

    def _prompt(self, request: Request) -> dict[str, Any]:
        from PIL import Image  # noqa: PLC0415  vLLM brings it

        prompt: dict[str, Any] = {"prompt": self._chat.written(request)}
        kind = kind_of(request)
        if kind == "images":
            assert request.frames is not None
            prompt["multi_modal_data"] = {"image": [Image.fromarray(frame) for frame in request.frames]}
        elif kind == "video":
            metadata = {**video_metadata(request), "do_sample_frames": False}
            prompt["multi_modal_data"] = {"video": [(request.frames, metadata)]}
        return prompt

    def _sampling(self, request: Request) -> Any:  # noqa: ANN401  vLLM's
        asked, guide, params = request.sampling, request.guide, self._vllm.sampling_params
        options: dict[str, Any] = {}
        if guide is not None and guide.choices:
            options["structured_outputs"] = params.StructuredOutputsParams(choice=list(guide.choices))
        elif guide is not None:
            schema = dict(guide.json_schema or {})
            options["structured_outputs"] = params.StructuredOutputsParams(json=schema)
        return self._vllm.SamplingParams(
            max_tokens=asked.max_tokens,
            min_tokens=asked.min_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            repetition_penalty=asked.repetition_penalty,
            stop=list(asked.stop),
            seed=asked.seed,
            output_kind=params.RequestOutputKind.FINAL_ONLY,
            **options,
        )


def _chat_of(folder: Path) -> tuple[bool, Chat]:
    """Whether a model takes pictures, and how it is talked to."""
    transformers = import_model_library("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        sees = sees_pictures(config)
        return sees, Chat(folder, sees=sees)
    except (OSError, ValueError, ImportError, TypeError, KeyError) as error:
        raise ConfigError(f"the model in {folder} cannot be talked to: {_first_line(error)}") from error


def _import_vllm() -> Any:  # noqa: ANN401  a module
    for name, value in OURS.items():
        os.environ.setdefault(name, value)
    os.environ[WORKER] = str(os.getpid())
    try:
        import vllm  # noqa: PLC0415
        import vllm.config  # noqa: PLC0415
        import vllm.sampling_params  # noqa: PLC0415
        import vllm.v1.engine.exceptions  # noqa: PLC0415
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"engine vllm: vllm cannot be imported ({_first_line(error)}): pip install 'shardpipe[vllm]', or use the engine "
            "openai with a server elsewhere, or transformers"
        ) from error
    return vllm


@contextmanager
def _environment(devices: Sequence[str]) -> Iterator[None]:
    """Let vLLM's processes, which are started meanwhile, see these GPUs alone."""
    numbers = [device.partition(":")[2] or "0" for device in devices if device.startswith("cuda")]
    if not numbers:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = before.split(",") if before else None
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(seen[int(number)] if seen else number for number in numbers)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _free_share(devices: Sequence[str]) -> float | None:
    """The share of the fullest of these GPUs that may be taken; None on a CPU, where vLLM has a way of its own."""
    shares = [_share(device) for device in devices if device.startswith("cuda")]
    return min(shares) if shares else None


def _share(device: str) -> float:
    import torch  # noqa: PLC0415  vLLM brings it

    from shardpipe.models.gpu_memory import engine_share  # noqa: PLC0415  imports torch

    shares_gpu = torch.cuda.memory_reserved(device) > 0
    _, total = torch.cuda.mem_get_info(device)
    others = round(OTHERS_SHARE * total) if shares_gpu else round((1 - MOST_SHARE) * total)
    return engine_share(device, others_bytes=others)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'without a word'}"

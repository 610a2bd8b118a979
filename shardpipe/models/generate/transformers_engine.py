"""Models of transformers in this process, batch by batch: for models that vLLM lacks, and for small machines.

submit ─▶ waiting ─▶ up to `batch_size` of one kind ─▶ chat template, processor ─▶ generate ─▶ Answers
                      (sampling, and whether text, images or a video)   └ a batch that fails is halved until
                                                                          the request at fault is alone
"""

import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import torch

from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.models.device import is_out_of_memory
from shardpipe.models.generate.batchthread import BatchThread
from shardpipe.models.generate.chat import Chat, kind_of, sees_pictures
from shardpipe.models.generate.decoding import Draw, Ends, Limits, before_stop
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.request import Answer, GenerateError, Request
from shardpipe.models.imports import import_model_library
from shardpipe.models.weights import resolve

MAX_MESSAGE = 300
log = getLogger(__name__)
OF_THE_MODEL = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "cache_implementation",
)
"""What of a model's generation_config.json is kept; how tokens are drawn is the request's."""

UNLOADABLE = (OSError, ValueError, ImportError, TypeError, KeyError, RuntimeError)
"""What from_pretrained raises; RuntimeError: weights of other shapes than the config says."""

NOT_TAKEN = frozenset(
    {"trust_remote_code", "use_safetensors", "local_files_only", "dtype", "torch_dtype", "output_loading_info"}
)


class TransformersEngine:
    """A TextEngine of transformers on one device: AutoModelForImageTextToText, or AutoModelForCausalLM for text alone.

    Only safetensors are loaded, and never code that lies beside them. `engine_args` are further arguments of `from_pretrained`.

    A row of a batch draws its tokens with its own seed, and is padded and ended by itself, so that an answer does not depend on the
    others of its batch but by rounding: in fp32 on the CPU the same text comes of any batch; in bf16 or fp16, where two tokens
    are as good as equal, a batch of another size or length may choose the other.
    There is no guided decoding: a request with a `guide` is answered freely, and who asks reads what was wanted out of the answer.
    `timeout_s` counts from when a batch (or the half of one that failed) is begun, and is looked at after each token.
    Raises ConfigError for a model that cannot be loaded, or cannot see what the requests of `spec` hold.
    """

    def __init__(self, spec: EngineSpec, device: str) -> None:
        if spec.weights is None:
            raise ConfigError("the engine transformers needs the folder of a model")
        if taken := sorted(NOT_TAKEN & spec.args.keys()):
            raise ConfigError(f"engine_args may not hold {', '.join(taken)} with the engine transformers")
        folder = resolve(spec.weights)
        self._model, self._chat = _loaded(folder, spec, device)
        for kind, is_wanted in (("images", spec.max_images > 0), ("video", spec.has_video)):
            if is_wanted and not self._chat.takes(kind):  # type: ignore[arg-type]
                raise ConfigError(f"{folder}: a {type(self._model).__name__} takes no {kind}")
        self._max_length = spec.max_model_len or _positions(self._model)
        self._end_tokens = _as_set(self._model.generation_config.eos_token_id)
        self._is_closed = False
        self._lost: str | None = None
        self._batches: BatchThread[Request, Answer] = BatchThread(
            "transformers", spec.batch_size, kind=_kind, work=self._answers
        )

    def submit(self, request: Request) -> "Future[Answer]":
        """As TextEngine."""
        return self._batches.submit(request)

    def close(self) -> None:
        """Stop the batch at hand after its next token, and let go of the model."""
        self._is_closed = True
        self._batches.close()
        self._model = None

    def _answers(self, requests: Sequence[Request]) -> "list[Answer | Exception]":
        """An answer or an exception for each; a batch that fails is halved."""
        if self._lost is not None:
            return [UnitError(self._lost) for _ in requests]
        try:
            return self._generated(requests)
        except Exception as error:  # a model fails in many ways at what it cannot take
            log.debug("a batch of %d fails", len(requests), exc_info=True)
            message, is_full = str(error) or type(error).__name__, is_out_of_memory(error)
        lost = self._lost_device(message)  # outside `except`, whose traceback holds the batch that did not fit
        if lost is not None:
            self._lost = lost
            return [UnitError(lost) for _ in requests]
        if len(requests) == 1:
            return [GenerateError(" ".join(message.split())[:MAX_MESSAGE])]
        half = len(requests) // 2
        if is_full:
            self._batches.most = min(self._batches.most, half)
        return [*self._answers(requests[:half]), *self._answers(requests[half:])]

    def _generated(self, requests: Sequence[Request]) -> "list[Answer | Exception]":
        begun_s, sampling = time.monotonic(), requests[0].sampling
        inputs = self._chat.encoded(requests).to(self._model.device)
        inputs = {name: _in(value, self._model.dtype) for name, value in inputs.items()}
        width = inputs["input_ids"].shape[1]
        lengths: list[int] = inputs["attention_mask"].sum(dim=1).tolist()
        limits = [
            Limits(self._room(length, request), begun_s + request.timeout_s)
            for length, request in zip(lengths, requests, strict=True)
        ]
        most = max(each.max_tokens for each in limits)
        ends = Ends(
            limits,
            sampling,
            width=width,
            end_tokens=self._end_tokens,
            decode=self._chat.decoded,
            is_closed=lambda: self._is_closed,
        )
        seeds, starts = [request.sampling.seed for request in requests], [width - length for length in lengths]
        with torch.inference_mode():
            made = self._model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=most,
                min_new_tokens=min(sampling.min_tokens, most) or None,
                logits_processor=[Draw(sampling, seeds, starts, inputs["input_ids"].device)],
                stopping_criteria=[ends],
            )
        rows = made[:, width:].tolist()
        return [self._answer(requests[i], rows[i], ends, i, lengths[i]) for i in range(len(requests))]

    def _answer(
        self, request: Request, tokens: list[int], ends: Ends, row: int, num_prompt_tokens: int
    ) -> Answer | Exception:
        end, count = ends.ends[row], ends.num_tokens[row]
        if end == "timeout":
            return GenerateError(f"no answer within {request.timeout_s:g} s")
        text = before_stop(self._chat.decoded(tokens[:count]), request.sampling)
        return Answer(text, "stop" if end == "stop" else "length", count, num_prompt_tokens)

    def _room(self, length: int, request: Request) -> int:
        """How many tokens its answer may have; GenerateError where there is room for none."""
        if self._max_length is None:
            return request.sampling.max_tokens
        if length >= self._max_length:
            raise GenerateError(f"its prompt has {length} tokens, and the model takes {self._max_length}")
        return min(request.sampling.max_tokens, self._max_length - length)

    def _lost_device(self, message: str) -> str | None:
        """What is wrong where the device fails at anything since an error, as a GPU does after an illegal access."""
        device = self._model.device
        if device.type != "cuda":
            return None
        try:
            torch.cuda.empty_cache()
            torch.zeros(1, device=device).item()
        except RuntimeError as error:
            return f"{device} is lost ({error}), since: {message}"
        return None


def _kind(request: Request) -> Hashable:
    return kind_of(request), replace(request.sampling, seed=0)


def _loaded(folder: Path, spec: EngineSpec, device: str) -> tuple[Any, Chat]:
    """The model on its device, and its chat."""
    transformers = import_model_library("transformers")
    transformers.utils.logging.disable_progress_bar()  # the terminal is the pass's
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        sees = sees_pictures(config)
        loader = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        model, found = loader.from_pretrained(
            folder,
            config=config,
            dtype=spec.dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **spec.args,
        )
        chat = Chat(folder, sees=sees)
    except (*UNLOADABLE, import_model_library("safetensors").SafetensorError) as error:
        raise ConfigError(f"transformers cannot load {folder}: {' '.join(str(error).split())[:MAX_MESSAGE]}") from error
    if missing := sorted(found["missing_keys"]):  # transformers would go on with random ones
        raise ConfigError(f"{folder} lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}")
    if model.config.is_encoder_decoder:
        raise ConfigError(f"{folder} holds an encoder and a decoder, and the engine transformers takes decoders alone")
    if "device_map" not in spec.args:
        model = model.to(device)
    published = model.generation_config
    model.generation_config = transformers.GenerationConfig(
        **{name: getattr(published, name, None) for name in OF_THE_MODEL}
    )
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = chat.tokenizer.eos_token_id
    model.generation_config.pad_token_id = chat.tokenizer.pad_token_id
    return model.eval(), chat


def _positions(model: Any) -> int | None:  # noqa: ANN401
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else None


def _as_set(tokens: Any) -> frozenset[int]:  # noqa: ANN401  a number, some, or None
    return frozenset(tokens if isinstance(tokens, list | tuple) else () if tokens is None else [tokens])


def _in(value: Any, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """A tensor of pictures in the model's dtype; whatever else as it is."""
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

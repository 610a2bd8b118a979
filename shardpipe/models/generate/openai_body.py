"""A request as the body of a chat completion, in OpenAI's dialect or with what vLLM's server adds to it."""

import base64
import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import ConfigError
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.request import GenerateError, Guide, Request, Sampling
from shardpipe.models.generate.video_input import video_metadata

JPEG_QUALITY = 95
CHOICE = "answer"
"""The field that holds a choice, for servers that guide by JSON schemas alone."""

OWN_KEYS = frozenset({"messages", "model", "n", "stream", "user"})
"""Keys of the body that `engine_args` may not hold: an answer must be whole, one, and of its own request."""


def check_spec(spec: EngineSpec) -> None:
    """ConfigError for what this dialect cannot do, whatever is asked."""
    if spec.dialect == "openai" and spec.has_video:
        raise ConfigError(
            "OpenAI's API takes no videos: give frames as images, or set dialect: vllm for a server of vLLM"
        )
    if taken := sorted(OWN_KEYS & spec.args.keys()):
        raise ConfigError(f"engine_args may not hold {', '.join(taken)}: the client sets it")


def messages_of(request: Request) -> list[dict[str, Any]]:
    """The system message, and the user's: frames first, then the prompt."""
    parts: list[dict[str, Any]] = []
    if request.frames is not None:
        jpegs = [_jpeg(frame) for frame in request.frames]
        if request.as_video:
            parts = [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(jpegs)}"}}]
        else:
            parts = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{jpeg}"}} for jpeg in jpegs]
    user = [*parts, {"type": "text", "text": request.prompt}] if parts else request.prompt
    system = [] if request.system is None else [{"role": "system", "content": request.system}]
    return [*system, {"role": "user", "content": user}]


def settings_of(request: Request, spec: EngineSpec) -> dict[str, Any]:
    """All else in the body. Raises ConfigError for a setting that this dialect has not."""
    sampling = request.sampling
    made: dict[str, Any] = {"user": request.key, "temperature": sampling.temperature, "seed": sampling.seed}
    made |= {"stop": list(sampling.stop)} if sampling.stop else {}
    if spec.dialect == "vllm":
        made |= _for_vllm(request)
    else:
        _check_plain(sampling)
        made |= {"max_completion_tokens": sampling.max_tokens}
        made |= {"top_p": sampling.top_p} if sampling.top_p != 1 else {}  # some models of OpenAI refuse any
        made |= {} if request.guide is None else {"response_format": _response_format(request.guide)}
    return made | spec.args


def _for_vllm(request: Request) -> dict[str, Any]:
    """All that would else come from the model's generation_config.json is named, whether it is the default or not."""
    sampling, guide = request.sampling, request.guide
    made: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if guide is not None:
        made["structured_outputs"] = (
            {"choice": list(guide.choices)} if guide.json_schema is None else {"json": guide.json_schema}
        )
    if request.frames is not None and request.as_video:  # without num_frames it drops frames after the 32nd
        made["media_io_kwargs"] = {"video": {"num_frames": -1, **video_metadata(request)}}
    return made


def _check_plain(sampling: Sampling) -> None:
    default = Sampling()
    for name in ("min_tokens", "top_k", "repetition_penalty"):
        if getattr(sampling, name) != getattr(default, name):
            raise ConfigError(f"OpenAI's API has no {name}: leave it out, or set dialect: vllm for a server of vLLM")


def _response_format(guide: Guide) -> dict[str, Any]:
    schema = guide.json_schema
    if schema is None:
        schema = {"type": "object", "properties": {CHOICE: {"type": "string", "enum": list(guide.choices)}}}
    return {"type": "json_schema", "json_schema": {"name": CHOICE, "strict": True, "schema": strict(schema)}}


def strict(schema: Any) -> Any:  # noqa: ANN401  a JSON value
    """A JSON schema as OpenAI's strict mode wants it: every object names all of its properties as required, and has no other."""
    if isinstance(schema, list | tuple):
        return [strict(each) for each in schema]
    if not hasattr(schema, "items"):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made |= {"required": list(made["properties"]), "additionalProperties": False}
    return made


def unwrapped(text: str) -> str | None:
    """The choice in an answer that was guided by a schema; None where it holds none."""
    try:
        choice = json.loads(text)[CHOICE]
    except (ValueError, KeyError, TypeError):
        return None
    return choice if isinstance(choice, str) else None


def _jpeg(frame: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise GenerateError(f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels cannot be written as JPEG")
    return base64.b64encode(data.tobytes()).decode()

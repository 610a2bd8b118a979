"""What stages that ask an engine share, seen on `caption`: requests, frames, and which settings change which answers."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.captions import asked, caption, view
from support.fake_engine import FakeEngine

from shardpipe.core.frames import Fractions, FrameRequest, Rate, Uniform
from shardpipe.stages.caption import Caption


def test_a_request_has_its_own_copy_of_the_frames() -> None:
    stage = caption(temperature=0.5, seed=3, timeout_s=9, system="Be brief.", min_tokens=2, stop=["##"])
    shown = view()
    kept = shown.frames.data.copy()
    going = threading.Event()

    def answers(_: object) -> str:
        going.wait(10)
        return "A dog."

    engine = FakeEngine(answers)
    stage.use(engine)
    future = stage.submit(shown)
    shown.frames.data.fill(99)
    going.set()
    assert isinstance(future.result(10), Mapping)
    (request,) = engine.asked
    assert request.frames is not None
    assert np.array_equal(request.frames, kept)
    assert request.times_s is not None
    assert request.times_s.tolist() == [0.0, 0.5]
    assert (request.key, request.duration_s, request.as_video, request.system) == ("a", 3.0, False, "Be brief.")
    assert (request.timeout_s, request.sampling.min_tokens, request.sampling.stop) == (9, 2, ("##",))


def test_draws_differ_from_clip_to_clip_and_not_from_run_to_run() -> None:
    def seeds(**fields: Any) -> list[int]:
        _, engine = asked(caption(**fields), lambda _: "A dog.", view("a"), view("b"))
        return [request.sampling.seed for request in engine.asked]

    assert len(set(seeds(temperature=1.0))) == 2
    assert seeds(temperature=1.0) == seeds(temperature=1.0) != seeds(temperature=1.0, seed=1)
    assert seeds(seed=4) == [4, 4]


@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({}, FrameRequest(Uniform(8), long_side=448)),
        ({"prompt": "image"}, FrameRequest(Uniform(1), long_side=448)),
        ({"prompt": "image", "num_frames": 3}, FrameRequest(Uniform(3), long_side=448)),
        ({"fps": 2, "short_side": 336}, FrameRequest(Rate(2, max_frames=32), short_side=336)),
        ({"fractions": [0.1, 0.5, 0.9], "tolerance_s": 0.5}, FrameRequest(Fractions((0.1, 0.5, 0.9)), 448, None, "rgb", 0.5)),
        ({"num_frames": 0, "prompt": "a {{ fps }}"}, None),
    ],
)  # fmt: skip
def test_frames(fields: dict[str, Any], request_: FrameRequest | None) -> None:
    stage = caption(**fields)
    assert stage.frames == request_
    want = {None: 0, "fps": 32, "fractions": 3}.get(
        next((name for name in ("fps", "fractions") if name in fields), None)
    )
    assert stage.opens.max_images == (want or (request_.sampling.n if request_ else 0))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"engine": "openai", "dtype": "float16"},
            "dtype is for engine vllm or transformers; the engine here is openai",
        ),
        (
            {"base_url": "http://a/v1", "batch_size": 2},
            "batch_size is for engine transformers; base_url is for engine openai",
        ),
        ({"engine": "transformers", "tensor_parallel_size": 2}, "tensor_parallel_size is for engine vllm"),
        ({"engine_args": {"hf_token": "x"}}, "no key belongs into a config"),
        ({"engine_args": {"limits": {1}}}, "only what JSON can say"),
        ({"engine_args": {"dtype": "half"}}, "engine_args.dtype: set the stage's own dtype"),
        ({"engine": "openai", "engine_args": {"max_completion_tokens": 5}}, "set the stage's own max_tokens"),
        ({"engine": "openai", "base_url": "http://user:key@host/v1"}, "no key belongs into an address"),
        ({"engine": "openai", "api_key_env": "sk-123"}, "name of an environment variable"),
        ({"engine": "openai", "dialect": "openai", "top_k": 5, "temperature": 1}, "OpenAI's API has no top_k"),
        ({"engine": "openai", "dialect": "openai", "frames_as": "video"}, "takes no videos"),
        ({"top_p": 0.5}, "do nothing at temperature 0"),
        ({"min_tokens": 300}, "max_tokens only 256"),
        ({"stop": ["a", ""]}, "an empty text ends every answer"),
        ({"samples": 4}, "there are 3"),
        ({"num_frames": 4, "fps": 2}, "num_frames and fps are two ways"),
        ({"max_frames": 4}, "max_frames is for fps"),
        ({"fractions": [0.5, 0.1]}, "each greater than the one before"),
        ({"long_side": 448, "short_side": 336}, "not both"),
        ({"num_frames": 0}, "preset video asks about frames"),
        ({"num_frames": 0, "prompt": "a {{ fps }}", "frames_as": "video"}, "without frames frames_as do nothing"),
        ({"num_frames": 0, "prompt": "a b"}, "asks the same of each clip"),
        ({"engine": "openai", "engine_args": {"user": "me"}}, "engine_args.user: shardpipe sets it itself"),
        ({"prompt": "verify"}, "name its column in known_text"),
        ({"known_text": "alt"}, "known_text does nothing with this prompt"),
        ({"prompt": "enhance"}, "preset enhance is for another stage"),
        ({"prompt": "a {{ b"}, "line 1 of the prompt"),
        ({"fields": {"model": "string"}}, "gives no column of its own"),
        ({"fields": {"A b": "string"}}, "gives no column of its own"),
        ({"fields": {"n": "int"}}, "made of the strings among them"),
        ({"fields": {"n": "text"}}, "'string', 'int', 'float', 'bool' or"),
        ({"prompt": "structured_json", "fields": {"a": "string"}}, "has its six fields"),
        ({"prompt": {"structured_json": 1, "video": 1}}, "has its six fields"),
        ({"model": " "}, "model is empty"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        caption(**fields)


@pytest.mark.parametrize(
    ("model", "url", "label"),
    [
        ("Qwen/Qwen2.5-VL-7B", "hf://Qwen/Qwen2.5-VL-7B", "Qwen2.5-VL-7B"),
        ("Qwen/Qwen2.5-VL-7B@main", "hf://Qwen/Qwen2.5-VL-7B@main", "Qwen2.5-VL-7B"),
        ("hf://Qwen/Qwen2.5-VL-7B@a/b", "hf://Qwen/Qwen2.5-VL-7B@a/b", "Qwen2.5-VL-7B"),
        ("/models/Qwen2.5-VL-7B/", "/models/Qwen2.5-VL-7B/", "Qwen2.5-VL-7B"),
        ("./vlm", "./vlm", "vlm"),
        ("tiny/weights/vlm", "tiny/weights/vlm", "vlm"),
    ],
)
def test_models(model: str, url: str, label: str) -> None:
    stage = caption(model=model)
    (weights,) = stage.loads
    assert (weights.role, weights.url, stage.label) == ("model", url, label)
    assert caption(model=model, model_name="M").label == "M"


def test_a_folder_that_is_there_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "vlm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert caption(model="models/vlm").loads[0].url == "models/vlm"


def test_a_server_has_the_model() -> None:
    stage = caption(engine="openai", model="Qwen/Big", base_url="http://host:8000/v1")
    assert (list(stage.loads), stage.label, stage.opens.model, stage.opens.num_devices) == (
        [],
        "Qwen/Big",
        "Qwen/Big",
        0,
    )
    assert stage.identity != caption(engine="openai", model="Qwen/Small").identity


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu_memory_utilization": 0.5, "tensor_parallel_size": 2, "num_in_flight": 9, "timeout_s": 5},
        {"engine_args": {"max_num_seqs": 8, "enforce_eager": True}},
        {"model": "/models/Tiny-VL", "on_error": "keep"},
    ],
)
def test_how_it_is_asked_is_no_part_of_the_identity(fields: dict[str, Any]) -> None:
    assert caption(**fields).identity == caption().identity


def test_how_a_server_is_asked_is_no_part_of_the_identity() -> None:
    how = {"base_url": "http://b:1/v1", "api_key_env": "KEY", "retries": 1, "unreachable_s": 1}
    assert caption(engine="openai", **how).identity == caption(engine="openai").identity
    assert caption(engine="transformers", batch_size=2).identity == caption(engine="transformers").identity


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "transformers"},
        {"dtype": "float32"},
        {"model": "org/Other"},
        {"engine_args": {"quantization": "fp8"}},
        {"max_tokens": 9},
        {"seed": 1},
        {"prompt": "short"},
        {"num_frames": 4},
        {"frames_as": "video"},
    ],
)
def test_what_is_asked_is_part_of_it(fields: dict[str, Any]) -> None:
    assert caption(**fields).identity != caption().identity


def test_the_order_of_fields_is_part_of_it_and_survives_json() -> None:
    stage = caption(fields={"b": "string", "a": "string"})
    assert stage.identity != caption(fields={"a": "string", "b": "string"}).identity
    stored = json.loads(json.dumps(stage.model_dump(mode="json"), sort_keys=True))
    assert list(Caption.model_validate(stored).fields) == ["b", "a"]


def test_the_text_of_a_preset_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from shardpipe.stages import _prompts

    before = caption().identity
    monkeypatch.setitem(_prompts.PRESETS, "video", replace(_prompts.PRESETS["video"], text="Another."))  # type: ignore[arg-type]
    assert caption().identity != before


def test_stages_with_one_engine_share_it() -> None:
    one = caption(num_frames=4, num_in_flight=10)
    two = caption(prompt="short", into="text_short", frames_as="video", max_tokens=50)
    joined = one.opens.joined(two.opens)
    assert joined is not None
    assert (joined.max_images, joined.has_video, joined.max_in_flight) == (8, True, 256)
    assert one.opens.joined(caption(dtype="float32").opens) is None


@pytest.mark.parametrize(
    ("fields", "most"), [({}, 256), ({"engine": "openai"}, 64), ({"engine": "transformers", "batch_size": 3}, 6)]
)
def test_clips_in_flight(fields: dict[str, Any], most: int) -> None:
    assert caption(**fields).max_in_flight == most
    assert caption(**fields, num_in_flight=5).max_in_flight == 5

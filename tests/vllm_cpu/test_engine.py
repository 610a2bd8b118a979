"""The engine vllm: what it answers, what costs only its own request, and what becomes of the others when it dies."""

import json
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.asked import asked

from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.core.weights import Weights
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.request import Answer, GenerateError, Guide, Request, Sampling
from shardpipe.models.generate.transformers_engine import TransformersEngine
from shardpipe.models.generate.vllm_engine import VllmEngine
from tests.vllm_cpu.conftest import SETTINGS, open_engine

SHORT = Sampling(max_tokens=8)
WARM = replace(SHORT, temperature=1.0, seed=3)


def answer(engine: VllmEngine, request: Request) -> Answer:
    return engine.submit(request).result(timeout=120)


@pytest.fixture(scope="module")
def plain(vlm: Path) -> TransformersEngine:
    spec = EngineSpec("transformers", weights=Weights("model", str(vlm)), **SETTINGS)  # type: ignore[arg-type]
    return TransformersEngine(spec, "cpu")


@pytest.mark.parametrize("request_", [
    asked("text", prompt="a person rides", sampling=SHORT),
    asked("system", prompt="a person", system="describe this video", sampling=SHORT),
    asked("image", 7, sampling=SHORT),
    asked("images", 7, 8, 9, sampling=SHORT),
    asked("video", 7, 8, 9, 10, as_video=True, sampling=SHORT),
    asked("tokens", prompt="a <|im_end|> b <|image_pad|>", sampling=SHORT),
], ids=lambda request: request.key)  # fmt: skip
def test_it_reads_what_transformers_reads(request_: Request, engine: VllmEngine, plain: TransformersEngine) -> None:
    """The same prompt and pictures go in: as many tokens, and the same likeliest first ones come out."""
    ours, theirs = answer(engine, request_), plain.submit(request_).result(timeout=60)
    assert ours.num_prompt_tokens == theirs.num_prompt_tokens
    assert ours.text[:2] == theirs.text[:2]  # later ones are ties of a random model
    assert (ours.finish, ours.num_tokens) == ("length", 8)


def test_many_at_once_have_their_own_answers(engine: VllmEngine) -> None:
    """More than the engine takes at once, pictures and text in between."""
    requests = [asked(f"k{i}", *([i] if i % 3 else []), prompt=f"say {i}", sampling=SHORT) for i in range(60)]
    alone = {request.key: answer(engine, request) for request in requests[:6]}
    made = [future.result(timeout=120) for future in [engine.submit(request) for request in requests]]
    assert len(made) == 60
    for request, each in zip(requests[:6], made, strict=False):
        assert each.num_prompt_tokens == alone[request.key].num_prompt_tokens
        assert each.text[:2] == alone[request.key].text[:2]


def test_sampling_settings_reach_it(engine: VllmEngine) -> None:
    def text(**settings: object) -> Answer:
        return answer(engine, asked("k", prompt="a person", sampling=replace(WARM, **settings)))  # type: ignore[arg-type]

    assert text() == text()
    assert len({text(seed=seed).text for seed in range(6)}) > 3
    assert text(temperature=0.0).text == text(temperature=0.0, seed=9).text
    assert text(max_tokens=30, min_tokens=30).num_tokens == 30
    assert text(top_k=1).text == text(temperature=0.0).text
    first = text(temperature=0.0, max_tokens=20).text
    stopped = text(temperature=0.0, max_tokens=20, stop=(first[3:5],))
    assert stopped.text == first[: first.index(first[3:5])]
    assert stopped.finish == "stop"


def test_guided_answers_have_their_form(engine: VllmEngine) -> None:
    choices = ("yes", "no", "not sure")
    for seed in range(4):
        asked_ = asked("k", 3, sampling=replace(WARM, seed=seed, max_tokens=20), guide=Guide(choices=choices))
        assert answer(engine, asked_).text in choices
    words = {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2}
    schema = {"type": "object", "properties": {"objects": words, "n": {"type": "integer", "maximum": 9, "minimum": 0}},
              "required": ["objects", "n"], "additionalProperties": False}  # fmt: skip
    sampling = replace(WARM, max_tokens=200)
    made = json.loads(answer(engine, asked("k", prompt="?", sampling=sampling, guide=Guide(json_schema=schema))).text)
    assert set(made) == {"objects", "n"}
    assert isinstance(made["n"], int)


def test_what_a_request_does_wrong_is_its_own(engine: VllmEngine) -> None:
    long = asked("long", prompt="word " * 5000, sampling=SHORT)
    slow = asked("slow", prompt="a", sampling=Sampling(max_tokens=900, min_tokens=900), timeout_s=0.2)
    good = asked("good", 1, sampling=SHORT)
    futures = [engine.submit(each) for each in (long, slow, good)]
    with pytest.raises(GenerateError, match="1024"):
        futures[0].result(timeout=120)
    with pytest.raises(GenerateError, match=r"no answer within 0\.2 s"):
        futures[1].result(timeout=120)
    assert futures[2].result(timeout=120).num_tokens == 8


def cores() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if each.name().startswith("VLLM::Engine")]


def test_when_it_dies_the_others_are_answered(vlm: Path) -> None:
    opened = open_engine(vlm)
    try:
        alone = answer(opened, asked("first", 5, sampling=SHORT))
        long = Sampling(max_tokens=400, min_tokens=400)
        futures = [opened.submit(asked(f"k{i}", i, sampling=long)) for i in range(6)]
        time.sleep(0.5)
        mine = [core for core in cores() if core.is_running()]
        assert mine
        mine[-1].kill()
        assert {future.result(timeout=300).num_tokens for future in futures} == {400}
        assert answer(opened, asked("again", 5, sampling=SHORT)).text == alone.text
    finally:
        opened.close()


@pytest.mark.slow
def test_the_request_that_kills_it_is_found(vlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_engine(vlm)
    prompt = VllmEngine._prompt

    def deadly(self: VllmEngine, request: Request) -> object:
        if request.key == "killer":
            time.sleep(0.2)
            for core in [core for core in cores() if core.create_time() >= began]:
                core.kill()
        return prompt(self, request)

    began = time.time() - 120
    monkeypatch.setattr(VllmEngine, "_prompt", deadly)
    try:
        long = Sampling(max_tokens=300, min_tokens=300)
        futures = {key: opened.submit(asked(key, 1, sampling=long)) for key in ("a", "b", "killer", "c")}
        for key, future in futures.items():
            if key == "killer":
                with pytest.raises(GenerateError, match="died of this clip, 2 times"):
                    future.result(timeout=600)
            else:
                assert future.result(timeout=600).num_tokens == 300
    finally:
        opened.close()


def test_what_it_cannot_be_opened_with(vlm: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine_args: .*no_such_key"):
        open_engine(vlm, args_json='{"no_such_key":1}')
    with pytest.raises(ConfigError, match="cannot be talked to"):
        open_engine(tmp_path)
    with pytest.raises(UnitError, match="vLLM cannot run"):
        open_engine(vlm, args_json='{"max_num_batched_tokens":-5}')

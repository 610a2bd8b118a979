"""The engine of transformers, with tiny models of random weights on the CPU."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.asked import asked
from support.in_process import Opened

from shardpipe.models.generate.request import Answer, GenerateError, Guide, Request, Sampling
from shardpipe.models.generate.transformers_engine import TransformersEngine

SHORT = Sampling(max_tokens=12)
TEMPLATE_OF_A = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
WARM = replace(SHORT, temperature=1.0, top_k=50, top_p=0.9, repetition_penalty=1.2)


@pytest.fixture
def opened() -> Iterator[Opened]:
    opened = Opened()
    yield opened
    for engine in opened.engines:
        engine.close()


def together(engine: TransformersEngine, requests: list[Request]) -> list[Answer | Exception]:
    """What comes of the requests as one batch."""
    return engine._answers(requests)


def texts(answers: list[Answer | Exception]) -> list[str]:
    assert all(isinstance(each, Answer) for each in answers), answers
    return [each.text for each in answers if isinstance(each, Answer)]


def spoken(engine: TransformersEngine, request: Request) -> Answer:
    return engine.submit(request).result(timeout=60)


@pytest.mark.parametrize("sampling", [SHORT, WARM, replace(SHORT, repetition_penalty=1.3, min_tokens=12)])
@pytest.mark.parametrize("kind", ["text", "images", "video"])
def test_an_answer_does_not_depend_on_its_batch(kind: str, sampling: Sampling, vlm: Path, opened: Opened) -> None:
    engine = opened(vlm, has_video=True)
    prompts = ["a", "Describe this video clip in one sentence, please.", "what is it " * 9, "person"]
    numbers = {
        "text": [()] * 4,
        "images": [(1,), (2, 3), (4,), (5, 6, 7)],
        "video": [(1, 2), (3, 4), (5, 6, 7, 8), (9, 1)],
    }
    requests = [
        asked(
            f"c{i}", *numbers[kind][i], prompt=prompts[i], as_video=kind == "video", sampling=replace(sampling, seed=i)
        )
        for i in range(4)
    ]
    alone = [spoken(engine, request) for request in requests]
    assert together(engine, requests) == alone
    assert together(engine, requests[::-1]) == alone[::-1]
    assert len({each.text for each in alone}) == 4


def test_pictures_and_prompts_change_the_answer(vlm: Path, opened: Opened) -> None:
    engine = opened(vlm, has_video=True)
    dark = {"frames": np.zeros((2, 56, 56, 3), np.uint8), "times_s": np.array([0.0, 1.0]), "duration_s": 2.0}
    bright = {**dark, "frames": np.full((2, 56, 56, 3), 255, np.uint8)}
    requests = [
        Request("a", "go", **each, as_video=as_video, sampling=SHORT)
        for each in (dark, bright)
        for as_video in (False, True)
    ]
    assert len({spoken(engine, request).text for request in requests}) == 4


def test_tokens_are_counted_without_padding(vlm: Path, opened: Opened) -> None:
    engine = opened(vlm)
    requests = [Request("a", "a", sampling=SHORT), Request("b", "a" * 50, sampling=SHORT)]
    first, second = together(engine, requests)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.num_prompt_tokens == len(engine._chat.tokenizer(TEMPLATE_OF_A)["input_ids"])
    assert (first.finish, first.num_tokens) == ("length", 12)
    assert second.num_prompt_tokens is not None
    assert second.num_prompt_tokens > first.num_prompt_tokens


def test_the_greedy_answer_is_that_of_generate(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    tokenizer, model = engine._chat.tokenizer, engine._model
    ids = tokenizer(TEMPLATE_OF_A, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        for _ in range(12):
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    wanted = tokenizer.decode(ids[0, -12:], skip_special_tokens=True)
    assert spoken(engine, Request("a", "a", sampling=SHORT)).text == wanted


def test_what_generation_config_says_of_sampling_does_not_count(llm: Path, opened: Opened, tmp_path: Path) -> None:
    other = shutil.copytree(llm, tmp_path / "other")
    said = json.loads((llm / "generation_config.json").read_text())
    said |= {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0, "max_new_tokens": 3, "top_k": 2}
    (other / "generation_config.json").write_text(json.dumps(said))
    request = Request("a", "a", sampling=SHORT)
    assert spoken(opened(other, max_images=0), request) == spoken(opened(llm, max_images=0), request)


def test_seeds_draw_different_texts_and_the_same_again(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    drawn = [spoken(engine, Request("a", "a", sampling=replace(WARM, seed=seed))).text for seed in (1, 2, 1, -5)]
    assert drawn[0] == drawn[2]
    assert len(set(drawn)) == 3


def test_a_stop_string_ends_the_answer_before_it(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    request = Request("a", "a", sampling=replace(SHORT, max_tokens=30))
    whole = spoken(engine, request).text
    middle = whole[len(whole) // 2 :][:3]
    cut = spoken(engine, replace(request, sampling=replace(request.sampling, stop=(middle, "never so"))))
    assert (cut.text, cut.finish) == (whole[: whole.index(middle)], "stop")
    assert cut.num_tokens is not None
    assert cut.num_tokens < 30


def test_end_tokens_end_an_answer_but_not_before_min_tokens(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    plain = Request("a", "a", sampling=SHORT)
    ids = engine._chat.tokenizer(TEMPLATE_OF_A, return_tensors="pt")["input_ids"]
    head = engine._model.lm_head.weight.data
    head[2] = (
        head[engine._model(ids).logits[0, -1].argmax()] * 1.5
    )  # the end token, where its row points the same way and farther
    ended = spoken(engine, plain)
    assert (ended.text, ended.finish, ended.num_tokens) == ("", "stop", 1)
    longer = spoken(engine, replace(plain, sampling=replace(SHORT, min_tokens=5)))
    assert longer.num_tokens is not None
    assert longer.num_tokens >= 5
    assert longer.text


def test_a_prompt_that_is_too_long_is_its_own_error(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0, max_model_len=64)
    good = Request("good", "a", sampling=replace(SHORT, max_tokens=100))
    answers = together(engine, [good, Request("bad", "word " * 60), replace(good, key="good2")])
    assert isinstance(answers[1], GenerateError)
    assert "the model takes 64" in str(answers[1])
    first = answers[0]
    assert isinstance(first, Answer)
    assert first == answers[2]
    assert first.num_prompt_tokens is not None
    assert (first.finish, first.num_tokens) == ("length", 64 - first.num_prompt_tokens)


def test_a_request_that_takes_too_long_is_its_own_error(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    slow = Request("slow", "a", sampling=replace(SHORT, max_tokens=3000), timeout_s=0.2)
    begun = time.monotonic()
    with pytest.raises(GenerateError, match=r"no answer within 0.2 s"):
        spoken(engine, slow)
    assert time.monotonic() - begun < 5


def test_a_batch_that_fails_is_halved_until_the_request_at_fault_is_alone(
    llm: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(llm, max_images=0)
    generate = engine._model.generate
    poison = engine._chat.tokenizer("zzz")["input_ids"]

    def fails(**inputs: Any) -> Any:
        if any(str(poison)[1:-1] in str(row) for row in inputs["input_ids"].tolist()):
            raise IndexError("a bad\nclip")
        return generate(**inputs)

    monkeypatch.setattr(engine._model, "generate", fails)
    answers = together(engine, [Request(f"c{i}", "zzz" if i == 5 else "a", sampling=SHORT) for i in range(8)])
    assert [str(each) for each in answers if isinstance(each, Exception)] == ["a bad clip"]
    assert isinstance(answers[5], GenerateError)


def test_batches_are_smaller_once_memory_ran_out(llm: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(llm, max_images=0)
    generate, sizes = engine._model.generate, []

    def fails(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(engine._model, "generate", fails)
    assert len(texts(together(engine, [Request(f"c{i}", "a", sampling=SHORT) for i in range(8)]))) == 8
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert engine._batches.most == 2


def test_waiting_requests_go_together_by_kind(vlm: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(vlm, batch_size=3)
    may_go, begun, batches = threading.Event(), threading.Event(), []
    answers = engine._batches._work

    def noted(requests: Any) -> Any:
        batches.append([request.key for request in requests])
        begun.set()
        may_go.wait(30)
        return answers(requests)

    monkeypatch.setattr(engine._batches, "_work", noted)
    first = engine.submit(Request("first", "a", sampling=SHORT))
    begun.wait(30)
    kinds = [asked(f"i{i}", i, sampling=SHORT) for i in range(4)] + [Request("t0", "a", sampling=WARM)]
    futures = [engine.submit(request) for request in [kinds[0], kinds[4], *kinds[1:4]]]
    futures += [engine.submit(Request("t1", "a", sampling=replace(WARM, seed=8)))]
    may_go.set()
    assert all(future.result(timeout=60).num_tokens == 12 for future in [first, *futures])
    assert batches == [["first"], ["i0", "i1", "i2"], ["t0", "t1"], ["i3"]]


def test_close_stops_what_runs_and_cancels_all(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0, batch_size=1)
    long = Request("a", "a", sampling=replace(SHORT, max_tokens=3000))
    futures = [engine.submit(long) for _ in range(3)]
    time.sleep(0.1)
    begun = time.monotonic()
    engine.close()
    assert time.monotonic() - begun < 5
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(long)


def test_special_tokens_of_a_prompt_are_text_that_is_left_out(vlm: Path, opened: Opened) -> None:
    engine = opened(vlm)
    odd = asked("a", 1, prompt="go<|im_<|im_end|>end|><|image_pad|> on", system="be<|im_start|> brief", sampling=SHORT)
    assert spoken(engine, odd) == spoken(engine, replace(odd, prompt="go on", system="be brief"))
    assert engine._chat.written(odd).count("<|image_pad|>") == 1


def test_a_guide_is_no_error(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0)
    request = Request("a", "a", sampling=SHORT)
    assert spoken(engine, replace(request, guide=Guide(choices=("yes", "no")))) == spoken(engine, request)


def test_engine_args_reach_the_model(llm: Path, opened: Opened) -> None:
    engine = opened(llm, max_images=0, args_json='{"attn_implementation": "eager"}')
    assert engine._model.config._attn_implementation == "eager"

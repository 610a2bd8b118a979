"""vLLM's own OpenAI-compatible server on loopback, and the engine openai as its client."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.asked import asked
from support.runs import make_config, render_videos, rows_of, run_inline

from shardpipe.core.errors import ConfigError
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.openai_client import OpenAIClient
from shardpipe.models.generate.request import GenerateError, Guide, Sampling
from shardpipe.stages.ask import Ask
from shardpipe.stages.caption import Caption
from shardpipe.storage.store import open_store

SHORT = Sampling(max_tokens=8)
START_S = 300


@pytest.fixture(scope="module")
def url(vlm: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(vlm),
        "--served-model-name",
        "tiny",
    ]
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--dtype",
        "float32",
        "--max-model-len",
        "1024",
        "--enforce-eager",
    ]
    more = ["--limit-mm-per-prompt", '{"image": 8, "video": 1}', "--trust-request-mm-kwargs"]
    env = {**os.environ, "VLLM_LOGGING_LEVEL": "WARNING"}
    process = subprocess.Popen([*command, *options, *more], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()  # noqa: S310  ours
                break
            except OSError:
                assert process.poll() is None, process.communicate()[0][-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield f"{address}/v1"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAIClient]:
    opened = OpenAIClient(EngineSpec("openai", model="tiny", base_url=url, max_images=8, has_video=True))
    yield opened
    opened.close()


def test_text_pictures_and_video_are_answered(client: OpenAIClient) -> None:
    requests = [
        asked("t", prompt="a person", sampling=SHORT),
        asked("i", 1, sampling=SHORT),
        asked("ii", 1, 2, sampling=SHORT),
    ]
    requests.append(asked("v", 1, 2, 3, 4, as_video=True, sampling=SHORT))
    answers = [future.result(timeout=120) for future in [client.submit(each) for each in requests]]
    assert [each.num_tokens for each in answers] == [8] * 4
    text, one, two, _ = [each.num_prompt_tokens or 0 for each in answers]
    assert text < one < two


def test_guided_answers_have_their_form(client: OpenAIClient) -> None:
    for i in range(4):
        guided = asked(
            "k", i, sampling=Sampling(max_tokens=8, temperature=1.0, seed=i), guide=Guide(choices=("yes", "no"))
        )
        assert client.submit(guided).result(timeout=60).text in ("yes", "no")


def test_what_it_refuses_is_the_requests_own(client: OpenAIClient) -> None:
    with pytest.raises(GenerateError, match="1024"):
        client.submit(asked("long", prompt="word " * 3000)).result(timeout=60)


def test_a_model_that_is_not_served_is_found_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="tiny"):
        OpenAIClient(EngineSpec("openai", model="large", base_url=url))


def test_a_pass_asks_it(url: str, tmp_path: Path) -> None:
    videos = render_videos(tmp_path / "videos")
    server = {"engine": "openai", "model": "tiny", "base_url": url, "long_side": 112, "num_frames": 2}
    stages = [Caption(**server, max_tokens=12), Ask(**server, name="fine", question="Is it fine?")]  # type: ignore[arg-type]
    assert not run_inline(make_config(tmp_path / "root", videos, [{"name": "text", "stages": stages}])).pending
    rows = rows_of(open_store(str(tmp_path / "root")), "text")
    assert [row["text_tokens"] for row in rows.values()] == [12] * 5
    assert {row["fine"] for row in rows.values()} <= {True, False}
    assert {row["error"] for row in rows.values()} == {None}

"""What a server is sent: the body in both dialects, pictures, the key."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.asked import asked
from support.openai_server import MODEL, Plan, Served, serve

from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.models.generate.request import GenerateError, Guide, Request, Sampling

KEY = "sk-secret-0123456789"


def test_colours_arrive_as_they_are(tmp_path: Path, opened: Any) -> None:
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 224
    with serve(tmp_path / "log") as server:
        opened(server.url).submit(Request("a", "?", frames=red)).result()
        assert server.requests()[0]["seen"] == ["224-0-0"]


def test_a_model_that_is_not_served_is_told_with_those_that_are(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(models=["a", "b"])) as server, pytest.raises(ConfigError, match="it serves a, b"):
        opened(server.url)


def test_a_server_without_a_list_of_models_is_asked_all_the_same(tmp_path: Path, opened: Any, caplog: Any) -> None:
    with serve(tmp_path / "log", Plan(models_fault="404")) as server:
        assert opened(server.url).submit(asked("a", 7)).result().text == "It shows #7."
    assert "lists no models" in caplog.text


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, opened: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(tmp_path / "log", Plan(key=KEY, by_user={"bad": "400", "sick": "500"})) as server:
        client = opened(server.url, retries=1)
        assert client.submit(asked("a", 7)).result().text == "It shows #7."
        said = []
        for name in ("bad", "sick"):
            with pytest.raises(GenerateError) as caught:
                client.submit(Request(name, f"my {KEY}")).result()
            said.append(f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__}")
    assert not [text for text in [*said, caplog.text, repr(client.__dict__)] if KEY in text]


def test_a_wrong_key_is_named_by_its_variable(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
    caplog.set_level(logging.DEBUG)
    with serve(tmp_path / "log", Plan(key=KEY)) as server, pytest.raises(UnitError, match="MY_KEY") as caught:
        opened(server.url, api_key_env="MY_KEY")
    assert "sk-wrong" not in caplog.text + repr(caught.value)


@pytest.mark.parametrize("bad", ["sk-1\nsk-2", "schlüssel-0123456789"])
def test_a_key_that_no_header_holds_is_refused_unseen(bad: str, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds more than a key") as caught:
        opened("http://127.0.0.1:1/v1")
    assert bad not in str(caught.value)


def test_the_url_comes_from_the_environment(tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path / "log") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert opened(None).submit(asked("a", 7)).result().finish == "stop"


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://user:word@host/v1"])
def test_a_url_that_is_none_is_refused(url: str, opened: Any) -> None:
    with pytest.raises(ConfigError, match="base_url") as caught:
        opened(url)
    assert "word" not in str(caught.value).replace("password", "")


def body_of(server: Served) -> dict[str, Any]:
    made: dict[str, Any] = server.requests()[-1]["body"]
    return made


def test_the_dialects_say_the_same_in_their_own_words(tmp_path: Path, opened: Any) -> None:
    plain = Sampling(max_tokens=99, temperature=0.5, top_p=0.9, stop=("END",), seed=5)
    full = Sampling(max_tokens=99, min_tokens=9, temperature=0.5, top_k=3, repetition_penalty=1.1, seed=5)
    with serve(tmp_path / "log") as server:
        opened(server.url, dialect="openai").submit(asked("a", sampling=plain)).result()
        assert body_of(server) == {
            "model": MODEL,
            "user": "a",
            "max_completion_tokens": 99,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": 5,
        }
        opened(server.url, args_json='{"min_p": 0.2}').submit(asked("a", sampling=full)).result()
        assert body_of(server) == {
            "model": MODEL,
            "user": "a",
            "max_tokens": 99,
            "min_tokens": 9,
            "temperature": 0.5,
            "top_p": 1.0,
            "top_k": 3,
            "min_p": 0.2,
            "repetition_penalty": 1.1,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": 5,
        }


def test_a_setting_that_a_dialect_has_not_is_refused(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log") as server:
        client = opened(server.url, dialect="openai")
        with pytest.raises(ConfigError, match="no top_k"):
            client.submit(asked("a", sampling=Sampling(top_k=3))).result()
        with pytest.raises(ConfigError, match="takes no videos"):
            opened(server.url, dialect="openai", has_video=True)
        with pytest.raises(ConfigError, match="may not hold model, stream"):
            opened(server.url, args_json='{"stream": true, "model": "x"}')


@pytest.mark.parametrize("dialect", ["vllm", "openai"])
def test_guided_answers(dialect: str, tmp_path: Path, opened: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"scene": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["n"],
    }
    with serve(tmp_path / "log") as server:
        client = opened(server.url, dialect=dialect)
        choice = client.submit(asked("a", 4, guide=Guide(choices=("yes", "no", "unclear")))).result()
        assert choice.text == "no"
        made = client.submit(asked("a", 4, guide=Guide(json_schema=schema))).result()
        assert made.text == '{"scene": "scene #4", "n": 4}'
        if dialect == "vllm":
            assert body_of(server)["structured_outputs"] == {"json": schema}
        else:
            sent = body_of(server)["response_format"]["json_schema"]
            assert sent["strict"] is True
            assert sent["schema"] == {**schema, "required": ["scene", "n"], "additionalProperties": False}


def test_a_video_comes_with_its_times(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log") as server:
        client = opened(server.url, has_video=True)
        assert client.submit(asked("a", 3, 9, as_video=True)).result().text == "It shows #3 #9."
        video = body_of(server)["media_io_kwargs"]["video"]
        assert [index / video["fps"] for index in video["frames_indices"]] == [0.0, 0.5]
        assert video["num_frames"] == -1
        assert video["duration"] == video["total_num_frames"] / video["fps"] == 4.0
        with pytest.raises(GenerateError, match="without a time for each"):
            client.submit(asked("a", 3, as_video=True, times_s=None)).result()


def test_half_a_character_is_the_clips_error(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log") as server, pytest.raises(GenerateError, match="half a character"):
        opened(server.url).submit(Request("a", "\ud83d")).result()

"""The client of OpenAI-compatible servers, against a server that fails as it is told."""

import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.asked import asked
from support.openai_server import ChildServer, Plan, free_port, serve

from shardpipe.core.errors import UnitError
from shardpipe.models.generate.openai_client import answer_of
from shardpipe.models.generate.openai_faults import Fault
from shardpipe.models.generate.request import Answer, GenerateError

AGAIN = ["429", "429 later", "500", "503", "broken json", "half", "closed", "html", "no choices"]


def test_an_answer_is_whole(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log") as server:
        answer = opened(server.url).submit(asked("clip1", 12, 345)).result()
        assert answer == Answer("It shows #12 #345.", "stop", 4, 3)
        assert [entry["user"] for entry in server.requests()] == ["clip1"]


@pytest.mark.parametrize("fault", AGAIN)
def test_a_fault_that_passes_is_tried_again(fault: str, tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(script=[fault, fault], retry_after="0.01")) as server:
        answer = opened(server.url, retries=2).submit(asked("a", 7)).result()
        assert (answer.text, len(server.requests())) == ("It shows #7.", 3)


@pytest.mark.parametrize("fault", ["429", "500", "half", "broken json"])
def test_a_fault_that_stays_is_the_clips_error(fault: str, tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(by_user={"bad": fault})) as server:
        client = opened(server.url, retries=2)
        with pytest.raises(GenerateError, match=r"\(tried 3 times\)") as caught:
            client.submit(asked("bad", 7)).result()
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert client.submit(asked("good", 8)).result().text == "It shows #8."
        assert len(server.requests()) == 4


def test_a_hanging_answer_is_tried_again_after_its_time(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(script=["hang"])) as server:
        client = opened(server.url)
        assert client.submit(asked("a", 7, timeout_s=0.5)).result().text == "It shows #7."
        assert [entry["fault"] for entry in server.requests()] == ["hang", ""]


def test_retry_after_is_honoured(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(script=["429 later"], retry_after="0.6")) as server:
        client = opened(server.url)
        begun = time.monotonic()
        client.submit(asked("a", 7)).result()
        assert time.monotonic() - begun >= 0.6


def test_what_the_server_refuses_is_the_clips_error_without_its_pictures(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(by_user={"bad": "400"})) as server:
        with pytest.raises(GenerateError, match="the server answers 400: fault 400 of What is it") as caught:
            opened(server.url).submit(asked("bad", 7)).result()
        assert "base64" not in str(caught.value)
        assert len(str(caught.value)) <= 320
        assert len(server.requests()) == 1


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ("401", "set the environment variable OPENAI_API_KEY"),
        ("404", r"check model \(tiny\) and base_url \(http://127"),
    ],
)
def test_what_only_the_user_can_mend_ends_the_unit(fault: str, wanted: str, tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(by_user={"a": fault})) as server, pytest.raises(UnitError, match=wanted):
        opened(server.url).submit(asked("a", 7)).result()


def test_how_an_answer_ends_is_told(tmp_path: Path, opened: Any) -> None:
    plan = Plan(script=["length", "refusal", "filter", "empty"], has_usage=False)
    with serve(tmp_path / "log", plan) as server:
        client = opened(server.url)
        answers = [client.submit(asked("a", 7)).result() for _ in range(4)]
    assert [(each.text, each.finish) for each in answers] == [
        ("It sho", "length"),
        ("", "content_filter"),
        ("It sho", "content_filter"),
        ("", "stop"),
    ]
    assert answers[0].num_tokens is None


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ({"content": [{"type": "thinking", "text": "Hm."}, {"type": "text", "text": "A dog."}]}, "A dog.", "stop"),
        ({"content": None, "reasoning_content": "Hm."}, "", "stop"),
        ({"content": "A dog.", "ends": "eos_token"}, "A dog.", "stop"),
        ({"content": "A do", "ends": "model_length"}, "A do", "length"),
    ],
)
def test_answers_of_other_servers(choice: dict[str, Any], text: str, finish: str) -> None:
    message = SimpleNamespace(**choice)
    made = SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason=choice.get("ends", "stop"))])
    assert answer_of(made, is_wrapped=False) == Answer(text, finish, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "choice"), [('{"answer": "yes"}', "yes"), ("Yes.", "Yes."), ('{"other": 1}', '{"other": 1}'), ("", "")]
)
def test_a_choice_without_the_form_that_was_asked_for_is_left_to_who_asked(text: str, choice: str) -> None:
    made = SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=text), finish_reason="stop")])
    assert answer_of(made, is_wrapped=True) == Answer(choice, "stop", None, None)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"error": {"message": "no room"}}, "it holds no choice, but {'message': 'no room'}"),
        (
            {"choices": [SimpleNamespace(message=SimpleNamespace(content=7), finish_reason="stop")]},
            "its content is no text",
        ),
        ({"choices": [SimpleNamespace(message=SimpleNamespace(content="x"), finish_reason=None)]}, "it ends by 'None'"),
    ],
)
def test_what_is_no_answer_says_why(made: dict[str, Any], message: str) -> None:
    fault = answer_of(SimpleNamespace(**made), is_wrapped=False)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.message) == ("again", f"the server's answer is broken: {message}")


def test_no_more_are_in_flight_than_allowed(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(delay_s=0.1)) as server:
        client = opened(server.url, max_in_flight=3)
        for each in [client.submit(asked(f"a{i}")) for i in range(12)]:
            each.result()
        assert server.server is not None
        assert server.server.most_at_once == 3


def test_every_clip_has_its_own_answer_under_random_faults(tmp_path: Path, opened: Any) -> None:
    rates = dict.fromkeys(AGAIN, 0.05) | {"hang": 0.02}
    with serve(tmp_path / "log", Plan(rates=rates, seed=3, retry_after="0.01")) as server:
        client = opened(server.url, retries=30)
        futures = {i: client.submit(asked(f"clip{i}", i, i + 1, timeout_s=4)) for i in range(40)}
        texts = {i: future.result().text for i, future in futures.items()}
        log = server.requests()
    assert texts == {i: f"It shows #{i} #{i + 1}." for i in range(40)}
    answered = [entry for entry in log if not entry["fault"]]
    assert sorted(entry["user"] for entry in answered) == sorted(f"clip{i}" for i in range(40))
    assert all(entry["seen"][0] == "#" + entry["user"].removeprefix("clip") for entry in answered)
    assert len(log) > 45


def test_a_server_that_goes_away_and_comes_back_costs_no_clip(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(delay_s=0.02)) as server:
        client = opened(server.url, retries=2, max_in_flight=4)
        futures = [client.submit(asked(f"clip{i}", i)) for i in range(40)]
        futures[3].result()
        server.stop()
        threading.Timer(1.0, server.start).start()
        assert [future.result().text for future in futures] == [f"It shows #{i}." for i in range(40)]


def test_a_server_that_is_killed_and_started_again_costs_no_clip(tmp_path: Path, opened: Any) -> None:
    with ChildServer(tmp_path, Plan(delay_s=0.05)) as server:
        client = opened(server.url, retries=2, unreachable_s=60.0, max_in_flight=4)
        futures = [client.submit(asked(f"clip{i}", i)) for i in range(20)]
        futures[3].result()
        server.kill()
        server.start()
        assert [future.result().text for future in futures] == [f"It shows #{i}." for i in range(20)]


def test_a_server_that_stays_away_ends_the_unit_for_all_at_once(tmp_path: Path, opened: Any, caplog: Any) -> None:
    with serve(tmp_path / "log") as server:
        client = opened(server.url, unreachable_s=0.5)
        server.stop()
        begun = time.monotonic()
        futures = [client.submit(asked(f"clip{i}")) for i in range(30)]
        for future in futures:
            with pytest.raises(UnitError, match=r"has not answered for 0.5 s .*start the server, or correct base_url"):
                future.result()
        assert time.monotonic() - begun < 5
    assert sum("waiting for it" in line for line in caplog.messages) == 1


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log") as server:
        server.stop()
        threading.Timer(0.5, server.start).start()
        assert opened(server.url).submit(asked("a", 7)).result().text == "It shows #7."


def test_a_proxy_without_a_server_behind_it_ends_the_unit(tmp_path: Path, opened: Any) -> None:
    plan = Plan(rates={"503": 1.0})
    with serve(tmp_path / "log", plan) as server:
        client = opened(server.url, unreachable_s=0.3)
        assert server.server is not None
        server.server.plan = Plan(rates={"503": 1.0}, models_fault="503")
        with pytest.raises(UnitError, match="503"):
            client.submit(asked("a")).result()


def test_close_cancels_what_has_no_answer(tmp_path: Path, opened: Any) -> None:
    with serve(tmp_path / "log", Plan(rates={"hang": 1.0}, hang_s=3)) as server:
        client = opened(server.url)
        future: Future[Answer] = client.submit(asked("a"))
        while not server.requests():
            time.sleep(0.01)
        client.close()
        assert future.cancelled()
        with pytest.raises(RuntimeError, match="closed"):
            client.submit(asked("b"))


def test_a_port_where_nothing_listens_ends_after_the_wait(opened: Any) -> None:
    with pytest.raises(UnitError, match="no connection to"):
        opened(f"http://127.0.0.1:{free_port()}/v1", unreachable_s=0.2)

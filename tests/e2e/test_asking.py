"""Stages that ask an engine, in a pass: one engine for all of them, each clip its own answer, rules on answers, retry."""

import re
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.openai_server import MODEL, Plan, serve
from support.runs import make_config, rows_of, run_inline

from shardpipe.core.errors import ConfigError
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.retry import retry_root
from shardpipe.models.generate.request import GenerateError, Request
from shardpipe.stages.ask import Ask
from shardpipe.stages.caption import Caption
from shardpipe.stages.clean import Clean
from shardpipe.stages.llm import Llm
from shardpipe.stages.tags import Tags
from shardpipe.storage.store import open_store

SERVER = {"engine": "openai", "model": "org/Big", "base_url": "http://127.0.0.1:9/v1", "num_in_flight": 4}


def answers(request: Request) -> str:
    """The clip's key in each form, but `no` to a question about the first clip of a video."""
    if request.guide is None:
        return f"The video shows {request.key}."
    if request.guide.choices:
        return "no" if request.key.endswith("_00000000") else "yes"
    return f'{{"b": "B of {request.key}", "a": "A", "objects": ["{request.key}"]}}'


STAGES = [
    Ask(**SERVER, name="fine", question="Is it fine?", num_frames=1),
    Caption(**SERVER, num_frames=2),
    Clean(),
    Llm(**SERVER, column="text_clean", prompt="enhance", facts=("duration_s",)),
    Tags(**SERVER, column="text_llm", keys=("objects",)),
]


def test_a_pass_of_them(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(answers).install(monkeypatch)
    one = {"name": "text", "stages": STAGES, "keep": ["fine"]}
    assert not run_inline(make_config(tmp_path, videos, [one])).pending
    (spec,) = engine.specs
    assert (spec.max_images, spec.max_in_flight, spec.base_url) == (2, 4, "http://127.0.0.1:9/v1")
    rows = rows_of(open_store(str(tmp_path)), "text")
    assert len(rows) == 5
    for key, row in rows.items():
        assert row["fine"] == row["kept"] == (not key.endswith("_00000000"))
        assert row["text"] == (f"The video shows {key}." if row["kept"] else None)
        assert row["objects"] == ([key] if row["kept"] else None)
        if row["kept"]:
            assert (row["text_model"], row["text_finish"], row["text_truncated"]) == ("org/Big", "stop", False)
    asked = [request for request in engine.asked if request.system is None and "- duration_s: 1" in request.prompt]
    assert {request.key for request in asked} == {key for key, row in rows.items() if row["kept"]}
    assert len(engine.asked) == 5 + 3 * 3


def test_a_retry_asks_as_the_run_did(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the server's address, which the identity has not, and the fields in their order."""

    def fails(request: Request) -> str | Exception:
        return GenerateError("took too long") if request.key.endswith("_00000000") else answers(request)

    stage = Caption(**SERVER, prompt={"video": 1, "short": 2}, fields={"b": "string", "a": "string"})
    engine = FakeEngine(fails).install(monkeypatch)
    one = {"name": "text", "stages": [stage], "max_failed": 1.0}
    run_inline(make_config(tmp_path, videos, [one]))
    store = open_store(str(tmp_path))
    failed = {key for key, row in rows_of(store, "text").items() if row["error"]}
    assert {row["error"] for row in rows_of(store, "text").values()} == {None, "caption: took too long"}
    assert len(failed) == 2

    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    again = FakeEngine(answers).install(monkeypatch)
    assert retry_root(str(tmp_path)).passes == ("text",)
    assert again.specs == engine.specs
    assert {request.key for request in again.asked} == failed
    before = {request.key: request.prompt for request in engine.asked}
    assert all(request.prompt == before[request.key] for request in again.asked)
    rows = rows_of(store, "text")
    assert all(row["text"] == f"B of {key}. A." for key, row in rows.items())


def test_a_prompt_that_reads_an_unknown_column_is_told(videos: Path, tmp_path: Path) -> None:
    one = {"name": "text", "stages": [Caption(**SERVER, prompt="In {{ durations_s }} s")]}
    with pytest.raises(
        ConfigError, match=r"reads column 'durations_s', which nothing before it writes: did you mean duration_s\?"
    ):
        run_inline(make_config(tmp_path, videos, [one]))


def test_a_server_that_fails_now_and_then(videos: Path, tmp_path: Path) -> None:
    """Of five clips, through the client: each has the numbers of its own frames, as text, fields, tags and answer."""
    plan = Plan(script=["429", "", "500", "broken json", "", "half"])
    with serve(tmp_path / "log.jsonl", plan) as server:
        here = {"engine": "openai", "model": MODEL, "base_url": server.url, "num_frames": 2, "num_in_flight": 3}
        stages = [
            Caption(**here, fields={"what": "string", "n": "int"}),
            Tags(**here, keys=("objects",)),
            Ask(**here, name="view", question="Which?", answer="choice", choices=("a", "b", "c")),
            Caption(**here, into="text_plain"),
        ]
        assert not run_inline(make_config(tmp_path / "root", videos, [{"name": "text", "stages": stages}])).pending
    rows = rows_of(open_store(str(tmp_path / "root")), "text")
    for key, row in rows.items():
        first, last = (int(number) for number in re.findall(r"#(\d+)", row["text_plain"]))
        start = int(key.rsplit("_", 1)[1]) * 12 // 1000
        assert start <= first < last < start + 12
        assert (row["text"], row["text_n"]) == (f"what #{first} #{last}.", first)
        assert (row["objects"], row["view"]) == ([f"objects #{first} #{last}"], "abc"[first % 3])
        assert row["text_finish"] == row["tags_finish"] == row["view_finish"] == "stop"

"""A TextEngine for tests of stages that ask one: answers by a function, late and out of order, and remembers what was asked."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.request import Answer, Finish, Request

Answers = Callable[[Request], Answer | str | Exception]


def says(text: str, finish: Finish = "stop") -> Answer:
    """An answer of this text; as many tokens as words."""
    return Answer(text, finish, num_tokens=len(text.split()), num_prompt_tokens=7)


def plain(request: Request) -> str:
    """What fits each guide, and names the clip."""
    if request.guide is None:
        shown = "nothing" if request.frames is None else f"{len(request.frames)} frames"
        return f"Clip {request.key} with {shown}, {0 if request.frames is None else request.frames.mean():.3f}."
    if request.guide.choices:
        return request.guide.choices[len(request.key) % len(request.guide.choices)]
    assert request.guide.json_schema is not None
    return _filled(request.guide.json_schema, request.key)


def _filled(schema: Any, key: str) -> str:
    kinds = {"string": f'"{key}"', "array": f'["{key}"]', "integer": "3", "number": "0.5", "boolean": "true"}
    inside = (f'"{name}": {kinds[part["type"]]}' for name, part in schema["properties"].items())
    return "{" + ", ".join(inside) + "}"


class FakeEngine:
    """Answers in threads of its own; a string stands for an answer that ends by itself, an exception is raised."""

    def __init__(self, answers: Answers = plain) -> None:
        self.asked: list[Request] = []
        self.specs: list[EngineSpec] = []
        self._answers = answers

    def submit(self, request: Request) -> "Future[Answer]":
        self.asked.append(request)
        future: Future[Answer] = Future()
        threading.Timer(random.random() / 500, self._settle, (future, request)).start()
        return future

    def _settle(self, future: "Future[Answer]", request: Request) -> None:
        if not future.set_running_or_notify_cancel():
            return
        made = self._answers(request)
        if isinstance(made, Exception):
            future.set_exception(made)
        else:
            future.set_result(says(made) if isinstance(made, str) else made)

    def close(self) -> None:
        """Nothing is open."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeEngine":
        """Be what every EngineSpec opens."""

        def opened(spec: EngineSpec, devices: object) -> FakeEngine:
            self.specs.append(spec)
            return self

        monkeypatch.setattr(EngineSpec, "open", opened)
        return self

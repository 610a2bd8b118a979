"""Any OpenAI-compatible server, `vllm serve` first, behind the interface of engines.

    submit ─▶ slot (of max_in_flight) ─▶ POST chat/completions ─▶ Answer
                                          │ 429, 5xx, time-out, broken answer: again after a wait, at most `retries` times
                                          └ no server there: GET models until there is one, at most `unreachable_s`

A key is read from the environment, and lies in the client alone: never in a log, a message or an exception.
"""

import asyncio
import math
import os
from concurrent.futures import Future
from dataclasses import dataclass, replace
from http import HTTPStatus
from logging import getLogger
from typing import Any, cast
from urllib.parse import urlsplit

from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.loop import LoopThread
from shardpipe.models.generate.request import Answer, Finish, GenerateError, Request

try:
    import openai
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
    from tenacity.wait import wait_random_exponential
except ImportError as error:
    raise ConfigError(f"the engine openai cannot be used ({error}): pip install 'shardpipe[openai]'") from error

from shardpipe.models.generate.openai_body import check_spec, messages_of, settings_of, unwrapped
from shardpipe.models.generate.openai_faults import Fault, Faults, broken

DEFAULT_URL = "http://localhost:8000/v1"
NO_KEY = "no-key"
"""Sent where the environment has none: a server of vLLM asks for none."""

FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos_token": "stop",  # of text-generation-inference, as stop_sequence
    "stop_sequence": "stop",
    "length": "length",
    "model_length": "length",  # of Mistral
    "repetition": "length",
    "content_filter": "content_filter",
}
NO_LIST = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
NAMED = 5  # models a message
NAMED_REASON = 40  # characters
log = getLogger(__name__)


class _Again(Exception):  # noqa: N818  a step of ours, no error that anyone sees
    """Another try may do."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True)
class _Seen:
    """What the last look at the server found: what is wrong, None where it is there; and when, by the loop's clock."""

    at_s: float = -math.inf
    fault: Fault | None = None


class OpenAIClient:
    """A TextEngine that asks a server. It waits for it and looks whether the model is there before anything is asked.

    first_wait_s, max_wait_s: the waits between tries grow from about one to at most the other, twofold, with jitter; a server's
    Retry-After makes one longer. connect_s: how long a connection may take.
    Raises ConfigError for settings that cannot work, and UnitError where the server is not there or refuses.
    """

    def __init__(
        self, spec: EngineSpec, *, first_wait_s: float = 1.0, max_wait_s: float = 60.0, connect_s: float = 10.0
    ) -> None:
        check_spec(spec)
        self._spec = spec
        self._base_url = base_url_of(spec)
        key = key_of(spec.api_key_env)
        self._faults = Faults(spec, self._base_url, key)
        self._connect_s = connect_s
        self._first_wait_s, self._max_wait_s = first_wait_s, max_wait_s
        self._backoff_s = wait_random_exponential(multiplier=2 * first_wait_s, max=max_wait_s, min=first_wait_s / 2)
        self._client = openai.AsyncOpenAI(api_key=key, base_url=self._base_url, max_retries=0)
        self._slots = asyncio.Semaphore(spec.max_in_flight)
        self._look = asyncio.Lock()
        self._down_since_s: float | None = None
        self._seen = _Seen()
        self._refusal: str | None = None  # of all requests
        self._loop = LoopThread("openai", self._client.close)
        try:
            self._loop.submit(self._check_served()).result()
        except BaseException:
            self.close()
            raise

    def submit(self, request: Request) -> "Future[Answer]":
        """As TextEngine; ConfigError for a setting of the request that the server's dialect has not."""
        return self._loop.submit(self._answer(request))

    def close(self) -> None:
        """End what is in flight, and the connections."""
        self._loop.close()

    async def _answer(self, request: Request) -> Answer:
        async with self._slots:
            settings = settings_of(request, self._spec)
            messages = await asyncio.to_thread(messages_of, request)
            made = await self._tried(lambda: self._ask(request, messages, settings))
        if isinstance(made, Answer):
            return made
        raise GenerateError(made.message)

    async def _tried(self, ask: Any) -> Any:  # noqa: ANN401  a coroutine function, and what it gives
        """What `ask` gives: a result, a Fault of the request's own, or the Fault that all tries ended with. UnitError for all else."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            wait=self._wait_s,
            stop=stop_after_attempt(1 + self._spec.retries),
            reraise=True,
        )
        try:
            return await retrying(self._once, ask)
        except _Again as again:
            fault = again.fault
        return Fault(fault.kind, f"{fault.message} (tried {1 + self._spec.retries} times)")

    async def _once(self, ask: Any) -> Any:  # noqa: ANN401
        while True:
            if self._refusal is not None:
                raise UnitError(self._refusal)
            made = await ask()
            if not isinstance(made, Fault):
                self._down_since_s = None
                return made
            if made.is_down:
                await self._until_there()
            if made.kind == "unit":
                self._refusal = made.message
                raise UnitError(made.message)
            if made.kind == "own":
                return made
            if made.kind == "again":
                raise _Again(made)

    def _wait_s(self, state: RetryCallState) -> float:
        outcome = state.outcome
        error = outcome.exception() if outcome is not None else None
        asked_s = (error.fault.retry_after_s or 0.0) if isinstance(error, _Again) else 0.0
        return max(min(asked_s, self._spec.unreachable_s), self._backoff_s(state))

    async def _ask(
        self, request: Request, messages: list[dict[str, Any]], settings: dict[str, Any]
    ) -> "Answer | Fault":
        timeout = openai.Timeout(request.timeout_s, connect=min(self._connect_s, request.timeout_s))
        try:
            async with asyncio.timeout(request.timeout_s):
                made: object = await self._client.chat.completions.create(
                    model=self._spec.model, messages=cast("Any", messages), extra_body=settings, timeout=timeout
                )
        except Exception as error:  # noqa: BLE001  the SDK raises whatever a broken answer makes it stumble over
            return self._faults.of(error)
        has_wrapped = self._spec.dialect == "openai" and request.guide is not None and bool(request.guide.choices)
        answer = answer_of(made, is_wrapped=has_wrapped)
        return replace(answer, message=self._faults.line(answer.message)) if isinstance(answer, Fault) else answer

    async def _until_there(self) -> None:
        """Return once the server answers anything, at once where it does; UnitError where it has not for `unreachable_s`.

        One request at a time looks; those that come after it see what it found.
        """
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        async with self._look:
            if self._seen.at_s < asked_s:
                fault = await self._looked()
                self._seen = _Seen(loop.time(), fault)
            fault = self._seen.fault
        if fault is not None:
            raise UnitError(
                f"{self._base_url} has not answered for {self._spec.unreachable_s:g} s ({fault.message}):"
                " start the server, or correct base_url"
            )

    async def _looked(self) -> Fault | None:
        """Look until the server answers; what is wrong where it has not for `unreachable_s`."""
        loop = asyncio.get_running_loop()
        wait_s = self._first_wait_s
        while isinstance(seen := await self._models(), Fault) and seen.is_down:
            if self._down_since_s is None:
                self._down_since_s = loop.time()
                log.warning("%s; waiting for it, at most %g s", seen.message, self._spec.unreachable_s)
            if loop.time() - self._down_since_s >= self._spec.unreachable_s:
                return seen
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._max_wait_s, self._connect_s)
        self._down_since_s = None
        return None

    async def _models(self) -> "list[str] | Fault":
        try:
            async with asyncio.timeout(3 * self._connect_s):
                page: object = await self._client.models.list(timeout=3 * self._connect_s)
        except Exception as error:  # noqa: BLE001
            return self._faults.of(error)
        listed = getattr(page, "data", None)
        if not isinstance(listed, list):
            return broken("a list of models is expected")
        return [str(getattr(model, "id", model)) for model in listed]

    async def _listed(self) -> "list[str] | Fault | None":
        """The models; None where the server has no such list."""
        made = await self._models()
        return None if isinstance(made, Fault) and made.status in NO_LIST else made

    async def _check_served(self) -> None:
        """Wait for the server; ConfigError where it serves other models than the one that is wanted."""
        served = await self._tried(self._listed)
        if served is None:
            log.warning("%s lists no models: the first clip shows whether %s is one", self._base_url, self._spec.model)
            return
        if isinstance(served, Fault):
            raise UnitError(f"{self._base_url}/models: {served.message}")
        if self._spec.model not in served:
            named = ", ".join(served[:NAMED]) + (f" and {len(served) - NAMED} more" if len(served) > NAMED else "")
            raise ConfigError(f"{self._base_url} does not serve {self._spec.model!r}; it serves {named or 'nothing'}")


def answer_of(made: object, *, is_wrapped: bool) -> Answer | Fault:
    """What a chat completion says; a Fault where it is none. is_wrapped: it was asked for a choice by a schema."""
    choices = getattr(made, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(first, "message", None)
    if message is None:
        said = getattr(made, "error", None)
        return broken(f"it holds no choice, but {said}" if said else "it holds no choice")
    text = text_of(getattr(message, "content", None))
    reason = getattr(first, "finish_reason", None)
    finish = FINISHES.get(reason) if isinstance(reason, str) else None
    if getattr(message, "refusal", None):
        finish = "content_filter"
    if text is None:
        return broken("its content is no text")
    if finish is None:
        return broken(f"it ends by {str(reason)[:NAMED_REASON]!r}")
    if is_wrapped:
        text = unwrapped(text) or text  # a server may not know schemas: who asked looks for the choice
    usage = getattr(made, "usage", None)
    return Answer(text, finish, _count(usage, "completion_tokens"), _count(usage, "prompt_tokens"))


def text_of(content: object) -> str | None:
    """The text of a message's content, whether it is one or a list of parts (thoughts among them left out); None for what is neither."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else "" if content is None else None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _count(usage: object, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else None


def base_url_of(spec: EngineSpec) -> str:
    """Where the server is: of the config, else OPENAI_BASE_URL, else this machine's port 8000. ConfigError for what is no such url."""
    url = spec.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "base_url holds a user or a password: put the key into the environment (api_key_env names it)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url must be an http or https url such as {DEFAULT_URL}, not {url!r}")
    return url.rstrip("/")


def key_of(env: str) -> str:
    """The key in the environment, a placeholder without one. ConfigError for one that no header can hold, which it does not show."""
    key = os.environ.get(env, "").strip() or NO_KEY
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"the environment variable {env} holds more than a key: no spaces, nothing but ASCII")
    return key

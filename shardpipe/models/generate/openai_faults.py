"""What went wrong with a request to a server, and what follows from it.

own           the request is at fault              GenerateError
unit          the config, the key or the account   UnitError
again         the server, this time                another try, at most `retries` of them; then GenerateError
unreachable   there is no server                   the same try again, once it is there; UnitError after `unreachable_s`
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

import openai

from shardpipe.models.generate.engine import EngineSpec
from shardpipe.models.generate.openai_body import MEDIA

Kind = Literal["own", "unit", "again", "unreachable"]

MAX_MESSAGE = 300
LEAST_KEY = 8  # characters of a key that is one: `EMPTY` and the like are words
PICTURE = re.compile(r"(?:data:[^;\s]*;base64,)?[A-Za-z0-9+/=_,-]{120,}")
NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout"})
"""Names in httpx and httpx2, of which the SDK has one or the other."""

TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
MAY_BE_GONE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""What a proxy says for a server that is not there."""


@dataclass(frozen=True)
class Fault:
    """message: one line, without key or pictures. status: of the answer, if there was one. retry_after_s: what the server asked for.
    is_down: the server may be gone.
    """

    kind: Kind
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    is_down: bool = False


def broken(what: str) -> Fault:
    """An answer with status 200 that is none."""
    return Fault("again", f"the server's answer is broken: {what}")


@dataclass(frozen=True)
class Faults:
    """Tells what an exception means. key: what no message may hold."""

    spec: EngineSpec
    base_url: str
    key: str = field(repr=False)

    def of(self, error: Exception) -> Fault:
        """The fault behind what the SDK (or a time-out of our own) raised."""
        if isinstance(error, openai.APIStatusError):
            return self._of_status(error)
        causes = list(_causes(error))
        if any(type(cause).__name__ in NO_CONNECTION for cause in causes):
            return Fault("unreachable", self.line(f"no connection to {self.base_url} ({causes[-1]})"), is_down=True)
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return Fault("again", "no answer in time", is_down=True)
        if isinstance(error, openai.APIConnectionError):
            return Fault("again", self.line(f"the connection broke ({causes[-1]})"), is_down=True)
        if isinstance(error, UnicodeEncodeError):
            return Fault("own", "the prompt holds half a character (a lone surrogate), which cannot be sent")
        return broken(self.line(f"{type(error).__name__}: {error}"))

    def _of_status(self, error: openai.APIStatusError) -> Fault:
        status = error.status_code
        said = self.line(f"the server answers {status}: {_said(error)}")
        if what := self._to_do(status, error):
            return Fault("unit", f"{said}; {what}" if status != HTTPStatus.UNAUTHORIZED else what, status)
        if status in TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Fault("again", said, status, retry_after_s(error.response.headers), is_down=status in MAY_BE_GONE)
        return Fault("own", said, status)

    def _to_do(self, status: int, error: openai.APIStatusError) -> str | None:
        """What the user must do before any request can be answered; None where that is not it."""
        env = self.spec.api_key_env
        if status == HTTPStatus.UNAUTHORIZED:
            return f"{self.base_url} refuses the key: set the environment variable {env} to a valid one (api_key_env names it)"
        if status == HTTPStatus.FORBIDDEN:
            return f"the key in {env} may not use model {self.spec.model} at {self.base_url}"
        if status == HTTPStatus.PAYMENT_REQUIRED or error.code == "insufficient_quota":
            return f"the account of the key in {env} has nothing left to spend at {self.base_url}"
        if status == HTTPStatus.BAD_REQUEST and f"{MEDIA} are disabled" in error.message:
            return (
                "start it with --trust-request-mm-kwargs, so that it takes the times of a video's frames; or give frames as images;"
                f" or set engine_args: {{{MEDIA}: null}}, and it takes them to be a second apart"
            )
        if status == HTTPStatus.NOT_FOUND or status < HTTPStatus.BAD_REQUEST:
            return f"check model ({self.spec.model}) and base_url ({self.base_url}, which mostly ends in /v1)"
        return None

    def line(self, text: str) -> str:
        """A message on one line, without key or pictures."""
        if len(self.key) >= LEAST_KEY:
            text = text.replace(self.key, "***")
        text = PICTURE.sub("...", text)
        text = " ".join(text.split())
        return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."


def retry_after_s(headers: Any) -> float | None:  # noqa: ANN401  of httpx or httpx2
    """The wait that a server asks for: `retry-after-ms`, or `Retry-After` as seconds or as a date; None without a usable one."""
    wait_s = _number(headers.get("retry-after-ms"))
    if wait_s is not None:
        return wait_s / 1000
    asked = headers.get("retry-after")
    wait_s = _number(asked)
    if wait_s is None and asked:
        try:
            at = parsedate_to_datetime(asked)
        except ValueError:
            return None
        wait_s = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(tz=UTC)).total_seconds()
    return None if wait_s is None else max(0.0, wait_s)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    said = body.get("message", body) if isinstance(body, dict) else body
    if isinstance(said, str):
        return said
    return error.message if said is None else json.dumps(said, default=str)

"""Errors of a remote that pass, and asking again until they do: told by what they say, whichever library raised them.

Throttling, time-outs, resets, broken bodies and a server's own faults (429, 5xx) pass. What is not there, not allowed or
asked wrongly does not.
"""

import errno
import socket
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set

T = TypeVar("T")
TRIES = 8
LONGEST_PAUSE_S = 20.0

STATUS = frozenset({408, 409, 423, 425, 429})
ANSWERS = range(100, 600)
SERVER_FAULT = 500
NOT_IMPLEMENTED = 501
CODES = frozenset(
    {
        *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"),
        *("BandwidthLimitExceeded", "RequestTimeout", "RequestTimeoutException", "InternalError"),
        *("ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict"),
        *("XAmzContentSHA256Mismatch", "BadDigest", "IncompleteBody", "InvalidPart"),
    }
)
"""S3's words for it; those of the last line are of bodies that were damaged on their way."""

NAMES = frozenset(
    {
        *("ClientConnectionError", "ClientPayloadError", "ServerTimeoutError"),  # aiohttp
        *("HTTPClientError", "ResponseParserError", "FlexibleChecksumError"),  # botocore
        *("HTTPError", "ProtocolError", "IncompleteRead", "IncompleteReadError", "ChunkedEncodingError"),
        "FSTimeoutError",
    }
)
"""Classes of libraries, or bases of them, whose errors are of the connection."""

NUMBERS = frozenset(
    {
        *(errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EPIPE, errno.ETIMEDOUT, errno.EBUSY),
        *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EAGAIN, getattr(errno, "EREMOTEIO", errno.EIO)),
    }
)
FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


class ShortAnswerError(ConnectionError):
    """A remote said that all is well, and sent another number of bytes than was asked for."""


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may succeed when it is made again."""
    causes = list(_chain(error))
    for cause in causes:
        status = _status(cause)
        if status is not None:
            return is_temporary_answer(status, _code(cause))
    if any(isinstance(cause, FOR_GOOD) or "Certificate" in type(cause).__name__ for cause in causes):
        return False
    if any(isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN for cause in causes):
        return False  # there is no such host
    return any(_is_of_connection(cause) for cause in causes)


def is_temporary_answer(status: int, code: str) -> bool:
    """The same of a refusal, by its HTTP status and S3's word for it."""
    return status in STATUS or (status >= SERVER_FAULT and status != NOT_IMPLEMENTED) or code in CODES


def patience(passes: Callable[[BaseException], bool], *, tries: int) -> dict[str, Any]:
    """What tenacity's loops are told: to try again after growing, random pauses while errors pass, so often in all."""
    wait = wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE_S)
    return {
        "retry": retry_if_exception(passes),
        "wait": wait,
        "stop": stop_after_attempt(tries),
        "reraise": True,
    }


def patiently(call: Callable[[], T], *, given_up: Event | None = None) -> T:
    """What `call` gives; asked again after growing, random pauses while its errors pass, TRIES times or until `given_up` is set."""
    again = patience(is_temporary, tries=TRIES)
    if given_up is not None:
        again |= {"stop": again["stop"] | stop_when_event_set(given_up), "sleep": sleep_using_event(given_up)}
    return Retrying(**again)(call)


def http_status(error: BaseException) -> int | None:
    """The status that a server answered with, if that is what the error is about."""
    return next((status for cause in _chain(error) if (status := _status(cause)) is not None), None)


def s3_code(error: BaseException) -> str:
    """S3's word for a refusal; empty where there is none."""
    return next((code for cause in _chain(error) if (code := _code(cause))), "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what aiohttp holds inside."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        inside = getattr(found, "os_error", None)
        if isinstance(inside, BaseException) and id(inside) not in seen:
            seen.add(id(inside))
            yield inside
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)  # botocore's, by which s3fs raises its own
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    names = ["status", "status_code"]  # aiohttp's, Azure's
    if type(error).__module__.startswith("gcsfs."):
        names.append("code")  # of what aiohttp raises for a broken body it is 400, which no server said
    said = (getattr(error, name, None) for name in names)
    return next((each for each in said if isinstance(each, int) and each in ANSWERS), None)


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _is_of_connection(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in NUMBERS:
        return True
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if type(error).__name__ == "HTTPClientError":  # botocore's, of whatever it did not expect
        inside = getattr(error, "kwargs", {}).get("error")
        return isinstance(inside, Exception) and _is_of_connection(inside)
    return any(each.__name__ in NAMES for each in type(error).__mro__)

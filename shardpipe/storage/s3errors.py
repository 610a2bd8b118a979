"""What S3's errors mean: who comes too late, what is not there, what is worth another try, what is not."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, NoCredentialsError
from botocore.parsers import ResponseParserError
from fsspec.exceptions import FSTimeoutError
from urllib3.exceptions import HTTPError

from shardpipe.core.errors import StoreError
from shardpipe.storage.backend import TransientError

EXISTS = frozenset({"PreconditionFailed", "412"})
GONE = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})
AGAIN = frozenset(
    {
        *(
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequests",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
        ),
        *("RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "OperationAborted"),
        *("ConditionalRequestConflict", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidPart"),
        *("409", "429", "500", "502", "503", "504"),
    }
)
"""Codes of refusals that pass, and of bodies that were damaged on their way."""

BROKEN = (
    *(HTTPClientError, ResponseParserError, FlexibleChecksumError, aiohttp.ClientError, HTTPError),
    *(ConnectionError, TimeoutError, asyncio.TimeoutError, FSTimeoutError, asyncio.IncompleteReadError),
)
SERVER = 500
NOT_IMPLEMENTED = 501


@contextmanager
def s3_errors() -> Iterator[None]:
    """Raise what s3fs raises as Backend says."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise _meaning(error) from error


def _meaning(error: Exception) -> Exception:
    cause = error if error.__cause__ is None else error.__cause__
    if not isinstance(cause, ClientError):
        if isinstance(cause, BROKEN):
            return TransientError(f"{type(cause).__name__}: {cause}")
        hint = ": set them as for any AWS tool (environment, ~/.aws)" if isinstance(cause, NoCredentialsError) else ""
        return StoreError(f"{type(cause).__name__}: {cause}{hint}")
    code = str(cause.response.get("Error", {}).get("Code", ""))
    status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in EXISTS:
        return FileExistsError(str(cause))
    if code in GONE:
        return FileNotFoundError(str(cause))
    if code in AGAIN or (status >= SERVER and status != NOT_IMPLEMENTED):
        return TransientError(str(cause))
    return StoreError(str(cause))


def is_code(error: Exception, *codes: str) -> bool:
    """Whether an error that `s3_errors` raised is the server's refusal with one of these codes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return cause is not None and str(cause.response.get("Error", {}).get("Code", "")) in codes

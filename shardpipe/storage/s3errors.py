"""What S3's errors mean: who comes too late, what is not there, what is worth another try, what is not."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import (
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from fsspec.exceptions import FSTimeoutError
from urllib3.exceptions import HTTPError

from shardpipe.core.errors import ConfigError, ShardpipeError, StoreError
from shardpipe.core.temporary import is_temporary_answer
from shardpipe.storage.backend import TransientError


class NoUploadError(TransientError):
    """A multipart upload is no more: completed by a request whose reply was lost, or aborted by another. A new one may go well."""


BROKEN = (
    *(HTTPClientError, ResponseParserError, FlexibleChecksumError, aiohttp.ClientError, HTTPError),
    *(
        BotoConnectionError,
        ConnectionError,
        TimeoutError,
        asyncio.TimeoutError,
        FSTimeoutError,
        asyncio.IncompleteReadError,
    ),
)
CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError)
MEANINGS: Mapping[type[Exception], frozenset[str]] = {
    NoUploadError: frozenset({"NoSuchUpload"}),
    FileExistsError: frozenset({"PreconditionFailed", "412"}),
    FileNotFoundError: frozenset({"NoSuchKey", "404", "NotFound"}),
    ConfigError: frozenset({"NoSuchBucket", "InvalidBucketName", "InvalidAccessKeyId", "SignatureDoesNotMatch"}),
}
"""Of the other codes: a condition that does not hold, what is not there, what the user can mend. All else is a StoreError."""


@contextmanager
def s3_errors() -> Iterator[None]:
    """Raise what s3fs raises as Backend says."""
    try:
        yield
    except ShardpipeError:
        raise
    except Exception as error:
        raise _meaning(error) from error


def _meaning(error: Exception) -> Exception:
    for each in (error.__cause__, error):  # s3fs raises what botocore raised as errors of its own
        if isinstance(each, ClientError):
            return _refusal(each)
        if isinstance(each, BROKEN) and not _is_unexpected(each):
            return TransientError(f"{type(each).__name__}: {each}")
        if isinstance(each, CREDENTIALS):
            return ConfigError(f"{each}: set credentials as for any AWS tool (environment, ~/.aws)")
    return StoreError(f"{type(error).__name__}: {error}")


def _is_unexpected(error: BaseException) -> bool:
    """Whether botocore says only that something went wrong, and it was nothing of the connection."""
    return type(error) is HTTPClientError and not isinstance(getattr(error, "kwargs", {}).get("error"), BROKEN)


def _refusal(cause: ClientError) -> Exception:
    code = str(cause.response.get("Error", {}).get("Code", ""))
    status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if is_temporary_answer(status, code):
        return TransientError(str(cause))
    kind = next((kind for kind, codes in MEANINGS.items() if code in codes), StoreError)
    return kind(f"there is no such bucket: {cause}" if code == "NoSuchBucket" else str(cause))


def is_code(error: Exception, *codes: str) -> bool:
    """Whether an error that `s3_errors` raised is the server's refusal with one of these codes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return cause is not None and str(cause.response.get("Error", {}).get("Code", "")) in codes

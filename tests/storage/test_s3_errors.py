"""What S3's refusals mean: the same for the root as for sources."""

import aiohttp
import pytest
from aiohttp.http_exceptions import ContentLengthError, TransferEncodingError
from botocore.exceptions import ClientError

from shardpipe.core.errors import StoreError
from shardpipe.core.temporary import is_temporary
from shardpipe.storage.backend import TransientError
from shardpipe.storage.s3errors import NoUploadError, s3_errors


def refusal(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # type: ignore[typeddict-item]


def meaning(status: int, code: str) -> type[Exception]:
    with pytest.raises((StoreError, FileNotFoundError)) as error, s3_errors():
        raise refusal(status, code)
    return error.type


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (408, "?"),
        (423, "?"),
        (425, "?"),
        (429, "?"),
        (500, "?"),
        (503, "503"),
        (400, "InvalidPart"),
        (400, "BadDigest"),
    ],
)
def test_what_passes(status: int, code: str) -> None:
    assert meaning(status, code) is TransientError
    assert is_temporary(refusal(status, code))


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (403, "AccessDenied"), (404, "NoSuchKey")])
def test_what_does_not(status: int, code: str) -> None:
    assert not issubclass(meaning(status, code), TransientError)
    assert not is_temporary(refusal(status, code))


def test_an_upload_that_is_gone_can_be_made_again() -> None:
    assert meaning(404, "NoSuchUpload") is NoUploadError


@pytest.mark.parametrize("cause", [ContentLengthError("too short"), TransferEncodingError("too short")])
def test_a_body_that_is_cut_short_passes(cause: Exception) -> None:
    """The errors that aiohttp has for a broken body carry the code 400, but no server said that."""
    error = aiohttp.ClientPayloadError("Response payload is not completed")
    error.__cause__ = cause
    assert is_temporary(error)

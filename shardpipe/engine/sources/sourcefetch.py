"""Ranges of one raw video at a remote: asked for again while its store is in trouble, whole or not at all, of one version.

What is no fault of the video (its store throttles, is away, or refuses our keys) is a StoreError, which fails the unit; what is
(it is gone, forbidden, or was replaced) is a MediaError, which becomes its row.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, TypeVar, cast

from fsspec.asyn import sync

from shardpipe.core.errors import MACHINE, MediaError, StoreError
from shardpipe.core.secrets import clean_cause
from shardpipe.core.temporary import ShortAnswerError, http_status, is_temporary, patiently, s3_code
from shardpipe.engine.sources.remotefile import RemoteFile, write_at

T = TypeVar("T")
WHOLE_BYTES = 8 << 20
HEADER_BYTES = 512
HEADERS_AHEAD = 64 << 10
KEYS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"),
        *("RequestTimeTooSkewed", "TokenRefreshRequired", "AuthorizationHeaderMalformed", "NotSignedUp"),
    }
)
"""S3's refusals that say nothing of the object that was asked for."""

CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
)
RANGE_REFUSED = 416


class SourceFetch:
    """Fetches ranges of the object at `path` of an fsspec file system; call it as `remotefile.Fetch` says.

    num_bytes, etag: of the version that is read; where answers name another etag, it was replaced meanwhile.
    """

    def __init__(self, fs: Any, path: str, *, url: str, num_bytes: int, etag: str | None) -> None:  # noqa: ANN401
        self.url, self.num_bytes, self.given_up = url, num_bytes, Event()
        self._fs, self._path, self.etag = fs, path, etag
        names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
        self._is_s3 = "s3" in names and hasattr(fs, "call_s3")
        self.threads = 4 if getattr(fs, "async_impl", False) else 1  # other clients may not be shared by threads

    def __call__(self, start: int, stop: int) -> tuple[int, bytes]:
        """As `Fetch` says."""
        return asked(lambda: self._exactly(start, stop), self.url, given_up=self.given_up)

    def whole(self, path: Path) -> None:
        """Fetch all of it into a file that is there; OSErrors are the file's own."""
        starts = range(0, self.num_bytes, WHOLE_BYTES)
        with path.open("rb+") as file, ThreadPoolExecutor(self.threads) as pool:

            def put(start: int) -> int:
                at, data = self(start, min(start + WHOLE_BYTES, self.num_bytes))
                write_at(file.fileno(), data, at)
                return len(data)

            if not starts or put(0) == self.num_bytes:
                return
            try:
                for _ in pool.map(put, starts[1:]):
                    pass
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _exactly(self, start: int, stop: int) -> tuple[int, bytes]:
        data = self._of_s3(start, stop) if self._is_s3 else self._fs.cat_file(self._path, start=start, end=stop)
        if len(data) == stop - start:
            return start, data
        if len(data) == self.num_bytes:
            return 0, data  # a server that knows no ranges
        raise ShortAnswerError(f"{len(data)} of the {stop - start} bytes from {start} on came")

    def _of_s3(self, start: int, stop: int) -> bytes:
        data, etag = sync(self._fs.loop, self._range_of_s3, start, stop)
        if self.etag is not None and etag is not None and etag.strip('"') != self.etag:
            raise MediaError(f"{self.url} was replaced while it was read (was {self.etag}, is {etag}): run again")
        return bytes(data)

    async def _range_of_s3(self, start: int, stop: int) -> tuple[bytes, str | None]:
        """As s3fs reads, but with the etag that the answer names."""
        bucket, key, version = self._fs.split_path(self._path)
        args = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
        answer = await self._fs._call_s3("get_object", **args, **({"VersionId": version} if version else {}))  # noqa: SLF001  the coroutine of `call_s3`
        try:
            return await answer["Body"].read(), answer.get("ETag")
        finally:
            answer["Body"].close()


def open_headers(fs: Any, path: str, url: str, info: Mapping[str, Any]) -> BinaryIO:  # noqa: ANN401
    """A file of which a header here and there is read, such as a tar of large members: it costs little more than those."""
    if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol) or info.get("size") is None:
        opened: BinaryIO = fs.open(path, "rb")
        return opened
    size = int(info["size"])
    fetch = SourceFetch(fs, path, url=url, num_bytes=size, etag=None)
    file: Any = RemoteFile(
        fetch,
        size,
        name=url,
        folder=None,
        ahead_bytes=HEADERS_AHEAD,
        read_bytes=HEADER_BYTES,
        threads=fetch.threads,
        given_up=fetch.given_up,
    )
    return cast("BinaryIO", file)


def asked(call: Callable[[], T], url: str, *, doing: str = "cannot read", given_up: Event | None = None) -> T:
    """What a request about a video gives (`doing` begins the message where it gives nothing); raises StoreError or MediaError as this module says, and the machine's own errors."""
    try:
        return patiently(call, given_up=given_up)
    except (MediaError, StoreError):
        raise
    except Exception as error:  # noqa: BLE001  each backend has its own errors (OSError, botocore's, aiohttp's)
        raise _meaning(error, url, doing) from clean_cause(error)


def _meaning(error: Exception, url: str, doing: str) -> Exception:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in MACHINE):
        return error
    if is_temporary(error):
        return StoreError(
            f"{url} could not be read for now, which is no fault of its own ({_told(error)}): run again when its store answers"
        )
    names = {each.__name__ for each in type(error).__mro__}
    if s3_code(error) in KEYS or names & CREDENTIALS:
        return StoreError(
            f"{url} was not read, as its store does not take our keys ({_told(error)}): set them as for any tool of that store "
            "(for S3 the environment or ~/.aws), and run again"
        )
    if http_status(error) == RANGE_REFUSED:
        return MediaError(f"{url} ends before the size that it had when it was opened: was it replaced? Run again")
    return MediaError(f"{doing} {url}: {str(error) or type(error).__name__}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

"""S3 requests through s3fs: its sessions, credentials and config, but each request by itself, and every answer checked.

whole object   GET with `Range: bytes=0-`: the answer says how many bytes the object has, so a cut one is told
rows, plan     one PUT with If-None-Match, never multipart: s3fs's own `put_file` drops the condition there
large files    parts in parallel, then one completion; whatever goes wrong, Ctrl-C too, aborts the upload
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying

from shardpipe.core.errors import ShardpipeError, StoreError
from shardpipe.core.temporary import TRIES, patience
from shardpipe.storage.backend import Head, TransientError, TriedError
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.heap import keep_freed_memory
from shardpipe.storage.inflight import IN_FLIGHT
from shardpipe.storage.s3errors import NoUploadError, is_code, s3_errors
from shardpipe.storage.store import Entry, Honours, Upload

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

T = TypeVar("T")
PART_BYTES = 16 << 20
"""16 MiB x 4 puts at full speed in 80 MiB of memory; s3fs's own 50 MiB x 10 takes 1 GiB."""

PARTS_AT_ONCE = 4
MAX_PARTS = 10_000
ABORT_TRIES = 5


class S3Backend:
    """Objects of one bucket through the s3fs file system `fs`, which is this object's own; keys are `BUCKET/KEY`, as s3fs has them."""

    protocol = "s3"
    can_create = True
    honours: Honours | None = None

    def __init__(self, fs: Any, *, part_bytes: int = PART_BYTES) -> None:  # noqa: ANN401  s3fs is untyped
        self._fs = fs
        self._part_bytes = part_bytes
        keep_freed_memory()
        fs.retries = 1  # who calls tries again, with jitter, and botocore does before

    def get(self, key: str) -> bytes:
        """See Backend."""
        return self._run(self._get(key, "bytes=0-"))[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Backend."""
        data, total = self._run(self._get(key, f"bytes={start}-{start + length - 1}"))
        if len(data) < min(length, max(0, total - start)):
            raise TransientError(f"{len(data)} of {length} bytes came, and the object has {total}")
        return data

    async def _get(self, key: str, wanted: str) -> tuple[bytes, int]:
        """(bytes, how many the whole object has)."""
        try:
            answer = await self._call("get_object", key, Range=wanted)
            async with answer["Body"] as body:
                with s3_errors():
                    data: bytes = await body.read()
        except StoreError as error:
            if is_code(error, "InvalidRange", "416"):  # an empty object, or a range beyond the end
                head = await self._head(key)
                return b"", head.size if head is not None else 0
            raise
        where, _, total = answer.get("ContentRange", "").partition("/")
        if not total.isdigit():
            raise StoreError("the server answers no ranged request: it gave no Content-Range")
        first, _, last = where.removeprefix("bytes ").partition("-")
        if len(data) != int(last) - int(first) + 1 or (wanted == "bytes=0-" and len(data) != int(total)):
            raise TransientError(f"{len(data)} bytes came of {where} of {total}")
        return data, int(total)

    def head(self, key: str) -> Head | None:
        """See Backend."""
        return self._run(self._head(key))

    async def _head(self, key: str) -> Head | None:
        try:
            answer = await self._call("head_object", key)
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age_s = max(0.0, (now - answer["LastModified"]).total_seconds())
        return Head(int(answer["ContentLength"]), str(answer["ETag"]), age_s)

    def list(self, prefix: str) -> "List[tuple[str, Entry]]":
        """See Backend."""
        bucket, _, start = prefix.partition("/")
        found: List[tuple[str, Entry]] = []
        more: dict[str, str] = {}
        while True:
            answer = self._again(lambda more=more: self._call("list_objects_v2", f"{bucket}/", Prefix=start, **more))
            contents = answer.get("Contents", ())
            found += [(f"{bucket}/{each['Key']}", Entry(int(each["Size"]), str(each["ETag"]))) for each in contents]
            if not answer.get("IsTruncated"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def create(self, key: str, data: bytes) -> None:
        """See Backend."""
        self._run(self._call("put_object", key, Body=data, IfNoneMatch="*"))

    def put(self, key: str, data: bytes) -> None:
        """See Backend."""
        self._run(self._call("put_object", key, Body=data))

    def put_file(self, key: str, file: GrowingFile, *, if_absent: bool) -> None:
        """See Backend. Parts of a growing file are sent as they come."""
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        if file.wait(self._part_bytes + 1) <= self._part_bytes:
            self._run(self._call("put_object", key, Body=file.path.read_bytes(), **condition))
        else:
            self._run(self._upload(key, file, condition))

    async def _upload(self, key: str, file: GrowingFile, condition: dict[str, str]) -> None:
        begun = asyncio.ensure_future(self._call("create_multipart_upload", key))
        try:
            upload_id = (await asyncio.shield(begun))["UploadId"]
            parts = await self._parts(key, upload_id, file)
            await self._complete(key, upload_id, parts, condition)
        except BaseException:
            await self._abort(key, begun)
            raise

    async def _parts(self, key: str, upload_id: str, file: GrowingFile) -> "List[dict[str, Any]]":
        """Upload all parts, some at once; the first error, or being cancelled, ends the others."""
        at_most = await asyncio.to_thread(file.wait) if file.at_most is None else file.at_most
        part_bytes = max(self._part_bytes, -(-at_most // MAX_PARTS))
        gate = asyncio.Semaphore(PARTS_AT_ONCE)
        tasks: List[asyncio.Task[dict[str, Any]]] = []
        with file.path.open("rb") as source:
            try:
                start, there = 0, await asyncio.to_thread(file.wait, part_bytes)
                while start < there:
                    await gate.acquire()
                    if any(task.done() and task.exception() for task in tasks):
                        break
                    data = os.pread(source.fileno(), min(part_bytes, there - start), start)
                    task = asyncio.create_task(self._part(key, upload_id, len(tasks) + 1, data))
                    task.add_done_callback(lambda _: gate.release())
                    tasks.append(task)
                    start += len(data)
                    there = await asyncio.to_thread(file.wait, start + part_bytes)
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _part(self, key: str, upload_id: str, number: int, data: bytes) -> dict[str, Any]:
        args = {"UploadId": upload_id, "PartNumber": number, "Body": data}
        answer = await _tried(lambda: self._call("upload_part", key, **args))
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def _complete(
        self, key: str, upload_id: str, parts: Sequence[dict[str, Any]], condition: dict[str, str]
    ) -> None:
        args = {"UploadId": upload_id, "MultipartUpload": {"Parts": list(parts)}}
        try:
            await self._call("complete_multipart_upload", key, **args, **condition)
        except StoreError as error:
            if not condition or not is_code(error, "NotImplemented", "501"):
                raise
            await self._call("complete_multipart_upload", key, **args)

    async def _abort(self, key: str, begun: "asyncio.Future[Any]") -> None:
        """Free the parts, as far as that can be done now, whatever interrupts it; `doctor` finds what could not."""

        async def abort() -> None:
            with suppress(FileNotFoundError, ShardpipeError):
                upload_id = (await begun)["UploadId"]
                await _tried(lambda: self._call("abort_multipart_upload", key, UploadId=upload_id), tries=ABORT_TRIES)

        aborted = asyncio.ensure_future(abort())
        try:
            await asyncio.shield(aborted)
        except asyncio.CancelledError:
            await aborted
            raise

    def delete(self, key: str) -> None:
        """See Backend."""
        self._run(self._call("delete_object", key))

    def uploads(self, prefix: str) -> Sequence[Upload]:
        """See Backend."""
        bucket, _, start = prefix.partition("/")
        found: List[Upload] = []
        more: dict[str, str] = {}
        while True:
            answer = self._again(
                lambda more=more: self._call("list_multipart_uploads", f"{bucket}/", Prefix=start, **more)
            )
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            for each in answer.get("Uploads", ()):
                age_s = max(0.0, (now - each["Initiated"]).total_seconds())
                found.append(Upload(f"{bucket}/{each['Key']}", each["UploadId"], age_s))
            if not answer.get("IsTruncated"):
                return found
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See Backend."""
        with suppress(NoUploadError, FileNotFoundError):
            self._run(self._call("abort_multipart_upload", key, UploadId=upload_id))

    def complete_if_absent(self, key: str, data: bytes) -> None:
        """For the probe alone: an upload of one part, completed on condition that the object is absent; FileExistsError."""
        self._run(self._complete_if_absent(key, data))

    async def _complete_if_absent(self, key: str, data: bytes) -> None:
        begun = asyncio.ensure_future(self._call("create_multipart_upload", key))
        try:
            upload_id = (await asyncio.shield(begun))["UploadId"]
            part = await self._part(key, upload_id, 1, data)
            await self._complete(key, upload_id, [part], {"IfNoneMatch": "*"})
        except BaseException:
            await self._abort(key, begun)
            raise

    async def _call(self, name: str, full: str, **args: Any) -> Any:  # noqa: ANN401  as botocore answers
        """One request; `full` is `BUCKET/KEY`, or `BUCKET/` for requests of the bucket."""
        bucket, _, key = full.partition("/")
        named = {"Bucket": bucket, **({"Key": key} if key else {})}
        with s3_errors():
            return await self._fs._call_s3(name, **named, **args)  # noqa: SLF001  the coroutine of its `call_s3`

    def _again(self, call: Any) -> Any:  # noqa: ANN401  a page of a listing is tried by itself
        return self._run(_tried(call))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return IN_FLIGHT.run(work, self._fs.loop)


async def _tried(call: Any, *, tries: int = TRIES) -> Any:  # noqa: ANN401
    """The answer of a request that is a part of something larger, made again by itself; TriedError in the end."""
    try:
        async for attempt in AsyncRetrying(**patience(_passes, tries=tries)):
            with attempt:
                return await call()
    except NoUploadError:
        raise
    except TransientError as error:
        raise TriedError(str(error)) from error
    raise AssertionError("the last attempt returns or raises")


def _passes(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, NoUploadError)

"""An HTTP proxy between an S3 client and its server, that counts what passes and, where rules say so, harms it.

It stands in a thread of the test's process: rules are functions of the test, and what was asked is read where the test is.
Requests keep their Host, which is signed. Bodies of requests are taken whole before anything is passed on.
"""

import asyncio
import io
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from support.s3_faults import FAULTS, Fault, Rules
from support.s3_requests import WRITES, Asked, RequestKind, kind_of, query_of, signed, split_path
from support.s3_servers import REGION, S3Server
from support.stale_lists import History, Listed, answer, parse
from yarl import URL

CHUNK_BYTES = 1 << 18
OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te", "upgrade"})
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
CODES: dict[str, str] = {
    "403": "AccessDenied", "404": "NoSuchUpload", "409": "ConditionalRequestConflict", "500": "InternalError", "503": "SlowDown",
}  # fmt: skip


@dataclass(frozen=True)
class Traffic:
    """Requests of one kind, and the bytes of their bodies and of their answers."""

    requests: int
    up: int
    down: int


@dataclass(frozen=True)
class _Lag:
    requests: int
    seconds: float


class S3Proxy:
    """Proxy of one server, from here to `stop`. `asked` is what has passed, in order of arrival.

    `url` is its endpoint; `server` is the server as seen through it.
    """

    def __init__(self, server: S3Server, *, stall_s: float = 5.0) -> None:
        self.asked: list[Asked] = []
        self._behind = server
        self._stall_s = stall_s
        self._rules = Rules()
        self._strips = False
        self._lag: _Lag | None = None
        self._histories: dict[str, History] = {}
        self._of_kind: Counter[RequestKind] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3-proxy", daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        self.server = server.at(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Close it; what is under way is cut."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fault(self, fault: Fault, when: Callable[[Asked], bool] = lambda _: True, *, times: int | None = None) -> None:
        """Do this to the requests that `when` holds for, to `times` of them at most. Rules are asked in order."""
        self._rules.add(fault, when, times)

    def faults_at_random(
        self,
        *,
        seed: int,
        rate: float = 0.05,
        faults: Sequence[Fault] = FAULTS,
        when: Callable[[Asked], bool] = lambda _: True,
    ) -> None:
        """Do one of these to this part of the requests, drawn in order of arrival."""
        self._rules.add_random(faults, when, rate, seed)

    def no_faults(self) -> None:
        """Forget the rules."""
        self._rules.clear()

    def strip_conditions(self, *, strips: bool = True) -> None:
        """Make it a store that ignores If-None-Match: requests are passed on without, signed anew."""
        self._strips = strips

    def delay_lists(self, *, requests: int = 0, seconds: float = 0.0) -> None:
        """From now on LIST shows what there was so many requests, and so many seconds, before; never what was before now."""
        self._lag = _Lag(requests, seconds) if requests or seconds else None
        self._histories = {}

    def traffic(self) -> dict[RequestKind, Traffic]:
        """What passed so far, by kind."""
        found: dict[RequestKind, Traffic] = {}
        for each in list(self.asked):
            seen = found.get(each.kind, Traffic(0, 0, 0))
            found[each.kind] = Traffic(seen.requests + 1, seen.up + each.up, seen.down + each.down)
        return found

    def forget(self) -> None:
        """Count from here on."""
        self.asked = []

    async def _open(self) -> str:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._runner = web.ServerRunner(
            web.Server(self._handle, auto_decompress=False, access_log=None), shutdown_timeout=0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = await request.content.read()
        asked = self._note(request, headers, len(body))
        fault = self._rules.choose(asked)
        asked.fault = fault or ""
        if fault in CODES:
            return _refusal(asked, int(fault), CODES[fault])
        if fault == "reset":
            return _reset(request)
        if fault == "late" or (fault == "stall" and asked.kind not in ("get", "get range")):
            await asyncio.sleep(self._stall_s)
            if fault == "stall":
                return _reset(request)
        if asked.kind == "list" and self._lag:
            return await self._old_list(asked)
        if self._lag and asked.bucket not in self._histories and asked.kind in WRITES:
            await self._remember(asked)
        url = self._behind.endpoint + request.raw_path
        if self._strips and "if-none-match" in headers:
            del headers["if-none-match"]
            headers = self._signed(asked.method, url, headers, body)
        return await self._pass_on(request, asked, url, {k: v for k, v in headers.items() if k not in OF_ONE_HOP}, body)

    async def _pass_on(
        self, request: web.BaseRequest, asked: Asked, url: str, headers: dict[str, str], body: bytes
    ) -> web.StreamResponse:
        where = URL(url, encoded=True)
        data = io.BytesIO(body) if body or asked.method in ("PUT", "POST") else None
        async with self._session.request(
            asked.method, where, headers=headers, data=data, allow_redirects=False
        ) as reply:
            if self._lag and asked.kind in WRITES and reply.ok:
                await self._remember(asked)
            asked.status = reply.status
            if asked.fault == "lost":
                await reply.read()
                asked.status = 0
                return _reset(request)
            names = ((name, value) for name, value in reply.headers.items() if name.lower() != "transfer-encoding")
            out = web.StreamResponse(status=reply.status, reason=reply.reason, headers=dict(names))
            if asked.fault in ("cut", "short", "stall") and reply.ok:
                return await self._half(request, asked, out, await reply.read())
            await out.prepare(request)
            async for chunk in reply.content.iter_chunked(CHUNK_BYTES):
                asked.down += len(chunk)
                await out.write(chunk)
            await out.write_eof()
            return out

    async def _half(
        self, request: web.BaseRequest, asked: Asked, out: web.StreamResponse, body: bytes
    ) -> web.StreamResponse:
        half = body[: len(body) // 2]
        asked.down += len(half)
        if asked.fault == "short":
            out.content_length = len(half)
        await out.prepare(request)
        await out.write(half)
        if asked.fault == "short":
            await out.write_eof()
            return out
        if asked.fault == "stall":
            await asyncio.sleep(self._stall_s)
        if request.transport:
            request.transport.close()
        return out

    def _note(self, request: web.BaseRequest, headers: dict[str, str], num_bytes: int) -> Asked:
        raw_path, _, raw_query = request.raw_path.partition("?")
        (bucket, key), query = split_path(raw_path), query_of(raw_query)
        kind = kind_of(request.method, key, query, headers)
        asked = Asked(
            len(self.asked),
            self._of_kind[kind],
            kind,
            request.method,
            bucket,
            key,
            query,
            headers,
            time.time(),
            num_bytes,
        )
        self._of_kind[kind] += 1
        self.asked.append(asked)
        return asked

    def _signed(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        keys = {"access_key": self._behind.access_key, "secret_key": self._behind.secret_key, "region": REGION}
        return signed(method, url, headers, body, **keys)

    async def _old_list(self, asked: Asked) -> web.Response:
        if asked.bucket not in self._histories:
            await self._remember(asked)
        lag = self._lag or _Lag(0, 0)
        there = self._histories[asked.bucket].before(asked.n - lag.requests, asked.when - lag.seconds)
        body = answer(asked.bucket, there, asked.query)
        asked.status, asked.down = 200, len(body)
        return web.Response(body=body, content_type="application/xml")

    async def _remember(self, asked: Asked) -> None:
        """Add what the bucket holds now to its history."""
        objects: dict[str, Listed] = {}
        token: str | None = ""
        n, when = (asked.n, asked.when) if asked.bucket not in self._histories else (len(self.asked), time.time())
        while token is not None:
            more = f"&continuation-token={URL.build(query={'t': token}).raw_query_string[2:]}" if token else ""
            url = f"{self._behind.endpoint}/{asked.bucket}?list-type=2{more}"
            headers = self._signed("GET", url, {"host": URL(url).authority}, b"")
            async with self._session.get(URL(url, encoded=True), headers=headers) as reply:
                page, token = parse(await reply.read())
                objects |= page
        self._histories.setdefault(asked.bucket, History()).add(n, when, objects)


def _refusal(asked: Asked, status: int, code: str) -> web.Response:
    asked.status = status
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>by the test</Message></Error>"
    body = b"" if asked.method == "HEAD" else text.encode()
    return web.Response(status=status, body=body, content_type="application/xml")


def _reset(request: web.BaseRequest) -> web.Response:
    """End the connection with a reset; the answer that is returned goes nowhere."""
    if request.transport:
        own: socket.socket = request.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        request.transport.abort()
    return web.Response()

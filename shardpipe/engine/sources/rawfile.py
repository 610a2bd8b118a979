"""A raw video as something to read: a path, a remote file, or a member of a tar; refused if it was replaced since listed."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from shardpipe.core.errors import MACHINE, MediaError, StoreError
from shardpipe.core.filecache import FileCache
from shardpipe.core.fingerprint import fingerprint
from shardpipe.core.secrets import clean_cause
from shardpipe.engine.sources.cutplan import Times
from shardpipe.engine.sources.lastread import LastRead
from shardpipe.engine.sources.remotefile import AHEAD_BYTES, READ_BYTES, RemoteFile
from shardpipe.engine.sources.sourcefetch import SourceFetch, asked
from shardpipe.engine.sources.sourceplace import locate
from shardpipe.engine.sources.sources import Found, identity_of
from shardpipe.media.glance import glance
from shardpipe.media.source import MediaInput

WASTE = 64
"""Of a part of a longer video no more than the WASTE-th part is read ahead: where the part ends, that was in vain."""

LEAST_READ = 4 << 10
ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
"""A byte of a file name that is no UTF-8, as a listing writes it."""


def part_label(part: Mapping[str, Any]) -> str:
    """A name for a part of a video in messages: its url, and which part."""
    return f"{part['url']}#{part['part']}" if part["part"] else str(part["url"])


@contextmanager
def open_source(
    part: Mapping[str, Any],
    folder: Path | None = None,
    cache: FileCache | None = None,
    last: LastRead | None = None,
) -> Iterator[MediaInput]:
    """A part's video as media input: a path, or a seekable file; raises MediaError if it is gone or was replaced.

    folder: where a remote one's bytes lie while it is open; None: in memory. cache: keeps whole copies of remote ones. last: what is known of
    it from the part before. What the body raises becomes StoreError where the
    video's store was at fault, also where FFmpeg made something else of it.
    """
    container, url = part["container"], part["container"] or part["url"]
    try:
        fs, path = locate(url)
    except Exception as exc:  # noqa: BLE001  an unknown scheme, a package that is not installed: each its own error
        raise MediaError(f"cannot open {url}: {exc}{_hint(url)}") from clean_cause(exc)
    local = path if _is_local(fs) else None
    info = _info(fs, path, url, is_local=local is not None)
    if info.get("type", "file") != "file":
        kind = "a folder" if info["type"] == "directory" else "a pipe, a socket or a device"
        raise MediaError(f"{url} is no file but {kind}, and cannot be read as a video")
    if container is None and url.lower().endswith(".tar"):
        raise MediaError(
            f"{url} cannot be read to its end as a tar: what videos follow in it is unknown "
            "(a tar that a list names is not opened: give it as a source of its own)"
        )
    found = identity_of(info)
    if part["etag"] is not None and found != part["etag"]:
        raise MediaError(
            f"{url} was replaced since it was listed (was {part['etag']}, is {found}): "
            "give it another name, and add it with `run --add-sources`"
        )
    if local is not None:
        with _open_local(local, part) as media:
            yield media
        return
    fetch = _fetch(fs, path, url, info, found)
    with ExitStack() as stack:
        if cache is not None and found is not None:
            key = fingerprint([url, fetch.num_bytes, found])[:32]
            copy = stack.enter_context(cache.use(key, fetch.num_bytes, fetch.whole))
            if copy is not None:
                yield stack.enter_context(_open_local(str(copy), part))
                return
        yield stack.enter_context(_open_remote(part, fetch, folder, last))


@contextmanager
def _open_remote(
    part: Mapping[str, Any], fetch: SourceFetch, folder: Path | None, last: LastRead | None
) -> Iterator[MediaInput]:
    with _remote(part, fetch, folder, last) as file:
        try:
            yield cast("BinaryIO", file)
        except Exception as error:
            if file.failure is not None and not isinstance(error, StoreError):
                raise file.failure from error
            raise
    if file.failure is not None:
        raise file.failure


@contextmanager
def _open_local(path: str, part: Mapping[str, Any]) -> Iterator[MediaInput]:
    if part["container"] is None:
        yield Path(path)
        return
    try:
        inner = Path(path).open("rb")  # noqa: SIM115  the slice closes it
    except OSError as exc:
        raise MediaError(f"cannot open {part['container']}: {exc}") from exc
    with Slice(inner, part["offset"], part["size"], name=part["url"]) as file:
        yield cast("BinaryIO", file)


def _fetch(fs: Any, path: str, url: str, info: Mapping[str, Any], etag: str | None) -> SourceFetch:  # noqa: ANN401
    if info.get("size") is None:
        raise MediaError(
            f"{url}: its server does not say how large it is, so it cannot be read by ranges: copy it to a store"
        )
    return SourceFetch(fs, path, url=url, num_bytes=int(info["size"]), etag=etag)


def _remote(part: Mapping[str, Any], fetch: SourceFetch, folder: Path | None, last: LastRead | None) -> RemoteFile:
    """A remote video, or a member of a remote tar. What is read ahead of a part of one is small beside the part."""
    size = fetch.num_bytes if part["container"] is None else part["size"]
    is_whole = part["start_edge_s"] is None and part["end_edge_s"] is None
    share = size if is_whole else int(part["cost"] or 0)
    version = (part["url"], part["container"], fetch.num_bytes, fetch.etag)
    is_kept = last is not None and not is_whole and fetch.etag is not None
    return RemoteFile(
        fetch,
        size,
        name=part["url"],
        folder=folder,
        offset=part["offset"] if part["container"] is not None else 0,
        ahead_bytes=AHEAD_BYTES if is_whole else min(AHEAD_BYTES, share // WASTE),
        read_bytes=READ_BYTES if is_whole else min(READ_BYTES, max(LEAST_READ, share // (4 * WASTE))),
        threads=fetch.threads,
        given_up=fetch.given_up,
        known=last.of(version) if last is not None and is_kept else (),
        keep=partial(last.keep, version) if last is not None and is_kept else None,
    )


def _info(fs: Any, path: str, url: str, *, is_local: bool) -> dict[str, Any]:  # noqa: ANN401
    """What a store says of a file; MediaError where there is none, StoreError where the store does not answer."""
    if not is_local:
        info: dict[str, Any] = asked(lambda: fs.info(path), url, doing="cannot open")
        return info
    try:
        info = fs.info(path)
    except OSError as exc:
        if exc.errno in MACHINE:
            raise
        raise MediaError(f"cannot open {url}: {exc}{_hint(url)}") from exc
    return info


def _hint(url: str) -> str:
    return " (its name is no valid UTF-8: rename it)" if ESCAPED.search(url) else ""


def _is_local(fs: Any) -> bool:  # noqa: ANN401
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


class Slice(io.RawIOBase):
    """A range of a seekable file as a file of its own: a member of a tar."""

    def __init__(self, inner: BinaryIO, offset: int, size: int, *, name: str) -> None:
        self.name = name
        self._inner, self._offset, self._size, self._at = inner, offset, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As io says."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """As io says."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As io says."""
        left = max(0, self._size - self._at)
        self._inner.seek(self._offset + self._at)
        data = self._inner.read(left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the whole."""
        if not self.closed:
            self._inner.close()
        super().close()


def times_reader() -> Callable[[Found], Times | None]:
    """What `plan_units` asks of each video: when it begins and how long it is, by a glance at its header."""

    def times_of(video: Found) -> Times | None:
        part = {
            "url": video.url,
            "container": video.container,
            "offset": video.offset,
            "size": video.size,
            "etag": None,
            "start_edge_s": 0.0,
            "end_edge_s": None,
            "cost": 0.0,
        }
        try:
            with open_source(part) as media:
                found = glance(media)
        except Exception:  # noqa: BLE001  each backend has its own errors; the cut meets this one again, and tells it
            return None
        return None if found is None else Times(*found)

    return times_of

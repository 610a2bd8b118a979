"""A raw video as something to read: a path, a remote file, or a member of a tar; refused if it was replaced since listed."""

import io
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from shardpipe.core.errors import MACHINE, MediaError
from shardpipe.core.secrets import clean_cause
from shardpipe.engine.cutplan import Times
from shardpipe.engine.sources import Found, identity_of, locate
from shardpipe.media.probe import probe

REMOTE_BLOCK = 8 << 20
ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
"""A byte of a file name that is no UTF-8, as a listing writes it."""


def part_label(part: Mapping[str, Any]) -> str:
    """A name for a part of a video in messages: its url, and which part."""
    return f"{part['url']}#{part['part']}" if part["part"] else str(part["url"])


def open_source(part: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """A part's video as media input: a path, or a seekable file; raises MediaError if it is gone or was replaced."""
    container, url = part["container"], part["container"] or part["url"]
    try:
        fs, path = locate(url)
        info = fs.info(path)
    except Exception as exc:  # each backend has its own errors (OSError, botocore's, aiohttp's)
        if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in MACHINE):
            raise
        hint = " (its name is no valid UTF-8: rename it)" if ESCAPED.search(url) else ""
        raise MediaError(f"cannot open {url}: {exc}{hint}") from clean_cause(exc)
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
    local = path if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)) else None
    if container is None and local is not None:
        return nullcontext(Path(local))
    opened: Callable[[], BinaryIO] = lambda: fs.open(path, "rb", block_size=REMOTE_BLOCK)  # noqa: E731
    if container is None:
        return opened()
    return Slice(opened(), part["offset"], part["size"], name=part["url"])


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

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any writable buffer
        """As io says."""
        self._inner.seek(self._offset + self._at)
        data = self._inner.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the whole."""
        if not self.closed:
            self._inner.close()
        super().close()


def times_reader() -> Callable[[Found], Times | None]:
    """What `plan_units` asks of each video: when it begins and how long it is, from its header."""

    def times_of(video: Found) -> Times | None:
        part = {
            "url": video.url,
            "container": video.container,
            "offset": video.offset,
            "size": video.size,
            "etag": None,
        }
        try:
            with open_source(part) as media:
                facts = probe(media)
        except Exception:  # noqa: BLE001  each backend has its own errors; the cut meets this one again, and tells it
            return None
        return Times(facts.start_s, facts.duration_s)

    return times_of

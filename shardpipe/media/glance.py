"""When a video begins and how long it is, by what its header says: a few kilobytes are read, and none of it is proved.

An mp4 or mov says so in its movie header; other containers are opened by FFmpeg, which is told to look no further than it must.
"""

import io
import struct
from typing import BinaryIO, cast

import av

from shardpipe.media.mp4box import HEADER, LARGE_HEADER
from shardpipe.media.source import MediaInput, input_name, open_file, open_media

SHARE = 11
"""At most the SHARE-th part of a video is read."""

LEAST_BYTES = 16 << 10
"""Smaller videos are not looked at."""

SLOWEST = 250.0
"""Bytes a second: a video that has fewer is not as long as it says."""

ISO = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid", b"meta", b"sidx"})
PIECE = 256
MAX_BOXES = 64


class _Sparing(io.RawIOBase):
    """A file of which no more than so many bytes may be read: from then on it seems to be at its end."""

    def __init__(self, file: BinaryIO, name: str, left: int) -> None:
        self.name, self.left, self._file = name, left, file

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As io says."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As io says."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """As io says."""
        data = self._file.read(-1 if size is None else size) if self.left > 0 else b""
        self.left -= len(data)
        return data


def glance(inp: MediaInput) -> tuple[float, float] | None:
    """(start, duration) in seconds, about; None where a glance does not tell. Raises MediaError for what is no video."""
    with open_file(inp) as file:
        num_bytes = file.seek(0, io.SEEK_END)
        if num_bytes < LEAST_BYTES:
            return None
        sparing = _Sparing(file, input_name(inp), num_bytes // SHARE)
        told = _movie(sparing, num_bytes)
        if told is None:
            file.seek(0)
            told = _container(cast("BinaryIO", sparing), num_bytes)
            told = told if sparing.left > 0 else None
    return None if told is None or told[1] <= 0 or told[1] * SLOWEST > num_bytes else told


def _movie(file: _Sparing, num_bytes: int) -> tuple[float, float] | None:
    """What the movie header box of an mp4 or mov says; None if there is none, or it says nothing."""
    at = 0
    piece, piece_at = b"", 0
    for _ in range(MAX_BOXES):
        if at - piece_at > len(piece) - LARGE_HEADER:
            file.seek(min(at, num_bytes))
            piece, piece_at = file.read(PIECE), at
        here = piece[at - piece_at :]
        if len(here) < LARGE_HEADER:
            return None
        size, kind = struct.unpack_from(">I4s", here)
        size = struct.unpack_from(">Q", here, HEADER)[0] if size == 1 else size
        if kind == b"mvhd":
            return _mvhd(here[HEADER:])
        if kind not in ISO or size < HEADER:
            return None
        at += HEADER if kind == b"moov" else size
    return None


def _mvhd(data: bytes) -> tuple[float, float] | None:
    fields = ">12xII" if data[:1] == b"\0" else ">20xIQ"
    if len(data) < struct.calcsize(fields):
        return None
    scale, duration = struct.unpack_from(fields, data)
    unknown = (1 << 32) - 1 if data[:1] == b"\0" else (1 << 64) - 1
    return (0.0, duration / scale) if scale and duration not in (0, unknown) else None


def _container(file: BinaryIO, num_bytes: int) -> tuple[float, float] | None:
    """What FFmpeg says of a container once it has read its header, and for some its end; None where it can only guess."""
    sparing = {
        "probesize": "32",
        "analyzeduration": "0",
        "fpsprobesize": "0",
        "duration_probesize": str(num_bytes // 64),
    }
    with open_media(
        file, quick=True, options=sparing, buffer_bytes=min(32 << 10, max(1 << 10, num_bytes // 256))
    ) as container:
        duration = container.duration
        if duration is None or not container.streams.video:
            return None
        start = container.start_time or 0
        if container.format.name.startswith("matroska"):  # without an index each part would be read from the beginning
            container.seek(start + duration // 2)
        return start / av.time_base, duration / av.time_base

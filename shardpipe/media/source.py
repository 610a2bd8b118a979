"""Open a video safely: only plain media containers, and only the bytes that were handed in.

FFmpeg has demuxers that open further files or addresses: playlists (hls, dash, sdp), concat scripts, image
sequences, `mov` data references. Three walls stand here, each of which would do: FFmpeg never sees a file name or
opens a file itself (it reads through a Python object), formats are a short list, and every request to open
anything else is refused.
"""

import io
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from shardpipe.core.errors import MACHINE, MediaError

MediaInput = str | Path | bytes | BinaryIO
"""A local path, a video's bytes, or a seekable binary file object."""

FORMATS = ("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "ivf")
"""FFmpeg demuxers that may be used. All read one file, none follows references (mov's are off by default)."""

READ_BYTES = 1 << 17
MAX_PIXELS = 1 << 26
"""The largest picture that is decoded (8192x8192): a header of garbage must not allocate gigabytes."""

NOT_SHOWN = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails


class _Bytes:
    """What FFmpeg sees of an input: its bytes, and no name that could be guessed from or expanded.

    It keeps a place of its own: a video may be open twice over one file object.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = file.tell()
        self._has_failed = False

    def read(self, size: int) -> bytes:
        """The next bytes. After an error, which PyAV raises as soon as FFmpeg returns to it, the file is at its end."""
        if self._has_failed:
            return b""
        try:
            self._file.seek(self._at)
            data = self._file.read(size)
        except BaseException:
            self._has_failed = True
            raise
        self._at += len(data)
        return data

    def tell(self) -> int:
        """Where the next bytes come from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new place; -1, by which FFmpeg knows an error, where a damaged header leads to no place at all."""
        try:
            if whence == io.SEEK_CUR:
                offset, whence = self._at + offset, io.SEEK_SET
            self._at = self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1
        return self._at


class _RefusedError(PermissionError):
    """FFmpeg asked for another file."""


def _refuse(url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise _RefusedError(f"it refers to another file ({url!r:.80}), and only a video's own bytes are read")


def input_name(inp: MediaInput) -> str:
    """How messages call an input: its path, its file's name, or its size."""
    if isinstance(inp, bytes):
        return f"{len(inp)} bytes in memory"
    if isinstance(inp, str | Path):
        return str(inp)
    return str(getattr(inp, "name", "a file object"))


@contextmanager
def open_file(inp: MediaInput) -> Iterator[BinaryIO]:
    """A seekable binary file of an input, at its start; closed at the end if it was opened here. Raises MediaError."""
    if isinstance(inp, bytes):
        yield io.BytesIO(inp)
    elif isinstance(inp, str | Path):
        try:
            if not stat.S_ISREG(Path(inp).stat().st_mode):
                raise MediaError(f"{inp} is no regular file; give the path of a video")
            file = Path(inp).open("rb")  # noqa: SIM115  closed below, outside this try
        except OSError as error:
            raise MediaError(f"cannot open {inp}: {error.strerror or error}") from error
        with file:
            yield file
    else:
        inp.seek(0)
        yield inp


@contextmanager
def media_errors(doing: str) -> Iterator[None]:
    """Turn what FFmpeg raises while it reads or writes into a MediaError that starts with `doing`.

    A full disk is no fault of the video: that stays the OSError that it is.
    """
    try:
        yield
    except (av.FFmpegError, _RefusedError) as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        raise MediaError(f"{doing}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def open_media(
    inp: MediaInput, *, quick: bool = False, options: Mapping[str, str] | None = None, buffer_bytes: int | None = None
) -> Iterator[InputContainer]:
    """The opened container of a video, closed at the end.

    `quick` does not decode a first frame to complete the streams' facts (pix_fmt may be missing), which for a short
    720p clip costs as much as its next five frames: for who only decodes. options: more of FFmpeg's for a container.
    buffer_bytes: read at once; by default what the file object says of itself (`read_bytes`), else READ_BYTES.

    Raises MediaError for anything but a plain media container. Errors inside the `with` body pass as they are:
    wrap reads in `media_errors`.
    """
    name = input_name(inp)
    with open_file(inp) as file:
        at_once = buffer_bytes or int(getattr(file, "read_bytes", READ_BYTES))
        if not file.read(1):
            raise MediaError(f"{name} is empty: there is no video in it")
        file.seek(0)
        with media_errors(f"{name} is no video that can be opened (it must be one of {', '.join(FORMATS)})"):
            container = av.open(
                _Bytes(file),
                "r",
                container_options={
                    **(options or {}),
                    "format_whitelist": ",".join(FORMATS),
                    "protocol_whitelist": "none",
                },
                options={"max_pixels": str(MAX_PIXELS), **({"skip_frame": "all"} if quick else {})},
                metadata_errors="replace",
                buffer_size=at_once,
                io_open=_refuse,
            )
        try:
            yield container
        finally:
            container.close()


def video_stream(container: InputContainer) -> VideoStream:
    """The video stream that is used: of those with a decoder, one marked default before one that is not, then the
    largest picture, then the first. Pictures attached to music, still images and thumbnails are never video.

    It decodes on one thread, and the container's other streams are not read. Raises MediaError where there is none.
    """
    found = [s for s in container.streams.video if _decodes(s) and not s.disposition & NOT_SHOWN]
    if not found:
        held = ", ".join(_described(s) for s in container.streams) or "none"
        raise MediaError(f"there is no video stream that can be decoded (its streams: {held})")
    best = max(found, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))
    best.thread_count = 1
    best.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return best


def _described(stream: Stream) -> str:
    if stream.type != "video":
        return str(stream.type)
    return "a still picture" if stream.disposition & NOT_SHOWN else "video of an unknown codec"


def _decodes(stream: VideoStream) -> bool:
    context: object = stream.codec_context  # None where FFmpeg has no decoder, whatever PyAV's types say
    return context is not None

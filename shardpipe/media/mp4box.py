"""The boxes of an mp4 that was just written: when its frames are shown, and small corrections (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError

HEADER = 8
LARGE_HEADER = 16


@dataclass(frozen=True)
class Box:
    """A box's type, and where its content lies in the data that was searched."""

    kind: bytes
    begin: int
    end: int


@dataclass(frozen=True)
class Track:
    """The video track of a written clip.

    pts: int64 [N], sorted, ticks of `timescale`, edit list applied. is_sync: bool [N] in order of decoding.
    duration: ticks, as the track's last edit says. num_bytes: of all samples. num_read: where FFmpeg stops to read.
    """

    pts: NDArray[np.int64]
    is_sync: NDArray[np.bool_]
    timescale: int
    duration: int
    num_bytes: int
    num_read: int


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes in data[begin:end]."""
    end = len(data) if end is None else end
    while begin + HEADER <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        header = HEADER
        if size == 1:
            size = struct.unpack_from(">Q", data, begin + HEADER)[0]
            header = LARGE_HEADER
        if size < header:
            return
        yield Box(kind, begin + header, min(begin + size, end))
        begin += size


def find(data: bytes, path: str, within: Box | None = None) -> Box | None:
    """The first box at a path like `moov/trak/mdia`."""
    found = within
    for kind in path.split("/"):
        begin, end = (found.begin, found.end) if found else (0, None)
        found = next((box for box in boxes(data, begin, end) if box.kind == kind.encode()), None)
        if found is None:
            return None
    return found


def read_moov(path: Path) -> tuple[int, bytes]:
    """(where the moov box begins in the file, the box with its header). Raises MediaError if there is none."""
    with path.open("rb") as file:
        at = 0
        while len(header := file.read(LARGE_HEADER)) >= HEADER:
            size, kind = struct.unpack_from(">I4s", header)
            if size == 1 and len(header) == LARGE_HEADER:
                size = struct.unpack_from(">Q", header, HEADER)[0]
            file.seek(at)
            if kind == b"moov":
                return at, file.read(size)
            at += max(size, HEADER)
            file.seek(at)
    raise MediaError(f"{path.name} was not written whole: it has no moov box")


def video_trak(moov: bytes) -> Box:
    """The first video track's box in a moov. Raises MediaError if there is none."""
    top = find(moov, "moov")
    for box in boxes(moov, top.begin, top.end) if top else ():
        handler = find(moov, "mdia/hdlr", box) if box.kind == b"trak" else None
        if handler is not None and moov[handler.begin + 8 : handler.begin + 12] == b"vide":
            return box
    raise MediaError("the clip that was written has no video track")


def video_track(path: Path) -> Track:
    """What a written mp4's sample tables say of its video. Raises MediaError where they are incomplete."""
    _, moov = read_moov(path)
    trak = video_trak(moov)
    header = _need(moov, trak, "mdia/mdhd")
    timescale = struct.unpack_from(">I", moov, header.begin + (20 if moov[header.begin] else 12))[0]
    deltas = _runs(moov, _need(moov, trak, "mdia/minf/stbl/stts"))
    dts = np.concatenate([[0], np.cumsum(deltas)[:-1]]).astype(np.int64)
    shifts = find(moov, "mdia/minf/stbl/ctts", trak)
    pts = dts + _runs(moov, shifts) if shifts else dts
    sizes = _need(moov, trak, "mdia/minf/stbl/stsz")
    one_size, count = struct.unpack_from(">II", moov, sizes.begin + 4)
    num_bytes = one_size * count or int(np.frombuffer(moov, ">u4", count, sizes.begin + 12).sum())
    sync = find(moov, "mdia/minf/stbl/stss", trak)
    is_sync = np.full(len(pts), sync is None)
    if sync is not None:
        numbers = np.frombuffer(moov, ">u4", _count(moov, sync), sync.begin + HEADER)
        is_sync[numbers.astype(np.int64) - 1] = True
    edits = find(moov, "edts/elst", trak)
    media_time, duration = _edit(moov, edits, int(np.sum(deltas)))
    num_read = len(pts) if edits is None else _num_read(pts - media_time, deltas, is_sync, duration, ordered=not shifts)
    return Track(np.sort(pts - media_time), is_sync, timescale, duration, num_bytes, num_read)


def _num_read(
    pts: NDArray[np.int64], deltas: NDArray[np.int64], is_sync: NDArray[np.bool_], duration: int, *, ordered: bool
) -> int:
    """How many samples FFmpeg's demuxer gives. It takes a track's edit to be over with a keyframe whose time and whose
    distance in order of decoding to the next sample reach its end; where frames are out of order, with the second such one.
    """
    ends = np.flatnonzero(is_sync & (pts + deltas >= duration))
    last = 0 if ordered else 1
    return int(ends[last]) + 1 if len(ends) > last else len(pts)


def _need(moov: bytes, trak: Box, path: str) -> Box:
    found = find(moov, path, trak)
    if found is None:
        raise MediaError(f"the clip that was written has no {path} box")
    return found


def _count(moov: bytes, box: Box) -> int:
    return int(struct.unpack_from(">I", moov, box.begin + 4)[0])


def _runs(moov: bytes, box: Box) -> NDArray[np.int64]:
    """The values of a run-length table (stts, ctts), one a sample; those of a ctts may be negative."""
    count = _count(moov, box)
    values = np.frombuffer(moov, ">u4", 2 * count, box.begin + HEADER).reshape(count, 2)
    numbers = values[:, 1].astype(np.uint32)
    signed = numbers.view(np.int32) if box.kind == b"ctts" else numbers
    return np.repeat(signed.astype(np.int64), values[:, 0].astype(np.int64))


def _edit(moov: bytes, edits: Box | None, whole: int) -> tuple[int, int]:
    """(media time at which showing begins, duration). Clips have one edit, in ticks of the track: see `remux.py`."""
    if edits is None:
        return 0, whole
    if _count(moov, edits) != 1:
        raise MediaError("the clip that was written has an edit list of several parts")
    duration, media_time = struct.unpack_from(">Qq" if moov[edits.begin] else ">Ii", moov, edits.begin + HEADER)
    return media_time, duration


def set_duration(path: Path, duration: int) -> None:
    """Let the video track (its edit, if it has one) last `duration` ticks of the movie's timescale, its media as long at
    least, and the movie as long as its longest track. The muxer's own figures are wrong where frames are stored out of
    order, or hidden.
    """
    at, moov = read_moov(path)
    video = video_trak(moov)
    movie = _need(moov, Box(b"moov", HEADER, len(moov)), "mvhd")
    tracks = [_need(moov, box, "tkhd") for box in boxes(moov, HEADER) if box.kind == b"trak" and box != video]
    whole = max([duration, *(_duration(moov, box, 20, 28) for box in tracks)])
    media = _need(moov, video, "mdia/mdhd")
    fields = [(_need(moov, video, "tkhd"), 20, 28, duration), (movie, 16, 24, whole)]
    fields.append((media, 16, 24, max(duration, _duration(moov, media, 16, 24))))
    edits = find(moov, "edts/elst", video)
    if edits is not None:
        fields.append((edits, 8, 8, duration))
    with path.open("r+b") as file:
        for box, short, long, value in fields:
            wide = moov[box.begin] == 1
            if value >= 1 << 32 and not wide:
                raise MediaError(f"a clip of {value} ticks is too long for its mp4")
            file.seek(at + box.begin + (long if wide else short))
            file.write(struct.pack(">Q" if wide else ">I", value))


def _duration(moov: bytes, box: Box, short: int, long: int) -> int:
    wide = moov[box.begin] == 1
    return int(struct.unpack_from(">Q" if wide else ">I", moov, box.begin + (long if wide else short))[0])

"""Edit the boxes of an mp4 or mov whose `moov` comes last, so that no sample's offset changes."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

Change = Callable[[bytes], bytes]


def edit_box(data: bytes, path: str, change: Change) -> bytes:
    """`data` with the payload of the boxes at `path` ("moov/trak/mdia") passed through `change`, parents resized."""
    kind, _, rest = path.partition("/")
    out, at = [], 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        size = size or len(data) - at
        payload = data[at + 8 : at + size]
        if name == kind.encode():
            payload = edit_box(payload, rest, change) if rest else change(payload)
        out.append(struct.pack(">I4s", 8 + len(payload), name) + payload)
        at += size
    return b"".join(out)


def box(kind: bytes, payload: bytes) -> bytes:
    """One box."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def with_reference(data: bytes, target: Path) -> bytes:
    """The video with its samples said to lie in another file: a Macintosh alias in `dref` with an absolute path."""
    path = str(target).encode()
    path += bytes(len(path) % 2)
    record = bytes(150) + struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    return edit_box(data, "moov/trak/mdia/minf/dinf/dref", lambda _: struct.pack(">II", 0, 1) + entry)


def with_edit(data: bytes, *, start: int, length: int) -> bytes:
    """The video with one edit: from media time `start` (ticks of the track) on for `length` (ticks of the movie)."""
    return with_edits(data, [(length, start)])


def with_edits(data: bytes, edits: Sequence[tuple[int, int]]) -> bytes:
    """The video with these edits: (length in ticks of the movie, media time in ticks of the track) each."""
    entries = b"".join(struct.pack(">IiHH", length, start, 1, 0) for length, start in edits)
    edts = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + entries))
    without = edit_box(data, "moov/trak/edts", lambda _: b"")
    return edit_box(without, "moov/trak", lambda payload: payload + edts)

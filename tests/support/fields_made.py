"""H.264 whose frames are coded as two fields each (PAFF, as in broadcasts), which no free encoder makes: every macroblock
is stored as it is (I_PCM), so little more than headers must be written (ITU-T H.264, 7.3).
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from support.numbered import Numbered, paint

SIZE = (160, 96)
TICKS = 3600  # of 1/90000 s: 25 frames a second
GOP = 12
START_CODE = b"\0\0\0\1"
DELIMITER = b"\x09\x10"
I_PCM = 25


class Bits:
    """Writes bits and exp-Golomb codes."""

    def __init__(self) -> None:
        self._bits = ""

    def put(self, *fields: tuple[int, int]) -> "Bits":
        """(number of bits, value) each."""
        self._bits += "".join(f"{value:0{count}b}" for count, value in fields)
        return self

    def codes(self, *values: int) -> "Bits":
        """Unsigned exp-Golomb codes."""
        for value in values:
            self._bits += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def done(self, *, stop: bool = True) -> bytes:
        """All of it in whole bytes, after a stop bit if `stop`."""
        bits = self._bits + "1" * stop
        bits += "0" * (-len(bits) % 8)
        return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


SPS = Bits().put((8, 77), (8, 0), (8, 40)).codes(0, 0, 0, 4, 1).put((1, 0)).codes(SIZE[0] // 16 - 1, SIZE[1] // 32 - 1)
SPS.put((1, 0), (1, 0), (1, 1), (1, 0), (1, 0))
PPS = Bits().codes(0, 0).put((1, 0), (1, 0)).codes(0, 0, 0).put((1, 0), (2, 0)).codes(0, 0, 0).put((3, 0))


def unit(header: int, payload: bytes) -> bytes:
    """A NAL unit, with emulation prevention."""
    out, zeros = bytearray([header]), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def field(planes: list[NDArray[np.uint8]], *, bottom: bool, idr: bool, place: int, number: int) -> bytes:
    """One field. place: of its frame in the group. number: of the group."""
    header = Bits().codes(0, 7, 0).put((4, place % 16), (1, 1), (1, bottom))
    if idr:
        header.codes(number % 2)
    header.put((8, (2 * place + bottom) % 256), (2 if idr else 1, 0)).codes(0)
    data = b""
    for y in range(0, SIZE[1] // 2, 16):
        for x in range(0, SIZE[0], 16):
            data += header.codes(I_PCM).done(stop=False)
            header = Bits()
            data += planes[0][y : y + 16, x : x + 16].tobytes()
            data += b"".join(plane[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8].tobytes() for plane in planes[1:])
    return unit(0x25 if idr else 0x21, data + b"\x80")


def fields(num_frames: int) -> Iterator[tuple[bytes, bytes]]:
    """The two fields of each frame."""
    for number in range(num_frames):
        luma, *chroma = np.maximum(paint(number, SIZE), 1)
        planes = [luma, *(plane[::2, ::2] for plane in chroma)]
        group, place = divmod(number, GOP)
        top = field([plane[0::2] for plane in planes], bottom=False, idr=place == 0, place=place, number=group)
        yield top, field([plane[1::2] for plane in planes], bottom=True, idr=False, place=place, number=group)


def make_fields(path: Path, *, num_frames: int = 36, apart: bool) -> Numbered:
    """A numbered MPEG-TS of fields. apart: each field has a time of its own; else the second one has none."""
    with av.open(str(path), "w", format="mpegts") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = *SIZE, "yuv420p", Fraction(1, 90000)
        sets = [unit(0x67, SPS.done()), unit(0x68, PPS.done())]
        for number, (top, bottom) in enumerate(fields(num_frames)):
            first = [DELIMITER, *(sets if number % GOP == 0 else []), top]
            parts = [first, [DELIMITER, bottom]] if apart else [[*first, DELIMITER, bottom]]
            for half, units in enumerate(parts):
                packet: Any = av.Packet(b"".join(START_CODE + each for each in units))
                packet.pts = packet.dts = number * TICKS + half * TICKS // 2
                packet.duration, packet.time_base, packet.stream = TICKS // len(parts), Fraction(1, 90000), stream
                packet.is_keyframe = half == 0 and number % GOP == 0
                out.mux(packet)
    return Numbered(path, tuple(Fraction(number, 25) for number in range(num_frames)))

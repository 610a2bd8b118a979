"""H.264 and HEVC NAL units: split them, name them, and write an `avcC` record of several parameter sets (ISO/IEC 14496-15)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

H264_SLICE, H264_IDR, H264_SPS, H264_PPS, H264_AUD, H264_FILLER = 1, 5, 7, 8, 9, 12
H264_PARTITIONS = (2, 3, 4)
HEVC_BLA, HEVC_RASL, HEVC_IRAP_END = 16, 9, 23
HEVC_SETS = (32, 33, 34)
HEVC_SLICE_END = 31
MAX_SET_BYTES = 1024
SIMPLE_PROFILES = (66, 77, 88)  # their avcC has no chroma and depth fields


def split_start_codes(data: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B stream (00 00 01 before each)."""
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        begin += 3
        end = data.find(b"\0\0\1", begin)
        unit = data[begin : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        begin = end


def split_lengths(data: bytes, num_bytes: int) -> Iterator[bytes]:
    """The NAL units of an mp4 or Matroska packet, each after its length in `num_bytes` bytes. Raises ValueError."""
    at, size = 0, len(data)
    while at < size:
        end = at + num_bytes + int.from_bytes(data[at : at + num_bytes], "big")
        if end > size:
            raise ValueError("a NAL unit is longer than its packet")
        if end > at + num_bytes:
            yield data[at + num_bytes : end]
        at = end


def join_lengths(units: Iterable[bytes]) -> bytes:
    """NAL units as an mp4 sample: each after its length in 4 bytes."""
    return b"".join(part for unit in units for part in (len(unit).to_bytes(4, "big"), unit))


def h264_type(unit: bytes) -> int:
    """The type of an H.264 NAL unit."""
    return unit[0] & 31


def hevc_type(unit: bytes) -> int:
    """The type of an HEVC NAL unit."""
    return unit[0] >> 1 & 63


@dataclass
class ParameterSets:
    """The H.264 parameter sets of a stream, by id. `changed` once an id was seen with two contents."""

    sps: dict[int, bytes] = field(default_factory=dict)
    pps: dict[int, bytes] = field(default_factory=dict)
    changed: bool = False

    def add(self, unit: bytes) -> None:
        """Note a NAL unit if it is a parameter set. Raises ValueError for a damaged one."""
        kind = h264_type(unit)
        if kind == H264_SPS:
            self._put(self.sps, Bits(unit[4:]).exp_golomb(), unit)
        elif kind == H264_PPS:
            self._put(self.pps, Bits(unit[1:]).exp_golomb(), unit)

    def _put(self, sets: dict[int, bytes], ident: int, unit: bytes) -> None:
        self.changed = self.changed or sets.setdefault(ident, unit) != unit

    def free_id(self) -> int:
        """An id from 1 to 31 that neither an SPS nor a PPS has. Raises ValueError if there is none."""
        for ident in range(1, 32):
            if ident not in self.sps and ident not in self.pps:
                return ident
        raise ValueError("no id is left for another parameter set")

    def joined(self, other: "ParameterSets") -> "ParameterSets":
        """These sets and `other`'s; `changed` if the two have different contents for one id."""
        both = ParameterSets(dict(self.sps), dict(self.pps), self.changed or other.changed)
        for ident, unit in other.sps.items():
            both._put(both.sps, ident, unit)
        for ident, unit in other.pps.items():
            both._put(both.pps, ident, unit)
        return both

    def avcc(self) -> bytes:
        """The avcC record: what mp4 stores before the first sample. Raises ValueError where there is no SPS or PPS."""
        if not self.sps or not self.pps:
            raise ValueError("the stream has no parameter sets")
        first = next(iter(self.sps.values()))
        profile, level = first[1], max(sps[3] for sps in self.sps.values())
        record = bytearray((1, profile, first[2], level, 0xFF, 0xE0 | len(self.sps)))
        for sps in self.sps.values():
            record += len(sps).to_bytes(2, "big") + sps
        record.append(len(self.pps))
        for pps in self.pps.values():
            record += len(pps).to_bytes(2, "big") + pps
        if profile not in SIMPLE_PROFILES:
            chroma, luma_bits, chroma_bits = _formats(first)
            record += bytes((0xFC | chroma, 0xF8 | luma_bits, 0xF8 | chroma_bits, 0))
        return bytes(record)


def parse_extradata(extradata: bytes) -> tuple[ParameterSets, int]:
    """The parameter sets of a stream's header, and how many bytes its NAL lengths have (0: start codes).

    Raises ValueError for a damaged header.
    """
    sets = ParameterSets()
    if not extradata or extradata[0] != 1:
        for unit in split_start_codes(extradata):
            sets.add(unit)
        return sets, 0
    at, num_sps = 6, extradata[5] & 31
    for _ in range(num_sps):
        at = _add_sized(sets, extradata, at)
    num_pps, at = extradata[at], at + 1
    for _ in range(num_pps):
        at = _add_sized(sets, extradata, at)
    return sets, (extradata[4] & 3) + 1


def _add_sized(sets: ParameterSets, data: bytes, at: int) -> int:
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if end > len(data) or end == at + 2:
        raise ValueError("the avcC record is damaged")
    sets.add(data[at + 2 : end])
    return end


def _formats(sps: bytes) -> tuple[int, int, int]:
    """(chroma_format_idc, bit_depth_luma_minus8, bit_depth_chroma_minus8) of a high-profile SPS."""
    bits = Bits(sps[4:])
    bits.exp_golomb()
    chroma = bits.exp_golomb()
    if chroma == 3:  # noqa: PLR2004  4:4:4
        bits.bit()
    return chroma, bits.exp_golomb(), bits.exp_golomb()


class Bits:
    """Reads bits and exp-Golomb codes (ITU-T H.264 section 9.1), emulation prevention bytes removed."""

    def __init__(self, data: bytes) -> None:
        self._data = data[:MAX_SET_BYTES].replace(b"\0\0\3", b"\0\0")
        self._at = 0

    def bit(self) -> int:
        """The next bit. Raises ValueError at the end."""
        if self._at >= 8 * len(self._data):
            raise ValueError("a parameter set is too short")
        bit = self._data[self._at // 8] >> (7 - self._at % 8) & 1
        self._at += 1
        return bit

    def bits(self, count: int) -> int:
        """The next bits as a number. Raises ValueError at the end."""
        value = 0
        for _ in range(count):
            value = value << 1 | self.bit()
        return value

    def exp_golomb(self) -> int:
        """The next unsigned exp-Golomb code. Raises ValueError if it is damaged."""
        zeros = 0
        while not self.bit():
            zeros += 1
            if zeros > 31:  # noqa: PLR2004  the standard's longest
                raise ValueError("a parameter set is damaged")
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        """The next signed exp-Golomb code. Raises ValueError if it is damaged."""
        code = self.exp_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)

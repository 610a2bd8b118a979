"""H.264 pictures: their format as the parameter sets give it, and frames that are stored as two fields (ITU-T H.264, 7.3)."""

from dataclasses import dataclass

from av.packet import Packet
from av.video.stream import VideoStream

from shardpipe.media.nal import (
    H264_IDR,
    H264_SLICE,
    Bits,
    ParameterSets,
    h264_type,
    parse_extradata,
    split_lengths,
    split_start_codes,
)

HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Their sequence parameter sets tell the chroma format and the bit depths."""

SLICE_HEADER_BYTES = 32


@dataclass(frozen=True)
class PictureFormat:
    """chroma: chroma_format_idc and the two bit depths less 8. size: macroblocks wide, map units high, cropping.
    frames_only: no picture is a field, nor has macroblocks of fields. lossless: some of it may be coded without loss.
    """

    chroma: tuple[int, int, int]
    size: tuple[int, ...]
    frames_only: bool
    lossless: bool


@dataclass(frozen=True)
class _Sequence:
    picture: PictureFormat
    frame_num_bits: int
    separate_planes: bool


def picture_format(sps: bytes) -> PictureFormat:
    """What a sequence parameter set says of the pictures. Raises ValueError for a damaged one."""
    return _sequence(sps).picture


def _sequence(sps: bytes) -> _Sequence:
    bits = Bits(sps[4:])
    bits.exp_golomb()
    chroma, separate, lossless = (1, 0, 0), False, False
    if sps[1] in HIGH_PROFILES:
        chroma, separate, lossless = _chroma(bits)
    frame_num_bits = bits.exp_golomb() + 4
    _skip_order(bits)
    bits.exp_golomb()
    bits.bit()
    width, height, frames_only = bits.exp_golomb() + 1, bits.exp_golomb() + 1, bool(bits.bit())
    if not frames_only:
        bits.bit()
    bits.bit()
    crop = tuple(bits.exp_golomb() for _ in range(4)) if bits.bit() else (0, 0, 0, 0)
    picture = PictureFormat(chroma, (width, height, *crop), frames_only, lossless)
    return _Sequence(picture, frame_num_bits, separate)


def _chroma(bits: Bits) -> tuple[tuple[int, int, int], bool, bool]:
    """Chroma format and depths, whether the three planes are coded apart, and whether coding may be lossless."""
    form = bits.exp_golomb()
    separate = form == 3 and bool(bits.bit())  # noqa: PLR2004  4:4:4
    chroma = form, bits.exp_golomb(), bits.exp_golomb()
    lossless = bool(bits.bit())
    if bits.bit():
        for number in range(12 if form == 3 else 8):  # noqa: PLR2004
            if bits.bit():
                _skip_scaling_list(bits, 16 if number < 6 else 64)  # noqa: PLR2004
    return chroma, separate, lossless


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_order(bits: Bits) -> None:
    """What tells the order of output."""
    kind = bits.exp_golomb()
    if kind == 0:
        bits.exp_golomb()
    elif kind == 1:
        bits.bit()
        bits.signed()
        bits.signed()
        for _ in range(bits.exp_golomb()):
            bits.signed()


class SecondFields:
    """Tells, packet by packet, which ones hold the second field of a frame whose first field the packet before holds.

    So are frames stored that broadcasts code as two fields (PAFF); decoders show one frame for both. Of streams that
    have no fields by their header, packets are not looked into.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._length_bytes = 0
        self._first: tuple[int, int] | None = None
        if stream.codec_context.codec.canonical_name == "h264":
            try:
                sets, self._length_bytes = parse_extradata(stream.codec_context.extradata or b"")
                self._sequences = _by_picture_set(sets)
            except (ValueError, IndexError):
                self._sequences = {}
        if all(sequence.picture.frames_only for sequence in self._sequences.values()):
            self._sequences = {}

    def __call__(self, packet: "Packet[VideoStream]") -> bool:
        """Whether the next packet in order of decoding is a second field."""
        if not self._sequences:
            return False
        try:
            field = self._field(bytes(packet))
        except (ValueError, IndexError):
            field = None
        first, self._first = self._first, None
        if field is None:
            return False
        if first is not None and first[0] == field[0] and first[1] != field[1]:
            return True
        self._first = field
        return False

    def _field(self, data: bytes) -> tuple[int, int] | None:
        """(frame_num, whether it is the bottom one) of a packet that is one field; None of a packet with a frame."""
        units = split_lengths(data, self._length_bytes) if self._length_bytes else split_start_codes(data)
        slices = [unit for unit in units if h264_type(unit) in (H264_SLICE, H264_IDR)]
        fields = {self._field_of(unit) for unit in slices}
        return fields.pop() if len(fields) == 1 else None

    def _field_of(self, unit: bytes) -> tuple[int, int] | None:
        bits = Bits(unit[1:SLICE_HEADER_BYTES])
        bits.exp_golomb()
        bits.exp_golomb()
        sequence = self._sequences.get(bits.exp_golomb())
        if sequence is None or sequence.picture.frames_only:
            return None
        if sequence.separate_planes:
            bits.bits(2)
        frame_num = bits.bits(sequence.frame_num_bits)
        return (frame_num, bits.bit()) if bits.bit() else None


def _by_picture_set(sets: ParameterSets) -> dict[int, _Sequence]:
    """The sequence parameter set that each picture parameter set refers to."""
    sequences = {ident: _sequence(sps) for ident, sps in sets.sps.items()}
    found: dict[int, _Sequence] = {}
    for ident, pps in sets.pps.items():
        bits = Bits(pps[1:])
        bits.exp_golomb()
        sequence = sequences.get(bits.exp_golomb())
        if sequence is not None:
            found[ident] = sequence
    return found

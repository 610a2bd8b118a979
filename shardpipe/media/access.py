"""Where decoding may begin: what a packet's own bytes say, codec by codec, as containers' keyframe flags are not enough."""

from collections.abc import Callable
from enum import IntEnum

from av.packet import Packet
from av.video.stream import VideoStream

from shardpipe.media.fields import picture_format
from shardpipe.media.nal import (
    H264_IDR,
    H264_PARTITIONS,
    H264_PPS,
    H264_SLICE,
    H264_SPS,
    HEVC_BLA,
    HEVC_IRAP_END,
    HEVC_RASL,
    HEVC_SETS,
    HEVC_SLICE_END,
    ParameterSets,
    h264_type,
    hevc_type,
    parse_extradata,
    split_lengths,
    split_start_codes,
)

HEVC_LENGTH_AT = 21  # where hvcC says how many bytes NAL lengths have
VP9_MARKER = 2
MPEG4_VOP = b"\0\0\1\xb6"


class Access(IntEnum):
    """What decoding finds when it begins at a packet."""

    NONE = 0  # nothing that is right
    KEY = 1  # a keyframe that frames after it may look behind (open GOP, recovery point)
    CLEAN = 2  # all that follows it in order of decoding is right: an IDR, or a keyframe of VP9 or AV1


class Scanner:
    """Looks into the packets of one stream, in order of decoding.

    sets: H.264 parameter sets, from the header and in between. length_bytes: of NAL lengths, 0 for start codes.
    steady: false once a parameter set changed or there are two of pictures of another format, or anything could not be
    read. lossless: H.264 that may be coded without loss.
    """

    def __init__(self, stream: VideoStream) -> None:
        self.codec = stream.codec_context.codec.canonical_name
        self.sets, self.length_bytes, self.steady, self.lossless = ParameterSets(), 0, True, False
        self._checked: frozenset[bytes] = frozenset()
        self._hevc_sets: dict[tuple[int, bytes], bytes] = {}
        extradata = stream.codec_context.extradata or b""
        try:
            if self.codec == "h264":
                self.sets, self.length_bytes = parse_extradata(extradata)
            elif self.codec == "hevc" and extradata[:1] == b"\x01" and len(extradata) > HEVC_LENGTH_AT:
                self.length_bytes = (extradata[HEVC_LENGTH_AT] & 3) + 1
        except (ValueError, IndexError):
            self.steady = False
        scans: dict[str, Callable[[bytes, bool], tuple[Access, bool]]] = {
            "h264": self._h264,
            "hevc": self._hevc,
            "vp9": self._vp9,
            "mpeg4": self._mpeg4,
        }
        self._scan = scans.get(self.codec)
        self._check_sets()

    def scan(self, packet: "Packet[VideoStream]") -> tuple[Access, bool]:
        """(how decoding may begin at this packet, whether no other frame refers to it)."""
        if packet.has_sidedata("new_extradata"):
            self.steady = False
        key = packet.is_keyframe
        if self._scan is None:
            return (Access.CLEAN if key else Access.NONE), False
        try:
            return self._scan(bytes(packet), key)
        except (ValueError, IndexError):
            self.steady = False
            return (Access.KEY if key else Access.NONE), False

    def _h264(self, data: bytes, key: bool) -> tuple[Access, bool]:  # noqa: FBT001  one of four alike
        units = split_lengths(data, self.length_bytes) if self.length_bytes else split_start_codes(data)
        idr, disposable = False, True
        for unit in units:
            kind = h264_type(unit)
            if kind in (H264_SPS, H264_PPS):
                self.sets.add(unit)
                self._check_sets()
            elif kind == H264_IDR:
                idr, disposable = True, False
            elif (kind == H264_SLICE or kind in H264_PARTITIONS) and unit[0] >> 5 & 3:
                disposable = False
        if idr:
            return Access.CLEAN, False
        return (Access.KEY if key else Access.NONE), disposable

    def _check_sets(self) -> None:
        """Clips have one size and format, whatever parameter sets the stream has."""
        sets = frozenset(self.sets.sps.values())
        if sets != self._checked:
            self._checked = sets
            try:
                formats = {picture_format(sps) for sps in sets}
                self.steady = self.steady and len(formats) == 1
                self.lossless = any(each.lossless for each in formats)
            except (ValueError, IndexError):
                self.steady = False
        self.steady = self.steady and not self.sets.changed

    def _hevc(self, data: bytes, key: bool) -> tuple[Access, bool]:  # noqa: FBT001
        units = split_lengths(data, self.length_bytes) if self.length_bytes else split_start_codes(data)
        access = Access.KEY if key else Access.NONE
        disposable = False
        for unit in units:
            kind = hevc_type(unit)
            if kind in HEVC_SETS:
                known = self._hevc_sets.setdefault((kind, unit[2:4] if kind == HEVC_SETS[0] else b""), unit)
                self.steady = self.steady and known == unit
            elif HEVC_BLA <= kind <= HEVC_IRAP_END:
                access = Access.CLEAN  # of a CRA, only those without leading frames are starts: see PacketIndex
            elif kind <= HEVC_SLICE_END:
                disposable = kind <= HEVC_RASL and kind % 2 == 0 and unit[1] & 7 > 1
        return access, disposable and access == Access.NONE

    def _vp9(self, data: bytes, key: bool) -> tuple[Access, bool]:  # noqa: FBT001
        if data[0] >> 6 != VP9_MARKER:
            raise ValueError("no VP9 frame")
        profile = (data[0] >> 5 & 1) | (data[0] >> 4 & 1) << 1
        shift = 2 if profile == 3 else 3  # noqa: PLR2004  profile 3 has one more bit before show_existing_frame
        is_key = not data[0] >> shift & 1 and not data[0] >> (shift - 1) & 1
        return (Access.CLEAN if key and is_key else Access.NONE), False

    def _mpeg4(self, data: bytes, key: bool) -> tuple[Access, bool]:  # noqa: FBT001
        if data.count(MPEG4_VOP) > 1:
            self.steady = False  # packed B-frames: two frames in a packet, and an empty one later
        return (Access.CLEAN if key else Access.NONE), False

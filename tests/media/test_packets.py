"""The packet index: where a copy may start and end, and where decoding may begin."""

from pathlib import Path

import av
import pytest
from support.cut_sources import make_source, x264
from support.numbered import make_numbered

from shardpipe.core.cutting import Span, WriteSpec
from shardpipe.media.access import Access
from shardpipe.media.cutter import Cutter
from shardpipe.media.nal import ParameterSets, parse_extradata, split_lengths, split_start_codes
from shardpipe.media.packets import MAX_REORDER, PacketIndex, index_packets
from shardpipe.media.probe import probe
from shardpipe.media.source import open_media, video_stream


def index_of(path: Path, **kwargs: object) -> PacketIndex:
    with open_media(path) as container:
        return index_packets(container, video_stream(container), **kwargs)


@pytest.mark.parametrize("name", ["h264", "h264_30", "h264_slices_ts", "hevc"])
def test_closed_gops_start_at_each_idr(name: str, tmp_path: Path) -> None:
    index = index_of(make_source(name, tmp_path).path)
    assert index.starts.tolist() == [0, 24, 48]
    assert len(index.frame_pts) == 72
    assert index.steady
    assert index.timed
    assert index.reorder in (1, 2)
    for start in index.starts:
        assert index.copy_stop(int(start), int(index.frame_pts[-1]) + 1) == 72
        assert index.copyable(int(start), 72)


def test_recovery_points_are_no_starts(tmp_path: Path) -> None:
    for name in ("h264_open", "h264_refresh"):
        index = index_of(make_source(name, tmp_path).path)
        assert index.starts.tolist() == [0]
        assert len(index.entries) > 1
        late = int(index.frame_pts[60])
        assert index.entry_before(late) < index.entries[index.entries < 60][-1]


def test_leading_frames_of_hevc_bar_a_start(tmp_path: Path) -> None:
    index = index_of(make_source("hevc_open", tmp_path).path)
    assert index.starts.tolist() == [0]
    assert (index.access == Access.CLEAN).sum() == 3


def test_a_copy_ends_where_no_frame_is_missing(tmp_path: Path) -> None:
    index = index_of(make_source("h264", tmp_path).path)
    for frame in range(25, 72):
        stop = index.copy_stop(24, int(index.frame_pts[frame]))
        times = sorted(index.at[24:stop])
        assert times == index.frame_pts[24 : 24 + len(times)].tolist()
        assert frame - index.longest_tail <= 24 + len(times) <= frame
    assert index.copy_stop(24, int(index.frame_pts[24])) == 24


def test_avi_with_b_frames_has_no_times_of_its_own(tmp_path: Path) -> None:
    assert not index_of(make_source("h264_avi_b", tmp_path).path).timed
    assert index_of(make_source("h264_avi", tmp_path).path).timed


def test_hidden_frames_are_not_shown(tmp_path: Path) -> None:
    index = index_of(make_source("edit_list", tmp_path).path)
    assert index.frame_pts[0] == 0
    assert len(index.frame_pts) == 72
    assert index.starts.tolist() == [24, 48, 72]


def test_a_window_reads_what_it_needs(tmp_path: Path) -> None:
    video = make_numbered(tmp_path / "a.mp4", num_frames=900, size=(64, 48), options=x264("keyint=50"))
    whole = index_of(video.path)
    part = index_of(video.path, window=(600 * 512, 640 * 512))
    assert len(part.at) < 350
    assert part.frames_between(600 * 512, 640 * 512).tolist() == whole.frames_between(600 * 512, 640 * 512).tolist()
    assert part.end == 650 * 512
    assert part.frame_end(649 * 512) == 650 * 512


def test_parameter_sets_survive_the_avcc(tmp_path: Path) -> None:
    for name in ("h264", "h264_slices_ts", "h264_deep", "h264_444"):
        index = index_of(make_source(name, tmp_path).path)
        again, length_bytes = parse_extradata(index.sets.avcc())
        assert (again.sps, again.pps, length_bytes) == (index.sets.sps, index.sets.pps, 4)


def test_the_avcc_of_ffmpeg_is_ours(tmp_path: Path) -> None:
    with open_media(make_source("h264_deep", tmp_path).path) as container:
        extradata = video_stream(container).codec_context.extradata
    assert parse_extradata(extradata)[0].avcc() == extradata


def test_nal_units_are_split() -> None:
    assert list(split_start_codes(b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\1\x65\0\0\3d")) == [
        b"\x67ab",
        b"\x68c",
        b"\x65\0\0\3d",
    ]
    assert list(split_lengths(b"\0\2ab\0\1c", 2)) == [b"ab", b"c"]
    with pytest.raises(ValueError, match="longer than its packet"):
        list(split_lengths(b"\0\0\0\x09abc", 4))
    with pytest.raises(ValueError, match="too short"):
        ParameterSets().add(b"\x67abc")


def test_times_in_disorder_do_not_end_the_process(tmp_path: Path) -> None:
    """FFmpeg aborts where a decoder is told of frames that are out of order by more than any codec allows."""
    plain = make_source("h264_refresh", tmp_path)
    with av.open(str(plain.path)) as inp, av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = inp.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in inp.demux(stream) if packet.size):
            packet.pts, packet.stream = packet.pts + (0 if number == 60 else 45 * packet.duration), copy
            out.mux(packet)
    assert index_of(tmp_path / "a.mp4").reorder == MAX_REORDER
    with Cutter(tmp_path / "a.mp4", probe(tmp_path / "a.mp4"), WriteSpec(method="encode"), tmp_path) as cutter:
        first, last = cutter.frame_pts[[2, -1]]
        assert cutter.cut(Span(int(first), int(last)), "a").num_frames > 60

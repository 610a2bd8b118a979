"""Edit lists: lossless at any frame, in what honours them."""

from pathlib import Path

import av
import pytest
from support.cut_checks import check_clip, cutter_of, picture_hashes, read_source, span_of
from support.cut_sources import make_source

from shardpipe.core.cutting import WriteSpec

SPEC = WriteSpec(method="editlist")


@pytest.mark.parametrize("name", ["h264", "h264_ntsc", "h264_vfr", "h264_turned", "hevc", "vp9_mp4"])
def test_any_frame_without_loss(name: str, tmp_path: Path) -> None:
    source = read_source(make_source(name, tmp_path).path)
    with cutter_of(source, SPEC, tmp_path) as cutter:
        for first, stop in ((0, 72), (5, 31), (30, 61), (71, 72)):
            clip = cutter.cut(span_of(cutter, first, stop), "clip")
            check_clip(source, clip)
            assert (clip.method, clip.num_encoded) == ("editlist", 0)
            assert picture_hashes(clip.file) == list(source.hashes[first:stop])


@pytest.mark.parametrize("name", ["h264_30", "h264_ntsc_ts", "h264_open", "mpeg4_b", "h264_interlaced", "av1"])
def test_what_it_cannot_serve_is_encoded(name: str, tmp_path: Path) -> None:
    source = read_source(make_source(name, tmp_path).path)
    with cutter_of(source, SPEC, tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 30, 50), "clip")
        check_clip(source, clip)
    assert clip.method == "encode"


def test_the_source_of_a_clip_may_be_one(tmp_path: Path) -> None:
    source = read_source(make_source("h264", tmp_path).path)
    with cutter_of(source, SPEC, tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 7, 70), "clip")
    again = read_source(clip.file)
    assert again.numbers == source.numbers[7:70]
    with cutter_of(again, WriteSpec(max_trim_s=0), tmp_path) as cutter:
        check_clip(again, cutter.cut(span_of(cutter, 0, 63), "again"))
    with av.open(str(clip.file)) as container:
        assert container.duration == 63 * 40000

"""Only plain media containers over our own bytes are opened; nothing makes FFmpeg open another file."""

import errno
import io
import os
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from support.boxes import with_reference
from support.numbered import make_numbered
from support.opens import watching

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.media.decode import decode
from shardpipe.media.probe import probe
from shardpipe.media.sample import sample
from shardpipe.media.source import media_errors, open_media, video_stream

VIDEOS = Path(__file__).parents[1] / "assets/videos"
BIKES = VIDEOS / "bikes.mp4"
ONE = [FrameRequest(Uniform(1), long_side=32)]


def test_takes_paths_bytes_and_files() -> None:
    data = BIKES.read_bytes()
    for inp in (BIKES, str(BIKES), data, io.BytesIO(data)):
        with open_media(inp) as container:
            assert video_stream(container).width == 640
    with BIKES.open("rb") as file:
        file.seek(1000)
        assert probe(file).num_frames == 250
        assert not file.closed


def test_closes_what_it_opened() -> None:
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(5):
        probe(BIKES)
        next(frames := decode(BIKES))
        frames.close()
        with pytest.raises(MediaError):
            probe(__file__)
    assert process.num_fds() == before


@pytest.mark.parametrize("content", [b"", b"\n", b"hello, this is text\n" * 50, bytes(5000), os.urandom(4096)])
def test_what_is_no_video_is_a_media_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    for inp in (path, content):
        for read in (probe, lambda x: list(decode(x)), lambda x: sample(x, ONE)):
            with pytest.raises(MediaError) as error:
                read(inp)
            assert "Errno" not in str(error.value)


@pytest.mark.parametrize("offset", [-1, 2**62])
def test_a_place_that_no_file_has(tmp_path: Path, offset: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A damaged header may lead there, at every seek. It is an error that FFmpeg knows, and no traceback of PyAV's."""
    path = make_numbered(tmp_path / "v.wmv", num_frames=30, codec="wmv2", options={"g": "10"}).path
    with path.open("rb") as inner, open_media(_Misled(inner, offset)) as container:
        for _ in range(3):
            with suppress(av.FFmpegError):
                container.seek(20, stream=video_stream(container))
    assert capfd.readouterr().err == ""


class _Misled(io.BufferedReader):
    """A file that is sought at another place than asked for."""

    def __init__(self, inner: io.BufferedReader, wanted: int) -> None:
        super().__init__(inner.raw)
        self._wanted = wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return super().seek(self._wanted if offset else offset, whence)


def test_message_says_what_and_where(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("dear diary")
    with pytest.raises(MediaError, match=r"notes\.mp4 is no video that can be opened"):
        probe(path)
    with pytest.raises(MediaError, match="is empty"):
        probe(b"")


def test_no_file_folder_and_pipe_are_media_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("", "pipe.mp4", "absent.mp4"):
        with pytest.raises(MediaError):
            probe(tmp_path / name)


def traps(canary: Path) -> dict[str, str]:
    """Texts that make FFmpeg's tools open the canary."""
    return {
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{canary}\n#EXT-X-ENDLIST\n",
        "hls-plain": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{canary}\n#EXT-X-ENDLIST\n",
        "hls-master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{canary}\n",
        "concat": f"ffconcat version 1.0\nfile '{canary}'\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{canary}</BaseURL>'
        f"</Representation></AdaptationSet></Period></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 50000 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "m3u": f"#EXTM3U\n{canary}\n",
        "smil": f'<smil><body><video src="{canary}"/></body></smil>',
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{canary}"/></svg>',
        "subtitle": "1\n00:00:00,000 --> 00:00:05,000\nhello\n",
        "ivr": f".R1M\x00{canary}",
        "image2": "P6 2 2 255\n" + "x" * 12,
        "lavfi": "testsrc=size=64x64",
    }


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".m3u8", ".mkv"])
@pytest.mark.parametrize("kind", sorted(traps(Path("x"))))
def test_nothing_else_is_opened(tmp_path: Path, kind: str, suffix: str) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(BIKES.read_bytes())
    path = tmp_path / f"trap{suffix}"
    path.write_text(traps(canary)[kind])
    with watching(canary) as watch:
        for inp in (path, path.read_bytes()):
            for read in (probe, lambda x: list(decode(x)), lambda x: sample(x, ONE)):
                with pytest.raises(MediaError):
                    read(inp)
        assert not watch.opened()


def test_the_traps_are_real(tmp_path: Path) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(BIKES.read_bytes())
    path = tmp_path / "trap.m3u8"
    path.write_text(traps(canary)["concat"])
    with watching(canary) as watch:
        av.open(str(path), options={"safe": "0"}).close()
        assert watch.opened()


@pytest.mark.parametrize(
    "name", ["concat:{0}|{0}", "file:{0}", "subfile,,start,0,end,0,,:{0}", "cache:{0}", "crypto:{0}"]
)
def test_names_are_paths_never_protocols(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(BIKES.read_bytes())
    with watching(canary) as watch:
        with pytest.raises(MediaError, match="cannot open"):
            probe(name.format(canary))
        assert not watch.opened()


def test_mov_references_are_not_followed(tmp_path: Path) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(BIKES.read_bytes())
    make_numbered(tmp_path / "own.mov", num_frames=5)
    path = tmp_path / "trap.mov"
    path.write_bytes(with_reference((tmp_path / "own.mov").read_bytes(), canary))
    with watching(canary) as watch:
        av.open(str(path), container_options={"enable_drefs": "1", "use_absolute_path": "1"}).close()
        assert watch.opened()  # the trap works
        for read in (probe, lambda x: list(decode(x)), lambda x: sample(x, ONE)):
            with pytest.raises(MediaError):
                read(path)
        assert not watch.opened()


def test_music_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=44100)
        cover = out.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        for i in range(20):
            samples = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
            samples.sample_rate, samples.pts = 44100, i * 1024
            for plane in samples.planes:
                plane.update(bytes(plane.buffer_size))
            out.mux(sound.encode(samples))
        out.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        out.mux(cover.encode(None))
        out.mux(sound.encode(None))
    for read in (probe, lambda x: list(decode(x)), lambda x: sample(x, ONE)):
        with pytest.raises(MediaError, match=r"no video stream .*audio, a still picture"):
            read(path)


def test_of_several_videos_the_default_then_the_largest_is_taken(tmp_path: Path) -> None:
    make_numbered(tmp_path / "two.mp4", num_frames=5, more_videos=2)
    with open_media(tmp_path / "two.mp4") as container:
        assert len(container.streams.video) == 3
        assert video_stream(container).width == 320


def test_quick_opening_decodes_the_same() -> None:
    with open_media(BIKES, quick=True) as container:
        quick = [bytes(f.planes[0]) for f, _ in zip(container.decode(video_stream(container)), range(8), strict=False)]
    assert quick == [bytes(f.planes[0]) for f, _ in zip(decode(BIKES), range(8), strict=False)]


def test_a_full_disk_is_no_fault_of_the_video() -> None:
    """Else its clips would be committed as errors, as if they could not be cut."""
    container = av.open("/dev/full", "w", format="mpegts")
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    with pytest.raises(OSError, match="No space left") as caught:  # noqa: PT012  when it flushes is FFmpeg's affair
        for i in range(300):
            picture = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
            packets = stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            with media_errors("mp4 cannot hold a frame"):
                container.mux(packets)
    assert caught.value.errno == errno.ENOSPC
    with suppress(OSError):
        container.close()
    with pytest.raises(MediaError, match=r"it reads: .*memory"), media_errors("it reads"):
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

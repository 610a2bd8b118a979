"""Audio is in sync with the frames it belongs to: a beep starts with every tenth frame."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.cut_checks import cutter_of, frames_of, read_source, span_of
from support.numbered import Beeps, make_numbered, numbers_pyav

from shardpipe.core.cutting import WriteSpec
from shardpipe.media.timeline import with_data

GOP = {"g": "25", "b": "1M"}
GOPS = {"g": "25", "bf": "2"}
SOURCES = {
    "aac.mp4": {"options": GOPS, "audio": Beeps()},
    "stereo.mp4": {"options": GOPS, "audio": Beeps(layout="stereo", rate=44100), "start": 3},
    "aac.ts": {"options": GOPS, "audio": Beeps()},
    "ac3.mkv": {"options": GOPS, "audio": Beeps(codec="ac3")},
    "ac3.ts": {"options": GOPS, "audio": Beeps(codec="ac3")},
    "mp3.ts": {"options": GOPS, "audio": Beeps(codec="libmp3lame")},
    "mp3.mkv": {"options": GOPS, "audio": Beeps(codec="libmp3lame")},
    "opus.webm": {"codec": "libvpx-vp9", "options": {"g": "25"}, "audio": Beeps(codec="libopus")},
    "pcm.avi": {"options": {"g": "25", "bf": "0"}, "audio": Beeps(codec="pcm_s16le")},
}
MAX_ERROR_S = 0.004


def beeps(path: Path) -> list[float]:
    """When tones start, seconds."""
    starts: list[float] = []
    last = -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = frame.to_ndarray().astype(np.float32)
            wave = wave[0] if frame.format.is_planar else wave.reshape(-1, frame.layout.nb_channels)[:, 0]
            loud = np.flatnonzero(np.abs(wave) > (0.2 if "flt" in frame.format.name else 0.2 * 32768))
            for time in float(frame.pts * frame.time_base) + loud / frame.sample_rate:
                if time - last > 0.1:
                    starts.append(float(time))
                last = float(time)
    return starts


@pytest.mark.parametrize("name", SOURCES)
def test_sound_is_in_sync(name: str, tmp_path: Path) -> None:
    made = make_numbered(tmp_path / name, num_frames=80, size=(96, 64), **SOURCES[name])
    source = read_source(made.path)
    for spec in (
        WriteSpec(audio=True),
        WriteSpec(audio=True, max_trim_s=0),
        WriteSpec(audio=True, method="encode"),
        WriteSpec(audio=True, method="editlist"),
    ):
        with cutter_of(source, spec, tmp_path) as cutter:
            for first, stop in ((0, 80), (23, 67), (50, 75)):
                clip = cutter.cut(span_of(cutter, first, stop), "clip")
                low, high = frames_of(source, clip)
                wanted = [
                    float((source.pts[at] - clip.span.start) * source.facts.time_base)
                    for at in range(low, high)
                    if source.numbers[at] % 10 == 0
                ]
                heard = beeps(clip.file)
                assert clip.has_audio
                assert numbers_pyav(clip.file) == list(source.numbers[low:high])
                assert max(min(abs(w - h) for h in heard) for w in wanted) < MAX_ERROR_S, (spec, first, stop)
                with av.open(str(clip.file)) as container:
                    sound, picture = container.streams.audio[0], container.streams.video[0]
                    kind = name.partition(".")[0]
                    assert {"stereo": "aac", "pcm": "aac"}.get(kind, kind) in sound.codec_context.name
                    assert abs(sound.duration * sound.time_base - picture.duration * picture.time_base) < 0.05


@pytest.mark.parametrize(
    ("name", "audio"),
    [("mp3.avi", Beeps(codec="libmp3lame")), ("vorbis.mkv", Beeps(codec="vorbis", layout="stereo"))],
)
def test_sound_keeps_its_place(name: str, audio: Beeps, tmp_path: Path) -> None:
    """AVI tells times in whole packets, between which clips start; Vorbis gives no sound for its first packet."""
    made = make_numbered(tmp_path / name, num_frames=80, size=(96, 64), codec="mpeg4", options=GOP, audio=audio)
    source, wanted = read_source(made.path), beeps(made.path)
    with cutter_of(source, WriteSpec(audio=True, method="encode"), tmp_path) as cutter:
        for first, stop in ((0, 80), (23, 67), (51, 75)):
            clip = cutter.cut(span_of(cutter, first, stop), "clip")
            inside = [at - clip.start_s for at in wanted if clip.start_s + 0.01 < at < clip.end_s - 0.06]
            heard = [at for at in beeps(clip.file) if 0.01 < at < clip.end_s - clip.start_s - 0.06]
            assert len(inside) >= 2
            assert heard == pytest.approx(inside, abs=MAX_ERROR_S / 2)


def test_sound_that_begins_on_the_way_is_left_out(tmp_path: Path) -> None:
    """Of a recording that begins without sound: the pictures are right, and the row says that there is no sound."""
    silent = make_numbered(tmp_path / "a.ts", num_frames=60, size=(96, 64), options={"bf": "0"})
    made = make_numbered(
        tmp_path / "b.ts", num_frames=60, size=(96, 64), options={"bf": "0"}, audio=Beeps(), start=Fraction(60, 25)
    )
    both = tmp_path / "both.ts"
    both.write_bytes(silent.path.read_bytes() + made.path.read_bytes())
    source = read_source(both)
    with cutter_of(source, WriteSpec(audio=True), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 70, len(source.pts)), "clip")
    assert not clip.has_audio
    assert numbers_pyav(clip.file) == list(range(10, 60))


def test_a_demuxer_that_trips_at_the_very_end_loses_no_packet(tmp_path: Path) -> None:
    """PyAV's raises an IndexError there, where a stream that was not there at first has packets left."""
    made = make_numbered(tmp_path / "a.ts", num_frames=20, size=(96, 64), audio=Beeps())
    with av.open(str(made.path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]

    def tripping() -> Iterator[av.Packet]:
        yield from packets
        raise IndexError

    assert list(with_data(tripping())) == packets


def test_sound_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "a.mp4", num_frames=30, size=(96, 64), audio=Beeps())
    source = read_source(made.path)
    with cutter_of(source, WriteSpec(), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 0, 30), "clip")
    assert not clip.has_audio
    with av.open(str(clip.file)) as container:
        assert not container.streams.audio
    assert source.facts.has_audio


def test_a_video_without_sound_gives_clips_without(tmp_path: Path) -> None:
    source = read_source(make_numbered(tmp_path / "a.mp4", num_frames=30, size=(96, 64)).path)
    with cutter_of(source, WriteSpec(audio=True), tmp_path) as cutter:
        assert not cutter.cut(span_of(cutter, 0, 30), "clip").has_audio

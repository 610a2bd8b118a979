"""Files that are no proper video, each for a reason of its own, all named as if they were."""

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from support.boxes import with_reference
from support.composed import VIDEOS, compose
from support.garbage import mutation, remuxed
from support.numbered import make_numbered
from support.numbered_tracks import Beeps

SUFFIXES = ("mp4", "ts", "mkv")


def traps(canary: str) -> dict[str, str]:
    """Texts that would make FFmpeg open `canary`, a path or an address."""
    return {
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{canary}\n#EXT-X-ENDLIST\n",
        "master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{canary}\n",
        "concat": f"ffconcat version 1.0\nfile '{canary}'\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{canary}</BaseURL>'
        f"</Representation></AdaptationSet></Period></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 50000 RTP/AVP 96\n",
    }


def write_traps(folder: Path, canaries: Sequence[str]) -> list[str]:
    """A playlist of each kind under each suffix, that names the canaries in turn; the files' names."""
    kinds = sorted(traps(""))
    names = []
    for i, kind in enumerate(kinds):
        for j, suffix in enumerate(SUFFIXES):
            names.append(f"trap-{kind}.{suffix}")
            (folder / names[-1]).write_text(traps(canaries[(i + j) % len(canaries)])[kind], encoding="utf-8")
    return names


def write_reference(folder: Path, canary: Path) -> list[str]:
    """A mov whose frames lie in another file."""
    own = make_numbered(folder / "trap-reference.mov", num_frames=5)
    own.path.write_bytes(with_reference(own.path.read_bytes(), canary))
    return [own.path.name]


def write_hopeless(folder: Path) -> list[str]:
    """Files that hold no video at all: their names. Each must become one error row."""
    before = {path.name for path in folder.iterdir()}
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("dear diary\n" * 100, encoding="utf-8")
    (folder / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(20_000))
    with av.open(str(folder / "no-frames.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()
    with av.open(str(folder / "audio-only.mp4"), "w") as out:
        _beep(out)
    with av.open(str(folder / "picture.avi"), "w", format="image2") as out:
        still: Any = out.add_stream("png", rate=1)
        still.width, still.height, still.pix_fmt = 64, 48, "rgb24"
        out.mux(still.encode(av.VideoFrame(64, 48, "rgb24")))
        out.mux(still.encode(None))
    bomb = make_numbered(folder / "bomb.mov", num_frames=2, codec="png", pix_fmt="rgb24").path
    size = struct.pack(">II", 320, 180)
    bomb.write_bytes(bomb.read_bytes().replace(b"IHDR" + size, b"IHDR" + struct.pack(">II", 60_000, 60_000)))
    os.mkfifo(folder / "pipe.mp4")
    (folder / "endless.mp4").symlink_to("/dev/zero")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere")
    return sorted(path.name for path in folder.iterdir() if path.name not in before)


def _beep(out: Any) -> None:
    sound = out.add_stream("aac", rate=44100)
    for i in range(20):
        samples = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        samples.sample_rate, samples.pts = 44100, i * 1024
        for plane in samples.planes:
            plane.update(bytes(plane.buffer_size))
        out.mux(sound.encode(samples))
    out.mux(sound.encode(None))


def write_strange(folder: Path) -> list[str]:
    """Files that hold a video of a strange kind; their names. Each may give clips, which must be right."""
    make_numbered(folder / "one-frame.mp4", num_frames=1)
    make_numbered(folder / "one-frame.mkv", num_frames=1)
    make_numbered(folder / "one-pixel.mkv", num_frames=30, size=(1, 1), codec="ffv1", pix_fmt="yuv444p")
    make_numbered(folder / "one-column.mp4", num_frames=30, size=(1, 64), pix_fmt="yuv444p")
    first = make_numbered(folder / "resized.ts", num_frames=40, size=(160, 96), options={"bf": "0"})
    other = make_numbered(
        folder / "other.ts", num_frames=40, size=(96, 64), options={"bf": "0"}, start=Fraction(40, 25)
    )
    first.path.write_bytes(first.path.read_bytes() + other.path.read_bytes())
    times = [Fraction(i, 25) for i in range(40)]
    make_numbered(folder / "gap.mkv", num_frames=60, times_s=[*times, *(each + 2000 for each in times[:20])])
    make_numbered(folder / "years.mkv", num_frames=41, times_s=[*times, Fraction(40_000_000)])
    make_numbered(folder / "slow.mp4", num_frames=3, times_s=[Fraction(0), Fraction(30), Fraction(60)])
    joined = make_numbered(folder / "twice.ts", num_frames=40, options={"bf": "0"})
    joined.path.write_bytes(joined.path.read_bytes() * 2)
    return sorted(path.name for path in folder.iterdir())


def write_shortened(folder: Path) -> list[Path]:
    """About a second of each real clip, in all the containers that are common."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = [
        ("bikes", 30, ("mp4", "mkv", "ts")),
        ("carphone_pristine", 40, ("mp4", "flv")),
        ("bigbuckbunny", 12, ("mp4",)),
    ]
    made = [
        _head(VIDEOS / f"{name}.mp4", folder / f"{name}.{suffix}", count)
        for name, count, suffixes in heads
        for suffix in suffixes
    ]
    cuts = compose(folder / "cuts.mp4", (("bikes", 15, 25), ("carphone_pristine", 0, 25)), size=(160, 90))
    made += [cuts, remuxed(cuts, folder / "cuts.ts")]
    made.append(compose(folder / "old.avi", (("bikes", 0, 25),), size=(160, 90), codec="mpeg4", b=400_000))
    made.append(
        compose(folder / "new.webm", (("bikes", 0, 25),), size=(160, 90), codec="libvpx-vp9", deadline="realtime")
    )
    return made


def write_sounding(folder: Path) -> list[Path]:
    """Two seconds of pictures and beeps, in the containers that are common."""
    folder.mkdir(parents=True, exist_ok=True)
    looks: dict[str, Any] = {"num_frames": 50, "size": (160, 96), "scenes": (20, 35), "options": {"g": "12"}}
    return [make_numbered(folder / f"beeps.{suffix}", audio=Beeps(), **looks).path for suffix in ("mp4", "ts", "mkv")]


def _head(source: Path, target: Path, count: int) -> Path:
    """The first packets of a video in another container."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        wanted = given.streams.video[0]
        stream = out.add_stream_from_template(wanted)
        for packet in islice((each for each in given.demux(wanted) if each.size), count):
            packet.stream = stream
            out.mux(packet)
    return target


def write_mutations(folder: Path, videos: Sequence[Path], seeds: range) -> dict[str, str]:
    """A file a seed: {name: what was done to it}."""
    done = {}
    for seed in seeds:
        what, data = mutation(list(videos), seed)
        path = folder / f"m{seed}{videos[seed % len(videos)].suffix}"
        path.write_bytes(data)
        done[path.name] = what
    return done

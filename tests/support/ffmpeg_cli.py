"""Clips as the ffmpeg program decodes them (Debian's, say), where it is installed; nothing needs it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from support.numbered import read_number

FFMPEG = shutil.which("ffmpeg")


def numbers_ffmpeg(paths: Sequence[Path], *, turn: int = 0) -> list[list[int]]:
    """The numbers of each file's frames, as the program shows them (it applies rotation: give `turn`)."""
    return [[read_number(luma, turn=turn) for luma in pictures] for pictures in ffmpeg_pictures(paths)]


def ffmpeg_pictures(paths: Sequence[Path], *, colors: bool = False) -> Iterator[list[NDArray[np.uint8]]]:
    """The pictures that the program shows of each file: uint8 [H, W] of gray; if `colors`, yuv420p as
    [H * 3 / 2, W]: luma, and below it both chroma planes side by side.
    """
    assert FFMPEG
    command = [FFMPEG, "-v", "error", "-nostdin", "-filter_threads", "1"]
    for path in paths:
        command += ["-threads", "1", "-i", str(path)]
    coder, pix_fmt = ("pgmyuv", "yuv420p") if colors else ("pgm", "gray")
    with TemporaryDirectory() as folder:
        outs = [Path(folder) / str(number) for number in range(len(paths))]
        for number, out in enumerate(outs):
            command += ["-map", f"{number}:v:0", "-vsync", "passthrough", "-c:v", coder, "-pix_fmt", pix_fmt]
            command += ["-f", "image2pipe", str(out)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        for out in outs:
            yield list(_pictures(out.read_bytes()))


def _pictures(data: bytes) -> Iterator[NDArray[np.uint8]]:
    """PGM pictures, one after the other, each with its size in its header."""
    at = 0
    while at < len(data):
        kind, size, depth, _ = data[at : at + 64].split(b"\n", 3)
        assert (kind, depth) == (b"P5", b"255")
        width, height = (int(word) for word in size.split())
        at += len(kind) + len(size) + len(depth) + 3
        yield np.frombuffer(data, np.uint8, width * height, at).reshape(height, width)
        at += width * height

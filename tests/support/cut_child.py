"""Runs the `cut` of a config on another machine, as it were: fewer cores, older SIMD levels. Prints what it wrote.

    python cut_child.py CONFIG.json '{"ffmpeg": "0x1F", "x264": "sse2", "cores": 1}'

ffmpeg: av_force_cpu_flags, which libavcodec, libswscale and libavfilter follow. x264: its own `asm` option.
cores: CPU affinity as far as there are as many, and what FFmpeg and OpenCV believe.
One line of JSON: {"tars": {path: sha256}, "clips": {key: sha256}, "flags": FFmpeg's, "x264": what x264 says it uses}.
"""

import ctypes
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import av
import cv2


def libavutil() -> Path | None:
    """PyAV's own, None if its FFmpeg is elsewhere."""
    return next(iter(Path(av.__file__).parents[1].glob("av.libs/libavutil-*")), None)


def settle(machine: dict[str, Any]) -> int:
    """Make this process believe that it runs on such a machine; FFmpeg's CPU flags."""
    path = libavutil()
    assert path is not None
    avutil = ctypes.CDLL(str(path))
    if "ffmpeg" in machine:
        avutil.av_force_cpu_flags(int(machine["ffmpeg"], 0))
    if cores := machine.get("cores"):
        avutil.av_cpu_force_count(cores)
        cv2.setNumThreads(cores)
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if "x264" in machine:
        limit_x264(machine["x264"])
    return int(avutil.av_get_cpu_flags())


def limit_x264(level: str) -> None:
    """Add `asm=LEVEL` to the options of every x264 that media/ opens."""
    from shardpipe.executors import run
    from shardpipe.media import smartcut
    from shardpipe.media.remux import Mp4

    def limited(options: dict[str, str]) -> dict[str, str]:
        return {**options, "x264-params": f"{options['x264-params']}:asm={level}"}

    encoded, encoder = Mp4.encoded, smartcut.video_encoder

    class Limited:
        """A codec context whose options get one more."""

        def __init__(self, context: Any) -> None:
            object.__setattr__(self, "context", context)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.context, name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(self.context, name, limited(value) if name == "options" else value)

    def limited_encoded(self: Mp4, codec: str, options: dict[str, str]) -> Any:
        return encoded(self, codec, limited(options) if codec == "libx264" else options)

    run.check_encoder = lambda _: None  # its x264 is not limited, and writes no clip
    Mp4.encoded = limited_encoded  # type: ignore[method-assign]
    smartcut.video_encoder = lambda name: Limited(encoder(name))  # type: ignore[assignment, return-value]


def tars_of(root: Path) -> dict[str, str]:
    """The sha256 of each tar of `clips`."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.glob("clips/shards/*.tar"))
    }


def main() -> None:
    """See above."""
    config_path, machine = Path(sys.argv[1]), json.loads(sys.argv[2])
    flags = settle(machine)
    from support.runs import rows_of, run_inline

    from shardpipe.config.load import load_config
    from shardpipe.storage.store import open_store

    config = load_config(config_path, [f"root={sys.argv[3]}", "execute.type=inline"])
    av.logging.set_level(av.logging.VERBOSE)
    with av.logging.Capture(local=False) as lines:
        run_inline(config)
    told = sorted({text.split("capabilities: ")[1].strip() for _, _, text in lines if "capabilities: " in text})
    rows = rows_of(open_store(config.root), "clips")
    clips = {key: row["sha256"] for key, row in rows.items()}
    methods = sorted({row["cut_method"] for row in rows.values() if row["cut_method"]})
    found = {"tars": tars_of(Path(config.root)), "clips": clips, "methods": methods, "flags": flags, "x264": told}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

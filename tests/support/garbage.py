"""Broken videos: seeded mutations of real files, and a child process that reads them all and lives.

Run as a program it takes a folder of videos and a range of seeds, and writes one line of JSON a mutation to stdout.
"""

import json
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from support.peak import peak_kb

MEMORY = 4 << 30  # address space, most of it libraries
SECONDS = 30  # for one mutation, on a busy machine


def remuxed(source: Path, target: Path) -> Path:
    """The same packets in another container, by the target's suffix."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        wanted = given.streams.video[0]
        stream = out.add_stream_from_template(wanted)
        for packet in given.demux(wanted):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return target


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def behead(data: bytearray, rng: random.Random) -> None:
    del data[: rng.randrange(1, len(data))]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 10, 100, 1000))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    """Bits within the first kilobytes, or within mp4's `moov` wherever it is."""
    moov = data.find(b"moov")
    start = rng.choice((0, moov)) if moov > 0 else 0
    stop = min(len(data), start + rng.choice((100, 1000, 5000)))
    for _ in range(rng.choice((1, 2, 5, 20))):
        data[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)


def big_numbers(data: bytearray, rng: random.Random) -> None:
    """Huge sizes and counts where headers have small ones."""
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(min(len(data) - 4, 4000))
        at = at if rng.random() < 0.5 else max(0, data.find(b"moov")) + at
        data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", bytes(4)))


def zero_block(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((16, 512, 8192, 65536))
    data[at : at + size] = bytes(len(data[at : at + size]))


def noise_block(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((16, 512, 8192))
    data[at : at + size] = rng.randbytes(len(data[at : at + size]))


def delete_block(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 100, 5000))]


def repeat_block(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((4, 188, 4096))
    data[at:at] = data[at : at + size] * rng.randrange(1, 4)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    truncate, behead, flip_bits, flip_header, big_numbers, zero_block, noise_block, delete_block, repeat_block,
)  # fmt: skip


def mutation(videos: list[Path], seed: int) -> tuple[str, bytes]:
    """What mutation `seed` does, and its bytes."""
    rng = random.Random(seed)
    path = videos[seed % len(videos)]
    data = bytearray(path.read_bytes())
    steps = []
    if rng.random() < 0.1:  # the header of one video before the data of another
        other = rng.choice(videos)
        data[: rng.choice((64, 1024, 8192))] = other.read_bytes()[: rng.choice((64, 1024, 8192))]
        steps.append(f"header of {other.name}")
    for _ in range(rng.choice((1, 1, 2))):
        change = rng.choice(MUTATIONS)
        if len(data) > 8:
            change(data, rng)
            steps.append(change.__name__)
    return f"{path.name}, seed {seed}: {', '.join(steps)}", bytes(data)


def read_all(data: bytes) -> dict[str, Any]:
    """probe, decode and sample one input: how each went. Raises only what it must not."""
    from shardpipe.core.errors import MediaError
    from shardpipe.core.frames import FrameRequest, Rate, Uniform
    from shardpipe.media.decode import SmallBgr, decode
    from shardpipe.media.probe import probe
    from shardpipe.media.sample import sample

    went: dict[str, Any] = {}

    def attempt(name: str, work: Callable[[], object]) -> None:
        try:
            went[name] = work()
        except MediaError as error:
            if not str(error):
                raise AssertionError("an error without words") from error
            went[name] = str(error)

    def check_facts() -> str:
        facts = probe(data)
        if not (facts.num_frames >= 1 and facts.duration_s > 0 and facts.fps > 0 and facts.sar > 0):
            raise AssertionError(f"absurd facts: {facts}")
        return "ok"

    def check_frames(**window: float) -> str:
        last, num = None, 0
        for frame in decode(data, **window):
            if last is not None and (frame.pts is None or frame.pts <= last):
                raise AssertionError("times do not rise")
            last, num = frame.pts, num + 1
            if num % 16 == 1:
                SmallBgr(64, 36)(frame)
        return "ok" if num or window else "nothing, and no error"

    def check_samples(requests: list[FrameRequest]) -> str:
        made = sample(data, requests)
        if not all(len(frames.data) == len(frames.times_s) > 0 for frames in made):
            raise AssertionError("samples and times differ")
        return "ok"

    attempt("probe", check_facts)
    attempt("decode", check_frames)
    attempt("seek", lambda: check_frames(start_s=1.5, end_s=2.0))
    attempt(
        "sample",
        lambda: check_samples(
            [FrameRequest(Rate(4), long_side=64, pixels="gray"), FrameRequest(Uniform(2), long_side=64)]
        ),
    )
    attempt("keyframes", lambda: check_samples([FrameRequest(Uniform(1), long_side=64, tolerance_s=9.0)]))
    return went


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    """FOLDER FIRST LAST: read mutations FIRST to LAST - 1 of the folder's videos."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    videos = sorted(folder.iterdir())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    read_all(videos[0].read_bytes())  # what is opened once and kept does not count as a leak
    descriptors = open_files()
    for seed in range(first, last):
        what, data = mutation(videos, seed)
        print(json.dumps({"begin": what}), flush=True)
        signal.alarm(SECONDS)
        went = read_all(data)
        signal.alarm(0)
        print(json.dumps({"end": what, "went": went, "peak_kb": peak_kb()}), flush=True)
    print(json.dumps({"leaked": open_files() - descriptors}), flush=True)


if __name__ == "__main__":
    main()

"""Decode processes: what crashes, hangs or takes too much memory costs its clip, and nothing else."""

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.bad_decoders import serve_badly, serve_late

from shardpipe.core.errors import StoreError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.engine.passes import decoders
from shardpipe.engine.passes.decodechild import Media
from shardpipe.engine.passes.decoders import Decoded, DecodeProcess, InProcessDecoder
from shardpipe.testing import make_clip

REQUESTS = (FrameRequest(Uniform(n=3), long_side=64), FrameRequest(Uniform(n=2), pixels="gray"))
BOX = b"\0\0\0\x18free"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", duration_s=0.5, size=(160, 90)).read_bytes()


@pytest.fixture(autouse=True)
def _children_that_may_go_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "serve", serve_badly)
    monkeypatch.setenv("LEAK_BYTES", str(700 << 20))


@pytest.fixture
def process() -> Iterator[DecodeProcess]:
    decoder = DecodeProcess(timeout_s=60, memory_bytes=1 << 30)
    yield decoder
    decoder.close()
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def media(clip: bytes, what: str = "") -> Media:
    """The clip, which does `what` to its decoder."""
    data = clip + BOX + f"!{what}".encode().rjust(16, b".") if what else clip
    return Media(None, 0, len(data), sha256_hex(data), data)


def same(found: Decoded, clip: bytes) -> bool:
    expected = InProcessDecoder().decode(media(clip), REQUESTS)
    return found.error is None and all(
        np.array_equal(a.data, b.data) and np.array_equal(a.times_s, b.times_s)
        for a, b in zip(found.frame_sets, expected.frame_sets, strict=True)
    )


def test_frames_are_those_of_a_decode_in_process(process: DecodeProcess, clip: bytes, tmp_path: Path) -> None:
    file = tmp_path / "shard.tar"
    file.write_bytes(b"x" * 700 + clip + b"y" * 700)
    found = [process.decode(media(clip), REQUESTS)]
    found.append(process.decode(Media(str(file), 700, len(clip), sha256_hex(clip)), REQUESTS))
    assert all(same(each, clip) for each in found)
    for each in found:
        each.release()


def test_a_slot_that_is_too_small(process: DecodeProcess, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "FIRST_SLOT", 4096)
    process.start()
    num_files = len(list(Path("/proc/self/fd").iterdir()))
    held = [process.decode(media(clip), REQUESTS) for _ in range(3)]
    assert all(same(each, clip) for each in held)
    process.close()
    for each in held:
        each.release()
    del each, held
    assert len(list(Path("/proc/self/fd").iterdir())) < num_files


def test_a_clip_that_crashes_its_decoder(process: DecodeProcess, clip: bytes) -> None:
    found = process.decode(media(clip, "segfault"), REQUESTS)
    assert found.error == "the decoder crashed on this clip (SIGSEGV)"
    assert same(process.decode(media(clip), REQUESTS), clip)


def test_a_clip_that_raises(process: DecodeProcess, clip: bytes) -> None:
    assert process.decode(media(clip, "raise"), REQUESTS).error == "RuntimeError: a library said no"


def test_a_clip_that_hangs(clip: bytes) -> None:
    process = DecodeProcess(timeout_s=3, memory_bytes=1 << 30)
    process.start()
    assert same(process.decode(media(clip), REQUESTS), clip)
    began = time.monotonic()
    assert process.decode(media(clip, "hang"), REQUESTS).error == "decoding took more than 3 s"
    assert time.monotonic() - began < 30
    process.close()


def test_a_child_that_starts_slowly_costs_no_clip(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "serve", serve_late)
    process = DecodeProcess(timeout_s=3, memory_bytes=1 << 30)
    assert same(process.decode(media(clip), REQUESTS), clip)
    process.close()


def test_a_clip_that_takes_too_much_memory(process: DecodeProcess, clip: bytes) -> None:
    error = process.decode(media(clip, "hoard"), REQUESTS).error
    assert error is not None
    assert "memory that a clip may take" in error
    assert same(process.decode(media(clip), REQUESTS), clip)


def test_memory_that_was_leaked_by_earlier_clips(process: DecodeProcess, clip: bytes) -> None:
    for _ in range(3):
        found = process.decode(media(clip, "leak"), REQUESTS)
        assert found.error is None
        found.release()


def test_a_decoder_that_is_killed_from_outside(process: DecodeProcess, clip: bytes) -> None:
    process.start()
    (child,) = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
    child.kill()
    assert same(process.decode(media(clip), REQUESTS), clip)


def test_a_changed_byte_and_a_missing_file(process: DecodeProcess, clip: bytes, tmp_path: Path) -> None:
    changed = Media(None, 0, len(clip), sha256_hex(b"other"), clip)
    error = process.decode(changed, REQUESTS).error
    assert error is not None
    assert "sha256" in error
    missing = process.decode(Media(str(tmp_path / "gone"), 0, 5, None), REQUESTS)
    assert missing.error is not None
    unreadable = process.decode(Media(str(tmp_path), 0, 5, None), REQUESTS)
    assert unreadable.error is None
    assert unreadable.raised is not None


def test_a_machine_without_room_for_frames(
    process: DecodeProcess, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no error of the clip, and no descriptor is left or closed twice."""
    monkeypatch.setattr(decoders, "FIRST_SLOT", 4096)
    process.start()
    make = decoders._Slot.make

    def small_only(number: int, size: int) -> decoders._Slot:
        if size > 4096:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return make(number, size)

    monkeypatch.setattr(decoders._Slot, "make", small_only)
    num_files = len(list(Path("/proc/self/fd").iterdir()))
    found = process.decode(media(clip), REQUESTS)
    assert found.error is None
    assert isinstance(found.raised, StoreError)
    assert len(list(Path("/proc/self/fd").iterdir())) < num_files
    monkeypatch.undo()
    monkeypatch.setattr(decoders, "serve", serve_badly)
    assert same(process.decode(media(clip), REQUESTS), clip)


def test_closing_a_decoder_at_work(clip: bytes) -> None:
    process = DecodeProcess(timeout_s=60, memory_bytes=1 << 30)
    process.start()
    found: list[Decoded] = []
    thread = threading.Thread(target=lambda: found.append(process.decode(media(clip, "hang"), REQUESTS)))
    thread.start()
    time.sleep(1)
    process.close()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert found[0].frame_sets == ()

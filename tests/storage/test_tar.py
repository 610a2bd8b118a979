"""The tar writer, byte by byte, and the reader on damaged and foreign tars."""

import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
import xxhash

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.storage import tar as tar_module
from shardpipe.storage.tar import TarWriter, read_members

MEMBERS = [
    ("k1.json", b'{"a":1}'),
    ("k1.mp4", b"v" * 70_000),
    ("k2.json", b"{}"),
    ("k2.mp4", b""),
    ("k2.emb.npy", b"x" * 512),
]


def write(path: Path, members: list[tuple[str, bytes]] = MEMBERS) -> TarWriter:
    with TarWriter(path) as writer:
        for name, data in members:
            writer.add(name, data)
        writer.close()
    return writer


def stdlib_tar(members: list[tuple[str, bytes]], kind: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_bytes_are_those_of_the_standard_library(tmp_path: Path) -> None:
    write(tmp_path / "a.tar")
    ours = (tmp_path / "a.tar").read_bytes()
    theirs = stdlib_tar(MEMBERS, tarfile.USTAR_FORMAT)
    normal = bytearray(theirs[: len(ours)])
    for offset in [data - 512 for _, data, _ in read_members(theirs)]:  # it leaves the device numbers empty
        normal[offset + 329 : offset + 345] = b"0000000\0" * 2
        head = normal[offset : offset + 512]
        head[148:156] = b" " * 8
        normal[offset + 148 : offset + 156] = b"%06o\0 " % sum(head)
    assert ours == bytes(normal)
    assert not theirs[len(ours) :].strip(b"\0")


def test_two_writes_are_the_same_bytes_and_hashes_are_right(tmp_path: Path) -> None:
    files = [tmp_path / "a.tar", tmp_path / "b.tar"]
    refs = []
    for file in files:
        with TarWriter(file) as writer:
            for name, data in MEMBERS:
                writer.add(name, memoryview(data))
            refs.append(writer.close())
    data = files[0].read_bytes()
    assert data == files[1].read_bytes()
    assert refs[0] == refs[1]
    assert refs[0].num_bytes == len(data)
    assert refs[0].sha256 == hashlib.sha256(data).hexdigest()


def test_offsets(tmp_path: Path) -> None:
    with TarWriter(tmp_path / "a.tar") as writer:
        places = [writer.add(name, data) for name, data in MEMBERS]
        num_bytes = writer.num_bytes
        writer.close()
    data = (tmp_path / "a.tar").read_bytes()
    assert [data[at : at + size] for at, size in places] == [payload for _, payload in MEMBERS]
    assert writer.num_samples == 2
    assert writer.sample_offsets == [0, places[2][0] - 512, len(data) - 1024]
    assert num_bytes == len(data) - 1024
    assert list(struct.unpack("<3q", writer.index())) == writer.sample_offsets
    found = [(name, at, size) for name, at, size in read_members(data)]
    assert found == [(name, *place) for (name, _), place in zip(MEMBERS, places, strict=True)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "a.tar")
    samples = list(wds.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["k1", "k2"]
    assert {f"{s['__key__']}.{ext}": s[ext] for s in samples for ext in s if not ext.startswith("__")} == dict(MEMBERS)


def test_add_file_is_add(tmp_path: Path) -> None:
    write(tmp_path / "a.tar")
    with TarWriter(tmp_path / "b.tar") as writer:
        for name, data in MEMBERS:
            (tmp_path / "member").write_bytes(data)
            writer.add_file(name, tmp_path / "member")
        writer.close()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_add_file_of_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "PIECE", 1000)
    monkeypatch.setattr(tar_module, "PENDING", 3000)
    data = os.urandom(10_001)
    (tmp_path / "member").write_bytes(data)
    with TarWriter(tmp_path / "a.tar") as writer:
        part = writer.add_file("a.mp4", tmp_path / "member")
        ref = writer.close()
    written = (tmp_path / "a.tar").read_bytes()
    assert written[part.offset : part.offset + part.size] == data
    assert part.xxh128 == xxhash.xxh3_128_hexdigest(data)
    assert ref.sha256 == hashlib.sha256(written).hexdigest()


def test_add_file_that_grows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "member").write_bytes(b"x" * 100)
    real = os.fstat

    class Shorter:
        def __init__(self, fd: int) -> None:
            self.st_size = real(fd).st_size - 1

    monkeypatch.setattr(tar_module.os, "fstat", Shorter)
    with pytest.raises(StoreError, match="changed while it was packed"), TarWriter(tmp_path / "a.tar") as writer:
        writer.add_file("a.mp4", tmp_path / "member")
    assert not (tmp_path / "a.tar").exists()


def test_arrays_and_views_are_buffers(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    with TarWriter(tmp_path / "a.tar") as writer:
        at, size = writer.add("a.bin", memoryview(pixels))
        writer.close()
    assert (tmp_path / "a.tar").read_bytes()[at : at + size] == pixels.tobytes()


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tar")
    monkeypatch.setattr(tar_module.os, "writev", lambda fd, views: os.write(fd, views[0][:777]))
    write(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.",
        ".json",
        "a b.json",
        "a.JSON",
        "x/a.json",
        "../a.json",
        "a..json",
        "é.json",
        "a.json\n",
        f"{'k' * 96}.json",
    ],
)
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="bad member name"), TarWriter(tmp_path / "a.tar") as writer:
        writer.add(name, b"x")
    assert not (tmp_path / "a.tar").exists()


def test_the_longest_name(tmp_path: Path) -> None:
    name = f"{'k' * 88}.video_embed"
    assert len(name) == 100
    write(tmp_path / "a.tar", [(name, b"x")])
    assert [found for found, _, _ in read_members((tmp_path / "a.tar").read_bytes())] == [name]


@pytest.mark.parametrize("names", [["a.json", "b.json", "a.mp4"], ["a.json", "a.json"]])
def test_scattered_and_double_members_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        write(tmp_path / "a.tar", [(name, b"x") for name in names])
    assert not (tmp_path / "a.tar").exists()


def test_empty_tars_and_forgotten_closes_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no members"):
        write(tmp_path / "a.tar", [])
    with TarWriter(tmp_path / "b.tar") as writer:
        writer.add("a.json", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tar_module.os, "writev", full)
    with pytest.raises(StoreError, match="disk is full"):
        write(tmp_path / "a.tar")
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_member(tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 8 << 30)
    with pytest.raises(StoreError, match="cut shorter clips"), TarWriter(tmp_path / "a.tar") as writer:
        writer.add_file("a.mp4", tmp_path / "huge")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_foreign_tars_are_read(kind: int) -> None:
    members = [("a/b.mp4", b"1" * 600), (f"{'d/' * 60}long{'g' * 30}.mp4", b"22"), ("ü.mkv", b"333")]
    data = stdlib_tar(members, kind)
    assert [(name, data[at : at + size]) for name, at, size in read_members(io.BytesIO(data))] == members


def test_folders_and_links_are_no_members() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("x")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert list(read_members(out.getvalue())) == []


def test_every_cut_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [("k1.json", b"{}"), ("k1.mp4", b"v" * 600), ("k2.json", b"{}")])
    data = (tmp_path / "a.tar").read_bytes()
    for length in range(0, len(data) - 512, 64):  # the end mark is two blocks, and one is enough
        with pytest.raises(IntegrityError):
            list(read_members(data[:length]))


def test_damaged_headers_are_found(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [("k1.json", b"{}"), ("k1.mp4", b"v" * 600), ("k2.json", b"{}")])
    whole = (tmp_path / "a.tar").read_bytes()
    for _, at, _ in read_members(whole):
        for place in (0, 124, 130, 148, 156):
            data = bytearray(whole)
            data[at - 512 + place] ^= 1
            with pytest.raises(IntegrityError):
                list(read_members(bytes(data)))


def test_compressed_tars_and_other_files_are_no_tars() -> None:
    for data in (b"", b"hello" * 1000, b"\x1f\x8b" + bytes(2000)):
        with pytest.raises(IntegrityError):
            list(read_members(data))


def test_a_member_in_pieces(tmp_path: Path) -> None:
    data = os.urandom(700_001)
    plain, pieced = TarWriter(tmp_path / "a.tar"), TarWriter(tmp_path / "b.tar", stays=False)
    at = plain.add("k1.mp4", data)
    part = pieced.add_pieces("k1.mp4", len(data), (data[i : i + 300_000] for i in range(0, len(data), 300_000)))
    assert (part.offset, part.size, part.xxh128) == (*at, xxhash.xxh3_128_hexdigest(data))
    assert plain.close() == pieced.close()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with TarWriter(tmp_path / "c.tar") as writer, pytest.raises(IntegrityError, match="100 bytes instead of 101"):
        writer.add_pieces("k1.mp4", 101, [b"x" * 100])

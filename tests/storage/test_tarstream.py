"""A tar as it streams by: the members that `read_members` gives, whatever the chunks; and all that is wrong with one."""

import io
import tarfile
from pathlib import Path

import pytest

from shardpipe.core.errors import IntegrityError
from shardpipe.storage.tar import TarWriter, read_members
from shardpipe.storage.tarstream import stream_members

MEMBERS = {"a.json": b"{}", "a.mp4": bytes(range(256)) * 5, "b.json": b"", "b.mp4": b"x" * 512}


@pytest.fixture
def tar(tmp_path: Path) -> bytes:
    with TarWriter(tmp_path / "a.tar") as writer:
        for name, data in MEMBERS.items():
            writer.add(name, data)
        writer.close()
    return (tmp_path / "a.tar").read_bytes()


def streamed(data: bytes, chunk: int = 700) -> list[tuple[str, int, int, bytes]]:
    found: dict[tuple[str, int, int], bytes] = {}
    for member, piece in stream_members(data[at : at + chunk] for at in range(0, len(data), chunk)):
        found[tuple(member)] = found.get(tuple(member), b"") + bytes(piece)
    return [(*member, payload) for member, payload in found.items()]


@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 10_000])
def test_members(tar: bytes, chunk: int) -> None:
    found = streamed(tar, chunk)
    assert [each[:3] for each in found] == list(read_members(tar))
    assert {name: payload for name, _, _, payload in found} == MEMBERS


def test_a_tar_that_is_cut_short_anywhere_is_refused(tar: bytes) -> None:
    for size in range(0, len(tar), 64):
        with pytest.raises(IntegrityError):
            streamed(tar[:size])


def test_bytes_that_do_not_belong_there_are_refused(tar: bytes) -> None:
    for damaged in (tar + b"\0", tar + bytes(512), tar[:-1] + b"x", tar[:514] + b"x" + tar[515:], b"x" + tar[1:]):
        with pytest.raises(IntegrityError):
            streamed(damaged)


def test_links_are_refused() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.mp4")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    with pytest.raises(IntegrityError, match="no plain file"):
        streamed(file.getvalue())

"""Names that strangers give: members of tars, cells of lists, columns. Whatever they are, they lead out of no folder and cost no one else."""

import csv
import io
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.agreement import check_clips, check_train
from support.runs import make_config, run_inline, snapshot

from shardpipe.core.clip import KEY
from shardpipe.core.errors import MAX_IN_ROW
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.opened import open_dataset
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import open_store
from shardpipe.storage.tar import read_members

OBJECT = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
MEMBERS = (
    "plain.mp4",
    "../../escape.mp4",
    "/etc/passwd.mp4",
    "a/../../b.mp4",
    f"{'x' * 5000}.mp4",
    f"{'dir/' * 1200}z.mp4",
    "control\x1b[2J\r\n\x7f.mp4",
    "back\\..\\slash.mp4",
    "half\udcff.mp4",
    "s3://bucket/k.mp4",
    "file:///etc/passwd.mp4",
    "\N{CJK UNIFIED IDEOGRAPH-65E5} \N{GRINNING FACE}\u202e.mp4",
    "q'\"<script>$(touch x)`.mp4",
    "-rf.mp4",
    "::x.mp4",
    "%2e%2e%2fx.mp4",
    "a.b.c.mp4",
    " .mp4",
)
CELLS = (
    "../../../../../../../../etc/passwd",
    "/etc/group",
    "file:///etc/shadow",
    "/dev/zero",
    "/proc/self/environ",
    "y" * 5000,
    "/" + "d/" * 3000,
    "nul\0l.mp4",
    "a\0/../b.mp4",
    "control\x1b[2J.mp4",
    "foo://bar/x.mp4",
    "memory://nope/x.mp4",
    "s3://",
    "http://[::1",
    "http://127.0.0.1:1/x.mp4",
    "https://x\r\nHost: y/z.mp4",
    "://",
    "a::b",
    "dir://x",
    "concat:/etc/passwd|/etc/hosts",
    "subfile,,start,0,end,10,,:/etc/passwd",
    "data:video/mp4;base64,AAAA",
    "\\\\host\\share\\v.mp4",
    "..",
    "  ",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a folder deep inside the one that is watched."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def assert_inside(root: Path, top: Path, before: set[Path]) -> None:
    """Nothing new lies outside of the root, and all that is in it is called as objects are, and belongs to something."""
    new = {path for path in top.rglob("*") if path not in before and root not in (path, *path.parents)}
    assert new == set()
    store = open_store(str(root))
    for path, data in snapshot(store).items():
        assert OBJECT.fullmatch(path), path
        if path.endswith(".tar"):
            keys = {name.partition(".")[0] for name, _, _ in read_members(data)}
            assert all(map(KEY.match, keys))
            assert all(len(key) <= 88 for key in keys)
    report = verify(str(root))
    assert (report.problems, report.notes) == ((), ())


def write_tar(path: Path, names: Sequence[str], data: bytes) -> None:
    """A tar of these members, and of links and a device, which are no videos."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, kind in (("link.mp4", tarfile.SYMTYPE), ("hard.mp4", tarfile.LNKTYPE), ("dev.mp4", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)


def test_members_of_a_tar(videos: Path, here: Path, tmp_path: Path) -> None:
    """Each becomes clips: a member's name is a name, and never opened."""
    write_tar(here / "odd.tar", MEMBERS, (videos / "v1.mp4").read_bytes())
    before = set(tmp_path.rglob("*"))
    passes = [{"name": "train", "emit": {"members": ["json", "mp4"]}}]
    report = run_inline(make_config(here / "root", here / "odd.tar", passes))
    assert not report.pending
    store = open_store(str(here / "root"))
    rows = check_clips(store)
    assert {row["error"] for row in rows.values()} == {None}
    assert len({row["source"] for row in rows.values()}) == len(MEMBERS)
    assert len({row["video_id"] for row in rows.values()}) == len(MEMBERS)
    assert len(rows) == 2 * len(MEMBERS)
    check_train(store, "train")
    assert_inside(here / "root", tmp_path, before)


def test_cells_of_a_list(videos: Path, here: Path, tmp_path: Path) -> None:
    """What cannot be opened as a video is an error row that shows nothing of the file; the others are cut. Relative: to where we are."""
    (here / "near.mp4").write_bytes((videos / "v1.mp4").read_bytes())
    good = ["near.mp4", str(videos / "v0.mp4")]
    with (here / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "Na/me", "../x", "c" * 5000, "control"])
        writer.writerows([url, f"{i}/..", "n\0l", "long " * 20_000, "\x1b[2J"] for i, url in enumerate([*CELLS, *good]))
    before = set(tmp_path.rglob("*"))
    passes = [{"name": "train", "keep": ["na_me IS NOT NULL"], "emit": "shards"}]
    report = run_inline(make_config(here / "root", here / "list.csv", passes, max_failed=1.0))
    assert not report.pending
    rows = check_clips(open_store(str(here / "root")))
    failed = {row["source"]: row["error"] for row in rows.values() if row["error"] is not None}
    assert failed.keys() == set(CELLS)
    for error in failed.values():
        assert error.isprintable() or "\n" in error
        assert len(error) < MAX_IN_ROW + 50
        assert "root:" not in error
        assert os.environ["PATH"] not in error
    whole = {row["source"] for row in rows.values() if row["error"] is None}
    assert whole == set(good)
    assert {"na_me", "___x", "c" * 5000} <= {
        name.removeprefix("source_") for name in open_dataset(f"{here}/root/clips").columns
    }
    assert_inside(here / "root", tmp_path, before)
    store = open_store(str(here / "root"))
    table, _ = decode_rows(store.read("clips/rows/000000.parquet"))
    assert set(table.column("control").to_pylist()) == {"\x1b[2J"}

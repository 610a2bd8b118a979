"""Scratch: leftovers of the dead go whatever the root is, a limit holds over processes, a full disk is told."""

import errno
import gc
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shardpipe.core.errors import ConfigError, IncompleteError, StoreError
from shardpipe.engine.worker import scratch_folder
from shardpipe.storage import scratch as scratching
from shardpipe.storage.scratch import Scratch, ScratchSettings, grow
from shardpipe.storage.scratchbytes import counting
from shardpipe.storage.store import Store, open_store

HOLDER = Path(__file__).parents[1] / "support" / "scratch_holder.py"


def holder(base: Path, limit: int, num_bytes: int) -> tuple[subprocess.Popen[str], Path]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(HOLDER), str(base), str(limit), str(num_bytes)], text=True, **pipes)  # type: ignore[call-overload]
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=30)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path, root: str, kind: str) -> None:
    base = tmp_path / "scratch"
    process, folder = holder(base, 10_000, 1000)
    living, kept = holder(base, 10_000, 1000)
    kill(process)
    assert (folder / "file").is_file()
    open_store(root if kind == "local" else "memory://scratch/run", scratch=ScratchSettings(base))
    assert not folder.parent.exists()
    assert (kept / "file").is_file()
    end(living)
    assert [path.name for path in base.iterdir()] == [".limit"]


def test_a_remote_roots_scratch_is_ours_alone_below_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = open_store("memory://scratch/run").scratch()
    base = tmp_path / f"shardpipe-{os.getuid()}"
    assert folder.parent.parent == base
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    shutil.rmtree(base)
    (tmp_path / "elsewhere").mkdir()
    base.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"belongs to another user: give execute\.scratch another folder"):
        open_store("memory://scratch/run").scratch()


@pytest.mark.parametrize("url", ["local", "memory://scratch/run"])
def test_scratch_lies_where_it_is_wanted(tmp_path: Path, root: str, url: str) -> None:
    store = open_store(root if url == "local" else url, scratch=ScratchSettings(tmp_path / "mine"))
    with scratch_folder(store) as folder:
        assert folder.is_relative_to(tmp_path / "mine")
        (folder / "tar").write_bytes(b"tar")
        store.put_file("x/a.tar", folder / "tar")
    assert store.read("x/a.tar") == b"tar"
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"nothing can be written in .*file.*: give execute\.scratch another folder"):
        open_store(root, scratch=ScratchSettings(tmp_path / "file" / "below")).scratch()


def limited(base: Path, num_bytes: int) -> Store:
    return open_store("memory://scratch/run", scratch=ScratchSettings(base, num_bytes))


def test_who_needs_more_than_others_leave_waits_for_them(tmp_path: Path) -> None:
    process, folder = holder(tmp_path, 1000, 700)
    store = limited(tmp_path, 1000)
    done = threading.Event()

    def need() -> None:
        with scratch_folder(store, 400):
            done.set()

    waiting = threading.Thread(target=need)
    waiting.start()
    assert not done.wait(0.5)
    with scratch_folder(store, 300):  # for this there is room
        assert folder.is_dir()
    end(process)
    assert done.wait(10)
    waiting.join()


def test_bytes_of_a_killed_process_are_free(tmp_path: Path) -> None:
    process, _ = holder(tmp_path, 1000, 700)
    kill(process)
    with scratch_folder(limited(tmp_path, 1000), 1000):
        pass


def test_what_never_fits_is_an_error_and_a_guess_takes_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = limited(tmp_path, 1000)
    text = rf"needs 1,001 bytes of scratch in {tmp_path}, and execute\.scratch_bytes allows 1,000: raise it"
    with pytest.raises(StoreError, match=text):
        store.scratch(1001)
    monkeypatch.setattr(scratching, "GROW_WAIT_S", 0.2)
    with scratch_folder(store, 5000, is_guess=True) as folder:
        grow(folder, 1000)
        with pytest.raises(StoreError, match=text):
            grow(folder, 1001)
    with scratch_folder(store, 600) as folder, scratch_folder(store, 300):
        grow(folder, 700)
        with pytest.raises(StoreError, match=r"needs 701 bytes of scratch .* and other workers did not leave so many"):
            grow(folder, 701)
    with scratch_folder(open_store("memory://scratch/run", scratch=ScratchSettings(tmp_path)), 10**15) as folder:
        grow(folder, 10**16)  # no limit


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, code: int) -> None:
    store = open_store("memory://scratch/run", scratch=ScratchSettings(tmp_path))
    text = f"the disk of the scratch folder {tmp_path} is full"
    with pytest.raises(StoreError, match=text), scratch_folder(store) as folder:
        raise OSError(code, "no room")
    assert not folder.exists()


@pytest.mark.slow
def test_many_processes_share_a_limit(tmp_path: Path) -> None:
    """At no time do they hold more than it together."""
    code = (
        "import sys, time; from pathlib import Path; from shardpipe.storage.scratch import Scratch; import shutil\n"
        "scratch = Scratch(Path(sys.argv[1]), max_bytes=1000)\n"
        "for i in range(30):\n"
        "    folder = scratch.new(300 + 10 * i); (folder / 'held').write_text(str(300 + 10 * i)); time.sleep(0.01); shutil.rmtree(folder)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    most = 0
    while any(process.poll() is None for process in processes):
        with counting(tmp_path):  # nobody takes any now
            most = max(most, sum(held(file) for file in tmp_path.glob("*/*/held")))
        time.sleep(0.001)
    assert [process.returncode for process in processes] == [0] * 4
    assert 300 < most <= 1000


def held(file: Path) -> int:
    try:
        return int(file.read_text() or 0)
    except FileNotFoundError:
        return 0


def test_scratch_of_one_process_is_one_folder(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    assert scratch.new().parent == scratch.new().parent == scratch.folder()


def test_what_is_not_ours_in_the_folder_stays(tmp_path: Path) -> None:
    """Somebody names a folder with data of their own as scratch, even the folder above the root."""
    base = tmp_path / "data"
    theirs = {"mydata/a.mp4", "mydata/sizes.bytes", "host-1-0123456789ab/b.mp4", "x.lock", "root/clips/dataset.json"}
    for name in theirs:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(b"theirs")
    killed, _ = holder(base, 10_000, 1000)
    kill(killed)
    for url in (str(base / "root"), "memory://theirs/root"):
        store = open_store(url, scratch=ScratchSettings(base, 10_000))
        grow(store.scratch(10), 20)
        assert theirs <= {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
    assert all((base / name).read_bytes() == b"theirs" for name in theirs)


def test_a_disk_that_is_full_for_a_note_leaves_others_their_bytes(tmp_path: Path) -> None:
    """A first note, and one of more bytes: neither half of it, nor a folder that counts for ever."""
    scratch, other = Scratch(tmp_path, max_bytes=1000), Scratch(tmp_path, max_bytes=1000)
    held = scratch.new(400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", _no_room)
        with pytest.raises(StoreError, match="the disk of the scratch folder"):
            scratch.new(500)
        with pytest.raises(StoreError, match="the disk of the scratch folder"):
            grow(held, 600)
    assert [path for path in scratch.folder().iterdir() if path.suffix != ".bytes"] == [held]
    taken = other.new(600)
    grow(held, 400)
    shutil.rmtree(taken)
    shutil.rmtree(held)
    other.new(1000)


def _no_room(path: Path, *_: object, **__: object) -> None:
    path.touch()
    path.write_bytes(b"")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("text", ["", "[12", "{}"])
def test_a_note_that_cannot_be_read_counts_nothing(tmp_path: Path, text: str) -> None:
    scratch = Scratch(tmp_path, max_bytes=1000)
    scratch.new(900).with_suffix(".bytes").write_text(text)
    Scratch(tmp_path, max_bytes=1000).new(1000)


def test_what_others_remove_while_it_is_counted_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, gone = Scratch(tmp_path, max_bytes=1000), tmp_path / "host-1-0123456789ab"
    note = scratch.new(900).with_suffix(".bytes")
    note.unlink()
    note.symlink_to(gone)  # it is listed, and not there when it is read
    names = scratching._names
    monkeypatch.setattr(scratching, "_names", lambda base: {*names(base), gone.name})
    scratch.new(1000)


def test_a_lock_stays_as_long_as_its_folder(tmp_path: Path) -> None:
    """Without it nobody would remove the folder any more."""
    scratch = Scratch(tmp_path)
    folder = scratch.folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # it cannot be removed now
        del scratch
        gc.collect()
        scratching.remove_leftovers(tmp_path)
    assert scratching.leftovers(tmp_path) == [folder]
    scratching.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wait_for_bytes_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, stopped, waits = Scratch(tmp_path, max_bytes=1000), threading.Event(), threading.Event()
    scratch.new(700)
    monkeypatch.setattr(scratching.log, "info", lambda *_: waits.set())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scratch.new, 400, stopped=stopped)
        assert waits.wait(10)
        stopped.set()
        with pytest.raises(IncompleteError, match="not wanted any more"):
            waiting.result(10)

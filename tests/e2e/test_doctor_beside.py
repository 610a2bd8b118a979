"""`gc` and `doctor --fix` beside drivers at work: whatever the moment, nothing that is needed is lost, and all else goes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_clips, check_pass, check_train
from support.fakes import Fickle
from support.fickle import fickle_encoder
from support.places import LOCAL_FIRST, ON_S3, Place
from support.runs import make_config, named_tars, rows_of, run_inline, snapshot
from support.whole_root import later_video, make_whole

from shardpipe.core.errors import ConfigError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.upkeep.doctor import examine, fix
from shardpipe.engine.upkeep.garbage import delete, unreferenced
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.verifying.verify import verify
from shardpipe.executors.remove import remove_root
from shardpipe.storage.commit import RowsLog, tar_name
from shardpipe.storage.crashing import WRITES, Crash, CrashingStore, HookedStore, RecordingStore
from shardpipe.storage.store import Store, open_store

PASSES: list[dict[str, Any]] = [
    {"name": "score", "stages": [Fickle()]},
    {"name": "train", "from": "score", "emit": {"members": ["json", "mp4", "npy"]}, "shard_bytes": 20_000},
]
PARTS = 8
TARS = ("/shards/", "/members/")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return later_video(tmp_path_factory.mktemp("later"))


@pytest.fixture(scope="module")
def clean(videos: Path, later: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("clean") / "root"
    make_whole(root, videos, later)
    return snapshot(open_store(str(root)))


class Cleaner:
    """Runs `gc` and `doctor --fix` on a root, and keeps what they deleted."""

    def __init__(self, root: Path | str) -> None:
        self.store = RecordingStore(open_store(str(root)))
        self.count = 0

    def clean(self) -> None:
        delete(self.store, unreferenced(self.store))
        with suppress(ConfigError):  # nothing is there yet
            for finding in examine(self.store).findings:
                if finding.fix:
                    fix(self.store, finding)

    @property
    def deleted(self) -> set[str]:
        return {each.path for each in self.store.operations if each.name == "delete"}

    def check(self) -> None:
        """Only tars that no rows name were ever deleted, and none is left."""
        assert all(path.endswith(".tar") and any(part in path for part in TARS) for path in self.deleted)
        assert not self.deleted & named_tars(self.store)
        assert unreferenced(self.store) == []


def plant(store: Store) -> None:
    """Of each unit and slice that has rows, the tars of a race that was lost long ago."""
    for name, folder in (("clips", "shards"), ("score", "members")):
        for unit, newest in RowsLog(store, name).generations().items():
            for generation in range(newest + 1):
                file = store.scratch() / "lost.tar"
                file.write_bytes(f"{name} {unit} {generation}".encode())
                store.put_file(f"{name}/{tar_name(folder, unit, generation, sha256_hex(file.read_bytes()))}", file)


def beside(
    root: Path | str, videos: Path, later: Path, clean: dict[str, bytes], now: Callable[[int, str, str], bool]
) -> int:
    """A driver makes a whole root, and before those of its operations that `now` names all is planted and cleaned."""
    cleaner = Cleaner(root)
    count = 0

    def hook(_: int, name: str, path: str) -> None:
        nonlocal count
        count += 1
        if now(count, name, path):
            plant(cleaner.store)
            cleaner.clean()

    make_whole(root, videos, later, lambda url: HookedStore(open_store(url), hook))
    plant(cleaner.store)
    cleaner.clean()
    cleaner.check()
    assert len(cleaner.deleted) > 10
    assert snapshot(cleaner.store) == clean
    assert verify(str(root)).problems == ()
    return count


@LOCAL_FIRST
def test_cleaning_beside_a_driver(videos: Path, later: Path, clean: dict[str, bytes], place: Place) -> None:
    """Above all where a tar is there, and its rows are not yet."""
    beside(
        place.root(), videos, later, clean, lambda n, name, path: (name == "create" and "/rows/" in path) or n % 40 == 0
    )


@pytest.mark.slow
def test_cleaning_before_every_operation(videos: Path, later: Path, clean: dict[str, bytes], tmp_path: Path) -> None:
    beside(tmp_path, videos, later, clean, lambda *_: True)


def overtake(root: Path, videos: Path, n: int, *, every: int = 1) -> int:
    """A driver sleeps before its n-th operation; another does the whole run, then the first wakes, and all is cleaned before
    each of its writes and `every` so many operations. How many operations it had.
    """
    config = make_config(root, videos, PASSES)
    cleaner = Cleaner(root)

    def hook(at: int, name: str, path: str) -> None:
        if at == n:
            run_inline(config, open_store(config.root))
        if at >= n and (name in WRITES - {"replace"} or at % every == 0):
            cleaner.clean()

    store = HookedStore(open_store(config.root), hook)
    report = run_inline(config, store)
    assert not report.failed_units
    assert not report.pending
    cleaner.clean()
    cleaner.check()
    check_clips(cleaner.store)
    check_pass(cleaner.store, "score")
    check_train(cleaner.store)
    assert verify(config.root).problems == ()
    return store.count


@pytest.mark.parametrize("n", [14, 23])
def test_cleaning_beside_two_drivers(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Encoder and scorer answer differently at every attempt, so that the one who wakes leaves other tars."""
    fickle_encoder(monkeypatch)
    overtake(tmp_path, videos, n, every=7)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_cleaning_beside_two_drivers_at_every_operation(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    fickle_encoder(monkeypatch)
    for n in range(part, overtake(tmp_path / "first", videos, 10**9), PARTS):
        overtake(tmp_path / str(n), videos, n, every=3)


def remove_and_overtake(root: Path, videos: Path, n: int) -> int:
    """As `overtake`, where the other one, when it is done, removes a clip too, and all is cleaned once before the first wakes
    and before each of its operations.
    """
    config = make_config(root, videos, PASSES)
    cleaner = Cleaner(root)

    def hook(at: int, name: str, path: str) -> None:
        if at == n:
            run_inline(config, open_store(config.root))
            key = min(key for key, row in rows_of(cleaner.store, "train").items() if row["kept"])
            assert not remove_root(config.root, Wish(keys=(key,))).problems
        if at >= n:
            cleaner.clean()

    store = HookedStore(open_store(config.root), hook)
    report = run_inline(config, store)
    assert report.failed_units == {}
    cleaner.clean()
    assert not cleaner.deleted & named_tars(cleaner.store)
    assert verify(config.root).problems == ()
    return store.count


def test_cleaning_beside_a_late_worker_of_a_removed_clip(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the clip out of its own tar, which may be gone by then."""
    fickle_encoder(monkeypatch)
    for n in (14, 20):
        remove_and_overtake(tmp_path / str(n), videos, n)


def crash_and_clean(root: Path | str, videos: Path, later: Path, clean: dict[str, bytes], n: int) -> bool:
    """Whether the run has an n-th write after which it can die; cleaned and gone on with, the bucket is the clean one."""
    stores: list[CrashingStore] = []
    steps: list[int] = []

    def opened(url: str) -> Store:
        left = n - sum(store.count for store in stores)
        stores.append(CrashingStore(open_store(url), left, "after", writes_only=True))
        return stores[-1]

    with suppress(Crash):
        make_whole(root, videos, later, opened, begun=steps.append)
    cleaner = Cleaner(root)
    cleaner.clean()
    make_whole(root, videos, later, steps=range(steps[-1], 6))
    cleaner.check()
    assert snapshot(cleaner.store) == clean
    return any(store.crashed for store in stores)


@pytest.mark.parametrize("n", [7, 12, 31, 50])
def test_a_crash_then_cleaning(videos: Path, later: Path, clean: dict[str, bytes], tmp_path: Path, n: int) -> None:
    assert crash_and_clean(tmp_path, videos, later, clean, n)


@pytest.mark.parametrize("place", ON_S3, indirect=True)
def test_a_crash_then_cleaning_on_s3(videos: Path, later: Path, clean: dict[str, bytes], place: Place) -> None:
    assert crash_and_clean(place.root(), videos, later, clean, 31)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_at_every_write_then_cleaning(
    videos: Path, later: Path, clean: dict[str, bytes], tmp_path: Path, part: int
) -> None:
    n = part
    while crash_and_clean(tmp_path / str(n), videos, later, clean, n):
        n += PARTS
    assert n > 50

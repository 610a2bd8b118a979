"""Two drivers on one root: whoever is faster at each object, index, tars and rows agree, and each clip is there once.

Encoders and scorers answer differently at every attempt here, so that a mix of two attempts shows.
"""

import threading
from collections import Counter
from collections.abc import Callable
from itertools import combinations, count
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_clips, check_pass, check_train
from support.fakes import CALLS, Fickle
from support.fickle import fickle_encoder
from support.places import LOCAL_FIRST, ON_ALL, ON_S3, LocalPlace, Place
from support.runs import calls, make_config, run_inline, snapshot, without_orphans
from support.whole_run import is_commit

from shardpipe.config.models import Config
from shardpipe.core.work import Silent, UnitJob
from shardpipe.engine.prepare import cut_task, pass_task, prepare
from shardpipe.engine.tasks import EmitTask
from shardpipe.engine.worker import Task
from shardpipe.executors.inline import InlineExecutor
from shardpipe.storage.crashing import HookedStore, Operation, RecordingStore
from shardpipe.storage.store import Store, open_store

PASSES: list[dict[str, Any]] = [
    {"name": "score", "stages": [Fickle()]},
    {
        "name": "train",
        "from": "score",
        "keep": ["start_s < 2"],
        "emit": {"members": ["json", "mp4", "npy"]},
        "shard_bytes": 20_000,
    },
]
UNIT = "000000"


@pytest.fixture(autouse=True)
def _fickle_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    fickle_encoder(monkeypatch)


def check_all(store: Store) -> None:
    check_clips(store)
    check_pass(store, "score")
    check_train(store)


@pytest.fixture(scope="module")
def one_run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    """The operations of one run on a local disk."""
    config = make_config(LocalPlace(tmp_path_factory.mktemp("one")).root(), videos, PASSES)
    recording = RecordingStore(open_store(config.root))
    run_inline(config, recording)
    return recording.operations


def overtake(config: Config, nth: int, *, of_commits: bool) -> None:
    """A driver sleeps before its nth operation, or commit; another does the whole run; the first wakes, and changes nothing."""
    store = open_store(config.root)
    after: list[dict[str, bytes]] = []
    commits = count()

    def other(n: int, name: str, path: str) -> None:
        if of_commits:
            n = next(commits) if is_commit(name, path) else -1
        if n == nth and not after:
            run_inline(config, open_store(config.root))
            after.append(without_orphans(store))

    report = run_inline(config, HookedStore(store, other))
    assert not report.failed_units
    assert not report.pending
    assert after == [without_orphans(store)]
    check_all(store)


@LOCAL_FIRST
def test_one_driver_overtakes_the_other(one_run: list[Operation], videos: Path, place: Place) -> None:
    for n in range(sum(is_commit(each.name, each.path) for each in one_run)):
        overtake(make_config(place.root(), videos, PASSES), n, of_commits=True)
    for n in range(0, len(one_run), 7):
        overtake(make_config(place.root(), videos, PASSES), n, of_commits=False)


@pytest.mark.s3
@pytest.mark.parametrize(("place", "n"), [("moto", 8), ("ceph", 2)], indirect=["place"])
def test_one_driver_overtakes_the_other_before_a_commit(videos: Path, place: Place, n: int) -> None:
    overtake(make_config(place.root(), videos, PASSES), n, of_commits=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", *ON_S3], indirect=True)
def test_one_driver_overtakes_the_other_at_every_operation(videos: Path, place: Place) -> None:
    recording = RecordingStore(open_store(place.root()))
    run_inline(make_config(recording.url, videos, PASSES), recording)
    for n in range(len(recording.operations)):
        overtake(make_config(place.root(), videos, PASSES), n, of_commits=False)


def test_what_another_driver_committed_meanwhile_is_not_done_again(videos: Path, tmp_path: Path) -> None:
    """A driver sleeps before it commits its first scores; what another scored until it wakes is taken as it is."""
    config = make_config(tmp_path / "root", videos, [{**PASSES[0], "unit_clips": 1}, PASSES[1]])
    store = open_store(config.root)
    first = f"score/rows/{UNIT}-00.parquet"

    def other(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", first):
            run_inline(config, open_store(config.root))

    CALLS.clear()
    recording = HookedStore(store, other)
    assert not run_inline(config, recording).pending
    assert sorted(Counter(calls("fickle")).values()) == [1, 1, 1, 2, 2]  # a worker has two units in flight
    after = recording.operations[[each.path for each in recording.operations].index(first) :]
    assert not [each for each in after if each.path.startswith("train/shards")]
    check_all(store)


class Turnstile:
    """Lets two drivers pass in a given order, one operation at a time; who has ended is passed over."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self._order = list(order)
        self._changed = threading.Condition()
        self._ended: set[int] = set()
        self._inside: int | None = None

    def enter(self, driver: int) -> None:
        """Wait for one's turn; one's operation before this one is over."""
        with self._changed:
            if self._inside == driver:
                self._inside = None
                self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._inside is None and self._next() in (driver, None), timeout=60)
            if self._order:
                self._order.pop(0)
            self._inside = driver

    def leave(self, driver: int) -> None:
        """The driver has ended."""
        with self._changed:
            self._ended.add(driver)
            if self._inside == driver:
                self._inside = None
            self._changed.notify_all()

    def _next(self) -> int | None:
        while self._order and self._order[0] in self._ended:
            self._order.pop(0)
        return self._order[0] if self._order else None


def drive_both(store: Store, task: Callable[[Store], Task], order: tuple[int, ...], *, writes_only: bool) -> list[int]:
    """Two drivers do one unit, their operations in this order; how many operations each had."""
    gate = Turnstile(order)
    errors: list[BaseException] = []
    stores = []

    def drive(driver: int) -> None:
        try:
            own = HookedStore(store, lambda *_: gate.enter(driver), writes_only=writes_only)
            stores.append(own)
            outcomes = list(InlineExecutor(own).run(task(store), [UnitJob(UNIT)], Silent()))
            assert [outcome.error for outcome in outcomes] == [None]
        except BaseException as exc:
            errors.append(exc)
        finally:
            gate.leave(driver)

    threads = [threading.Thread(target=drive, args=(driver,)) for driver in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert not errors, errors
    return [own.count for own in stores]


def every_order(num: int) -> list[tuple[int, ...]]:
    """Every order of `num` operations of each of two drivers."""
    places = combinations(range(2 * num), num)
    return [tuple(0 if i in mine else 1 for i in range(2 * num)) for mine in places]


PHASES = {"cut": (0, "clips"), "rows": (0, "score"), "emit": (1, "train")}


def task_of(phase: str, config: Config) -> Callable[[Store], Task]:
    def make(store: Store) -> Task:
        prepared = prepare(store, config)
        if phase == "cut":
            return cut_task(prepared, config)
        if phase == "rows":
            each = prepared.passes[0]
            return pass_task(each, each.shape.info, config, decoders=0)
        return EmitTask("train")

    return make


def without(objects: dict[str, bytes], phase: str) -> dict[str, bytes]:
    """What a finished root holds but for the unit of this phase, and all that comes after it."""
    kept = {}
    for path, data in objects.items():
        name, folder = path.split("/")[:2]
        after_cut = name in ("score", "train")
        gone = {
            "cut": (name == "clips" and folder in ("rows", "shards")) or after_cut,
            "rows": (name == "score" and folder != "dataset.json") or name == "train",
            "emit": name == "train" and folder not in ("dataset.json", "rows", "plan"),
        }
        if not gone[phase]:
            kept[path] = data
    return kept


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = LocalPlace(tmp_path_factory.mktemp("finished")).root()
    run_inline(make_config(root, videos, PASSES))
    return snapshot(open_store(root))


def interleave(
    finished: dict[str, bytes],
    videos: Path,
    place: Place,
    phase: str,
    orders: list[tuple[int, ...]],
    *,
    writes_only: bool,
) -> None:
    for order in orders:
        config = make_config(place.root(without(finished, phase)), videos, PASSES)
        store = open_store(config.root)
        drive_both(store, task_of(phase, config), order, writes_only=writes_only)
        done = snapshot(store)
        run_inline(config, store)
        now = snapshot(store)
        assert all(now[path] == data for path, data in done.items())
        check_all(store)


@ON_ALL
@pytest.mark.parametrize(("phase", "num_writes"), [("cut", 2), ("rows", 2), ("emit", 3)])
def test_every_order_of_the_writes_of_a_unit(
    finished: dict[str, bytes], videos: Path, place: Place, phase: str, num_writes: int
) -> None:
    orders = every_order(num_writes)
    some = orders[:: 1 + len(orders) // 8] if place.kind == "local" else orders[len(orders) // 3 :][:1]
    interleave(finished, videos, place, phase, some, writes_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", *ON_S3], indirect=True)
@pytest.mark.parametrize(("phase", "num_writes"), [("cut", 2), ("rows", 2), ("emit", 3)])
def test_really_every_order_of_the_writes_of_a_unit(
    finished: dict[str, bytes], videos: Path, place: Place, phase: str, num_writes: int
) -> None:
    interleave(finished, videos, place, phase, every_order(num_writes), writes_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", *ON_S3], indirect=True)
@pytest.mark.parametrize(("phase", "num_operations"), [("cut", 5), ("rows", 5)])
def test_every_order_of_all_operations_of_a_unit(
    finished: dict[str, bytes], videos: Path, place: Place, phase: str, num_operations: int
) -> None:
    interleave(finished, videos, place, phase, every_order(num_operations), writes_only=False)

"""Two drivers on one root: whoever is faster at each object, index, tars and rows agree, and each clip is there once.

Encoders and scorers answer differently at every attempt here, so that a mix of two attempts shows.
"""

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_clips, check_pass, check_train
from support.fakes import CALLS, Fickle
from support.fickle import fickle_encoder
from support.runs import calls, make_config, run_inline, snapshot, without_orphans

from shardpipe.config.models import Config
from shardpipe.core.work import Silent, UnitJob
from shardpipe.engine.prepare import cut_task, pass_task, prepare
from shardpipe.engine.tasks import EmitTask
from shardpipe.engine.worker import Task
from shardpipe.executors.inline import InlineExecutor
from shardpipe.storage.crashing import WRITES, HookedStore, RecordingStore
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
def one_run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The operations of one run, by name, but for those under `_run/`."""
    config = make_config(tmp_path_factory.mktemp("one") / "root", videos, PASSES)
    recording = RecordingStore(open_store(config.root))
    run_inline(config, recording)
    return ["" if each.path.startswith("_run/") else each.name for each in recording.operations]


def overtake(config: Config, n: int) -> None:
    """A driver sleeps before its n-th operation; another does the whole run; the first wakes, and changes nothing."""
    store = open_store(config.root)
    after: list[dict[str, bytes]] = []

    def other(at: int, name: str, path: str) -> None:
        if at == n:
            run_inline(config, open_store(config.root))
            after.append(without_orphans(store))

    report = run_inline(config, HookedStore(store, other))
    assert not report.failed_units
    assert not report.pending
    assert after == [without_orphans(store)]
    check_all(store)


def test_one_driver_overtakes_the_other(one_run: list[str], videos: Path, tmp_path: Path) -> None:
    for n in [n for n, name in enumerate(one_run) if name in WRITES - {"replace"} or n % 7 == 0]:
        overtake(make_config(tmp_path / str(n), videos, PASSES), n)


@pytest.mark.slow
def test_one_driver_overtakes_the_other_at_every_operation(one_run: list[str], videos: Path, tmp_path: Path) -> None:
    for n in range(len(one_run)):
        overtake(make_config(tmp_path / str(n), videos, PASSES), n)


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


def forget(root: Path, phase: str) -> None:
    """Make a finished root one in which the unit of this phase is not done."""
    store = open_store(str(root))
    for path in store.list(""):
        name, folder = path.split("/")[:2]
        after_cut = name in ("score", "train")
        gone = {
            "cut": (name == "clips" and folder in ("rows", "shards")) or after_cut,
            "rows": (name == "score" and folder != "dataset.json") or name == "train",
            "emit": name == "train" and folder not in ("dataset.json", "rows", "plan"),
        }
        if gone[phase]:
            store.delete(path)


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "root"
    run_inline(make_config(root, videos, PASSES))
    return root


def interleave(
    finished: Path, videos: Path, root: Path, phase: str, orders: list[tuple[int, ...]], *, writes_only: bool
) -> None:
    for order in orders:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(finished, root)
        forget(root, phase)
        config = make_config(root, videos, PASSES)
        store = open_store(str(root))
        drive_both(store, task_of(phase, config), order, writes_only=writes_only)
        done = snapshot(store)
        run_inline(config, store)
        now = snapshot(store)
        assert all(now[path] == data for path, data in done.items())
        check_all(store)


@pytest.mark.parametrize(("phase", "num_writes"), [("cut", 2), ("rows", 2), ("emit", 3)])
def test_every_order_of_the_writes_of_a_unit(
    finished: Path, videos: Path, tmp_path: Path, phase: str, num_writes: int
) -> None:
    orders = every_order(num_writes)
    interleave(finished, videos, tmp_path / "root", phase, orders[:: 1 + len(orders) // 8], writes_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "num_writes"), [("cut", 2), ("rows", 2), ("emit", 3)])
def test_really_every_order_of_the_writes_of_a_unit(
    finished: Path, videos: Path, tmp_path: Path, phase: str, num_writes: int
) -> None:
    interleave(finished, videos, tmp_path / "root", phase, every_order(num_writes), writes_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "num_operations"), [("cut", 5), ("rows", 5)])
def test_every_order_of_all_operations_of_a_unit(
    finished: Path, videos: Path, tmp_path: Path, phase: str, num_operations: int
) -> None:
    interleave(finished, videos, tmp_path / "root", phase, every_order(num_operations), writes_only=False)

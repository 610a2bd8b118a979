"""A store that ignores conditions (If-None-Match), or has none: one driver is as safe as ever, a second one is refused, damage is
found.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Fickle
from support.places import ON_S3, LocalPlace, Place, S3Place, place_of
from support.runs import make_config, run_inline, snapshot
from support.s3_fixtures import MakeProxy, MakeRoot
from support.whole_run import CommitCrash, is_commit, whole_config

from shardpipe.config.models import Config
from shardpipe.core.errors import ConfigError, ShardpipeError
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.report import status
from shardpipe.executors import run as running
from shardpipe.storage.crashing import Crash, HookedStore, RecordingStore
from shardpipe.storage.drivers import DRIVERS
from shardpipe.storage.remote import RemoteStore
from shardpipe.storage.store import Honours, Store, open_store

FICKLE: list[Mapping[str, Any]] = [
    {"name": "score", "stages": [Fickle()]},
    {"name": "train", "from": "score", "keep": ["start_s < 2"], "emit": "shards"},
]
SOMETIMES = {"moto": (0.1, 0.8), "ceph": (0.45,), "plain": (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.9)}


@pytest.fixture(params=[*ON_S3, "plain"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_root: MakeRoot) -> Place:
    return place_of(request.param, tmp_path, s3_root)


@pytest.fixture
def without_conditions(place: Place, s3_proxy: MakeProxy) -> None:
    """No condition reaches the store."""
    if isinstance(place, S3Place):
        s3_proxy(place.s3.server).strip_conditions()


@pytest.fixture(scope="module")
def clean(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """What a run on a local disk leaves, and in how many writes."""
    recording = RecordingStore(open_store(LocalPlace(tmp_path_factory.mktemp("clean")).root()))
    assert not run_inline(whole_config(recording.url, videos), recording).pending
    return snapshot(recording.inner), sum(is_commit(each.name, each.path) for each in recording.operations)


def bury(store: Store) -> None:
    """The heart of a driver that died is still in this test's process, which lives: it counts as dead after a while."""
    for path in store.list(DRIVERS):
        store.delete(path)


def crash_and_finish(place: Place, videos: Path, clean: dict[str, bytes], n: int) -> None:
    store = open_store(place.root())
    config = whole_config(store.url, videos)
    with suppress(Crash, ShardpipeError):
        run_inline(config, CommitCrash(store, n, "torn reply" if n % 2 else "after"))
    bury(store)
    assert not run_inline(config).pending
    assert snapshot(store) == clean


@pytest.mark.usefixtures("without_conditions")
def test_one_driver_crashes_at_some_writes(place: Place, videos: Path, clean: tuple[dict[str, bytes], int]) -> None:
    for where in SOMETIMES[place.kind]:
        crash_and_finish(place, videos, clean[0], int(where * clean[1]))


@pytest.mark.slow
@pytest.mark.usefixtures("without_conditions")
def test_one_driver_crashes_at_every_write(place: Place, videos: Path, clean: tuple[dict[str, bytes], int]) -> None:
    for n in range(clean[1]):
        crash_and_finish(place, videos, clean[0], n)


@pytest.mark.usefixtures("without_conditions")
@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_ARRAY_TASK_COUNT", "OMPI_COMM_WORLD_SIZE"])
def test_a_world_of_two_is_refused(place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "2")
    config = make_config(place.root(), videos)
    with pytest.raises(ConfigError, match=rf"ignores conditional writes.*a world of 2 \({name}\) is refused"):
        run_inline(config)
    assert snapshot(open_store(config.root)) == {}
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    with pytest.raises(ConfigError, match=r"pod 3 of an indexed job \(JOB_COMPLETION_INDEX\) is refused"):
        run_inline(config)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")  # of one driver that may use eight
    assert not run_inline(config).pending
    assert status(open_store(config.root)).honours == Honours(conditional_put=False, conditional_complete=False)


@pytest.mark.usefixtures("without_conditions")
def test_a_second_driver_is_refused(place: Place, videos: Path) -> None:
    config = make_config(place.root(), videos)
    refused: list[str] = []

    def second(_: int, name: str, path: str) -> None:
        if path == "clips/rows/000000.parquet" and name == "create":
            with pytest.raises(ConfigError) as error:
                run_inline(config)
            refused.append(str(error.value))

    assert not run_inline(config, HookedStore(open_store(config.root), second)).pending
    (text,) = refused
    assert "another driver lives there" in text
    assert not run_inline(config).pending, "the first one has ended"


@contextmanager
def unguarded(_: Store) -> Iterator[None]:
    """In place of what refuses a second driver."""
    yield


def run_between(store: RemoteStore, key: str, config: Config, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Another driver does the whole run after this one has seen that the object is absent, and before it writes it."""
    real, done = store.backend.create, []

    def create(at: str, data: bytes) -> None:
        if at.endswith(key) and not done:
            done.append(at)
            run_inline(config)
        real(at, data)

    monkeypatch.setattr(store.backend, "create", create)
    return done


@pytest.mark.usefixtures("without_conditions")
def test_the_damage_of_two_drivers_is_found(place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(place.root(), videos, FICKLE)
    store = open_store(config.root)
    assert isinstance(store, RemoteStore)
    monkeypatch.setattr(running, "driving", unguarded)
    done = run_between(store, "score/rows/000000.parquet", config, monkeypatch)
    with suppress(ShardpipeError):
        run_inline(config, store)
    assert done
    problems = verify(config.root).problems
    assert any("score/rows/000000.parquet" in str(problem) for problem in problems), problems


@pytest.mark.parametrize("place", ON_S3, indirect=True)
def test_where_conditions_are_honoured_no_damage_is_done(
    place: Place, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(place.root(), videos, FICKLE)
    store = open_store(config.root)
    assert isinstance(store, RemoteStore)
    done = run_between(store, "score/rows/000000.parquet", config, monkeypatch)
    assert not run_inline(config, store).pending
    assert done
    assert verify(config.root).problems == ()

"""A driver's heartbeats: they go on over what fails, and tell it that it is not alone any more."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shardpipe.core.errors import ConfigError, StoreError
from shardpipe.executors import driver
from shardpipe.executors.driver import driving
from shardpipe.storage.drivers import DRIVERS, Driver, beat
from shardpipe.storage.store import Honours, Store, open_store

SOON_S = 10.0
OTHER = Driver("b" * 32, "elsewhere", 1, "another machine", 0.0)


class Shared:
    """A store that ignores conditions, and fails as it is told."""

    honours = None

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.errors: list[Exception] = []
        self.num_beats = 0
        self.held = threading.Event()

    def probe(self) -> Honours:
        return Honours(conditional_put=False, conditional_complete=False)

    def replace(self, path: str, data: bytes) -> None:
        if path.startswith(DRIVERS) and self.errors:
            raise self.errors.pop()
        self.inner.replace(path, data)
        self.num_beats += path.startswith(DRIVERS)

    def delete(self, path: str) -> None:
        self.held.wait()
        self.inner.delete(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setattr(driver, "BEAT_S", 0.02)
    shared = Shared(open_store(str(tmp_path)))
    shared.held.set()
    return shared


def wait_for(store: Shared, num_beats: int) -> None:
    until = time.monotonic() + SOON_S
    while store.num_beats < num_beats:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_is_heard_again_after_any_error(store: Shared) -> None:
    """A token that cannot be renewed for a while is a ConfigError."""
    with driving(store):  # type: ignore[arg-type]
        store.errors += [ConfigError("no token"), StoreError("no answer")]
        wait_for(store, store.num_beats + 3)
    assert not store.list(DRIVERS)


def test_the_end_waits_for_no_store_that_is_silent(store: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "END_S", 0.2)

    def interrupted() -> None:
        with driving(store):  # type: ignore[arg-type]
            store.held.clear()
            raise KeyboardInterrupt

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began_s < SOON_S
    store.held.set()


def test_after_a_silence_it_ends_if_another_one_lives(store: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slept, say: another driver found this one dead, and began."""
    seen: list[int] = []

    def silent() -> None:
        with driving(store):  # type: ignore[arg-type]
            beat(store.inner, OTHER)  # one that is refused leaves such, too, for a moment
            wait_for(store, store.num_beats + 3)
            seen.append(store.num_beats)
            monkeypatch.setattr(driver, "SILENT_S", 0.0)
            time.sleep(SOON_S)

    began_s = time.monotonic()
    with pytest.raises(StoreError, match=r"not heard of .* another one lives there since: elsewhere, pid 1"):
        silent()
    assert seen
    assert time.monotonic() - began_s < SOON_S
    assert set(store.list(DRIVERS)) == {f"{DRIVERS}/{OTHER.id}.json"}

"""Roots on any other file system of fsspec are read as carefully as S3's: asked again, checked, and known for what they are."""

from collections.abc import Callable, Iterator

import pytest
from support.counted_fs import Reads, counted

from shardpipe.core import temporary
from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage.probe import known_honours
from shardpipe.storage.store import Store, open_store

DATA = bytes(range(200))


class BusyError(Exception):
    """As aiohttp's, by what tells it."""

    status = 503


class RefusedError(Exception):
    """Is no trouble that passes."""

    status = 403


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    monkeypatch.setattr(temporary, "LONGEST_PAUSE_S", 0.0)
    with counted({"/root/clips/rows/a": DATA}) as found:
        yield found


@pytest.fixture
def store(seen: Reads) -> Store:
    assert not seen.reads
    return open_store("counted://root", read_only=True)


def twice(act: Callable[[int, int], bytes | None]) -> Callable[[str, int, int], bytes | None]:
    """A trouble that ends after two reads."""
    left = [1, 1]
    return lambda _, start, stop: act(start, stop) if left and left.pop() else None


def fails(error: Exception) -> Callable[[int, int], bytes | None]:
    def act(start: int, stop: int) -> bytes | None:
        assert start < stop
        raise error

    return act


@pytest.mark.parametrize("error", [BusyError(), ConnectionResetError(), TimeoutError()])
def test_what_passes_is_asked_again(store: Store, seen: Reads, error: Exception) -> None:
    seen.trouble = twice(fails(error))
    assert store.read("clips/rows/a") == DATA
    seen.trouble = twice(fails(error))
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]


def test_a_short_answer_is_asked_again(store: Store, seen: Reads) -> None:
    seen.trouble = twice(lambda start, stop: DATA[start : stop - 1])
    assert store.read("clips/rows/a") == DATA
    seen.trouble = twice(lambda start, stop: DATA[start : stop - 1])
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]
    seen.trouble = lambda _, start, stop: DATA[start : stop - 1]
    for read in (lambda: store.read("clips/rows/a"), lambda: store.read_range("clips/rows/a", 5, 7)):
        with pytest.raises(StoreError, match=r"bytes came of|of 7 bytes came") as raised:
            read()
        assert not isinstance(raised.value, IntegrityError), "nothing of the object is wrong"


def test_what_stays_is_told_at_once(store: Store, seen: Reads) -> None:
    tries: list[int] = []

    def refuse(_: str, start: int, __: int) -> None:
        tries.append(start)
        raise RefusedError

    seen.trouble = refuse
    with pytest.raises(StoreError, match="RefusedError"):
        store.read("clips/rows/a")
    assert len(tries) == 1


def test_a_server_without_ranges(store: Store, seen: Reads) -> None:
    seen.trouble = lambda *_: DATA
    assert store.read_range("clips/rows/a", 5, 7) == DATA[5:12]
    with pytest.raises(IntegrityError):
        store.read_range("clips/rows/a", 190, 20)


def test_nothing_is_claimed_of_what_cannot_be_written(store: Store) -> None:
    assert known_honours(store) is None
    with pytest.raises(ConfigError, match="cannot write to counted://root"):
        open_store("counted://root")

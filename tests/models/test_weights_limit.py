"""SHARDPIPE_CACHE_BYTES: copies that were used least make room, those in use stay, and what is the user's own is never touched."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.file_server import Files

from shardpipe.core.errors import ConfigError, WeightsError
from shardpipe.core.weights import Weights
from shardpipe.models.weights import pull, resolve, state

USER = "import sys; from shardpipe.core.weights import Weights; from shardpipe.models.weights import resolve; print(resolve(Weights('x', sys.argv[1])), flush=True); sys.stdin.readline()"


def at(server: Files, name: str) -> Weights:
    return Weights("head", f"{server.url}/{name}.pt")


@pytest.fixture
def three(server: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Three files, of which the limit holds two."""
    for name in "abc":
        server.files[f"/{name}.pt"] = name.encode() * 1000
    monkeypatch.setenv("SHARDPIPE_CACHE_BYTES", "2500")
    return server


def test_what_was_used_least_makes_room(three: Files, cache: Path) -> None:
    a, b = pull(at(three, "a")), pull(at(three, "b"))
    c = pull(at(three, "c"))
    assert not a.exists()
    assert b.read_bytes() == b"b" * 1000
    assert c.read_bytes() == b"c" * 1000
    assert state(at(three, "a")).where == "to pull"
    assert pull(at(three, "a")).read_bytes() == b"a" * 1000
    assert sum(path.stat().st_size for path in (cache / "files").rglob("*.pt")) == 2000


def test_what_a_living_process_uses_stays(three: Files) -> None:
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, at(three, name).url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    paths = [Path(user.stdout.readline().strip()) for user in users if user.stdout]
    with pytest.raises(
        WeightsError, match=r"c\.pt has 1,000 bytes, for which SHARDPIPE_CACHE_BYTES \(2,500\) leaves no room"
    ):
        pull(at(three, "c"))
    assert [path.read_bytes()[:1] for path in paths] == [b"a", b"b"]
    users[0].kill()
    users[0].communicate()
    assert pull(at(three, "c")).is_file()
    assert [path.is_file() for path in paths] == [False, True]
    users[1].communicate("\n")


def test_a_process_may_use_more_of_the_same(three: Files) -> None:
    first = resolve(at(three, "a"))
    assert resolve(at(three, "a")) == first
    first.write_bytes(b"damaged")
    assert pull(at(three, "a")).read_bytes() == b"a" * 1000


def test_the_users_own_files_do_not_count(three: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(b"x" * 5000)
    assert resolve(Weights("head", str(own))) == own
    assert pull(at(three, "a")).is_file()
    assert own.is_file()
    monkeypatch.setenv("SHARDPIPE_CACHE_BYTES", "much")
    with pytest.raises(ConfigError, match="SHARDPIPE_CACHE_BYTES: 'much' is no size"):
        pull(at(three, "b"))

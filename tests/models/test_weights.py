"""Weights: where a url leads, what is fetched, what counts in the cache, and what is refused."""

import os
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from support.file_server import Files

from shardpipe.core.errors import WeightsError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.core.weights import Weights
from shardpipe.models import cache as caching
from shardpipe.models.cache import cache_folder, folder_sha256
from shardpipe.models.weights import pull, resolve, sha256_of, state

DATA = b"weights" * 1000
SHA256 = sha256_hex(DATA)


def head(url: object, **facts: object) -> Weights:
    return Weights("head", str(url), **facts)  # type: ignore[arg-type]


def old(path: Path) -> None:
    """Last changed an hour ago, so that its hash is kept."""
    os.utime(path, (time.time() - 3600,) * 2)


def test_a_local_path(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.safetensors"
    assert state(head(path)).where == "missing"
    with pytest.raises(WeightsError, match="there is no such file or folder"):
        resolve(head(path))
    path.write_bytes(DATA)
    found = state(head(path))
    assert (found.where, found.path, found.num_bytes, found.sha256) == ("local", path, len(DATA), SHA256)
    assert resolve(head(path)) == resolve(head(f"file://{path}")) == pull(head(path)) == path
    assert sha256_of(head(path)) == SHA256
    assert not (cache / "files").exists()


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    old(path)
    hashed = []
    monkeypatch.setattr(caching, "hash_file", lambda each: hashed.append(each) or sha256_hex(each.read_bytes()))
    assert [sha256_of(head(path)) for _ in range(3)] == [SHA256] * 3
    assert hashed == [path]
    path.write_bytes(b"other")
    assert sha256_of(head(path)) == sha256_hex(b"other")


def test_a_file_that_has_just_changed_is_hashed_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    now = path.stat().st_mtime_ns
    assert sha256_of(head(path)) == sha256_hex(b"one")
    path.write_bytes(b"two")  # as long, and perhaps in the same tick of the clock
    os.utime(path, ns=(now, now))
    assert sha256_of(head(path)) == sha256_hex(b"two")


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHARDPIPE_CACHE", str(tmp_path / "file"))
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    old(path)
    assert sha256_of(head(path)) == SHA256


def test_a_folder_is_its_weights_configs_and_tokenizers(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for name in (
        "b.safetensors",
        "config.json",
        "sub/vocab.txt",
        "README.md",
        "LICENSE.txt",
        ".hidden.json",
        ".cache/x.json",
    ):
        (folder / name).write_text(name, encoding="utf-8")
    counted = ["b.safetensors", "config.json", "sub/vocab.txt"]
    expected = fingerprint([[name, sha256_hex(name.encode())] for name in counted])
    assert folder_sha256(folder) == sha256_of(head(folder)) == expected
    assert state(head(folder)).num_bytes == sum(map(len, counted))
    (folder / "README.md").write_text("another", encoding="utf-8")
    assert folder_sha256(folder) == expected
    (folder / "b.safetensors").rename(folder / "c.safetensors")
    assert folder_sha256(folder) != expected


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert "holds no weights" in str(state(head(tmp_path)).reason)


@pytest.mark.parametrize("scheme", ["http", "memory"])
def test_a_url_is_copied_once(server: Files, cache: Path, scheme: str) -> None:
    server.files["/a%20b.safetensors"] = DATA
    url = f"{server.url}/a%20b.safetensors"
    if scheme == "memory":
        url = "memory://weights/a b.safetensors"
        fsspec.filesystem("memory").pipe("/weights/a b.safetensors", DATA)
    assert state(head(url)).where == "to pull"
    with pytest.raises(WeightsError, match="is not here yet: pull it with"):
        sha256_of(head(url))
    told: list[tuple[int, int | None]] = []
    path = pull(head(url), lambda done, total: told.append((done, total)))
    assert path.read_bytes() == DATA
    assert path.name == "a b.safetensors"
    assert path.is_relative_to(cache)
    assert told[-1][0] == len(DATA) or scheme == "memory"
    assert state(head(url)).where == "cached"
    assert resolve(head(url)) == pull(head(url)) == path
    assert sha256_of(head(url)) == SHA256
    assert len(server.fetched()) == (scheme == "http")


def test_resolve_pulls_what_is_not_here(server: Files) -> None:
    server.files["/a.pt"] = DATA
    assert resolve(head(f"{server.url}/a.pt")).read_bytes() == DATA


def test_a_changed_remote_counts_from_the_next_pull_on(server: Files) -> None:
    server.files["/a.pt"] = DATA
    url = f"{server.url}/a.pt"
    first = pull(head(url))
    server.files["/a.pt"] = DATA[::-1]
    assert resolve(head(url)) == first
    assert sha256_of(head(url)) == SHA256
    second = pull(head(url))
    assert second != first
    assert first.read_bytes() == DATA  # whoever has it open may go on
    assert resolve(head(url)) == second
    assert sha256_of(head(url)) == sha256_hex(DATA[::-1])


@pytest.mark.parametrize("name", ["SHARDPIPE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(server: Files, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    server.files["/a.pt"] = server.files["/b.pt"] = DATA
    here = pull(head(f"{server.url}/a.pt"))
    monkeypatch.setenv(name, "1")
    server.asked.clear()
    assert resolve(head(f"{server.url}/a.pt")) == pull(head(f"{server.url}/a.pt")) == here
    found = state(head(f"{server.url}/b.pt"))
    assert (found.where, found.can_be_pulled) == ("missing", True)
    assert f"{name}=1 forbids to fetch it" in str(found.reason)
    for get in (resolve, pull):
        with pytest.raises(WeightsError, match=f"{name}=1 forbids"):
            get(head(f"{server.url}/b.pt"))
    assert server.asked == []


def test_a_pull_that_breaks_off_leaves_nothing(server: Files, cache: Path) -> None:
    server.files["/a.pt"] = DATA
    server.broken.add("/a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt (cannot be fetched|broke off)"):
        pull(head(f"{server.url}/a.pt"))
    assert state(head(f"{server.url}/a.pt")).where == "to pull"
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    server.broken.clear()
    assert pull(head(f"{server.url}/a.pt")).read_bytes() == DATA


def test_what_a_killed_pull_left_is_removed(server: Files, cache: Path) -> None:
    server.files["/a.pt"] = DATA
    path = pull(head(f"{server.url}/a.pt"))
    (pointer,) = (cache / "urls").glob("*.json")
    left = cache / "files" / f".tmp-{pointer.stem}-killed"
    left.mkdir()
    (left / "a.pt").write_bytes(DATA[:100])
    pull(head(f"{server.url}/a.pt"))
    assert not left.exists()
    assert path.exists()


def test_pulls_at_once_agree(server: Files) -> None:
    server.files["/a.pt"] = DATA * 100
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(lambda _: pull(head(f"{server.url}/a.pt")), range(6)))
    assert len(paths) == 1
    assert paths.pop().read_bytes() == DATA * 100
    assert len(server.fetched()) == 1  # the others waited for it


def test_pulls_at_once_agree_without_locks(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    server.files["/a.pt"] = DATA * 100
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(lambda _: pull(head(f"{server.url}/a.pt")), range(6)))
    assert paths.pop().read_bytes() == DATA * 100
    assert not paths


def test_another_content_than_published_is_refused_and_removed(server: Files, tmp_path: Path) -> None:
    server.files["/a.pt"] = DATA
    wanted = head(f"{server.url}/a.pt", sha256="0" * 64)
    with pytest.raises(WeightsError, match=f"sha256 {SHA256}.*{'0' * 64} is wanted"):
        pull(wanted)
    assert state(wanted).where == "to pull"
    assert state(head(f"{server.url}/a.pt")).where == "to pull"
    local = tmp_path / "a.pt"
    local.write_bytes(DATA)
    assert "is wanted" in str(state(head(local, sha256="0" * 64)).reason)
    with pytest.raises(WeightsError, match="is wanted"):
        resolve(head(local, sha256="0" * 64))
    assert local.read_bytes() == DATA  # it is the user's
    assert resolve(head(local, sha256=SHA256)) == local


def test_a_url_pinned_to_a_sha256(server: Files, tmp_path: Path) -> None:
    """As a config says which file it means; a folder is pinned to its own hash."""
    server.files["/a.pt"] = DATA
    good, bad = (f"{server.url}/a.pt#sha256={sha256}" for sha256 in (SHA256.upper(), "0" * 64))
    assert pull(head(good)).read_bytes() == DATA
    assert sha256_of(head(good)) == SHA256
    assert state(head(f"{server.url}/a.pt")).where == "cached"  # the pin is no part of the place
    with pytest.raises(WeightsError, match=f"{SHA256}.*{'0' * 64} is wanted"):
        resolve(head(bad))
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "a.pt").write_bytes(DATA)
    assert resolve(head(f"{folder}#sha256={folder_sha256(folder)}")) == folder
    assert f"{'0' * 64} is wanted" in str(state(head(f"{folder}#sha256={'0' * 64}")).reason)
    assert "give 64 hexadecimal digits" in str(state(head(f"{folder}#sha256=abc")).reason)
    with pytest.raises(WeightsError, match=f"is pinned to sha256 {'0' * 64}, and its authors publish {SHA256}"):
        pull(head(bad, sha256=SHA256))


def test_a_file_inside_an_archive(server: Files, tmp_path: Path) -> None:
    """Its copy is called as the file is, and to look for it opens nothing."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/a.pt", DATA)
    path = pull(head(f"zip://in/a.pt::{tmp_path / 'all.zip'}"))
    assert (path.name, path.read_bytes()) == ("a.pt", DATA)
    server.files["/all.zip"] = (tmp_path / "all.zip").read_bytes()
    assert state(head(f"zip://in/a.pt::{server.url}/all.zip")).where == "to pull"
    assert server.asked == []


def test_a_copy_that_was_damaged_is_pulled_again(server: Files) -> None:
    server.files["/a.pt"] = DATA
    url = f"{server.url}/a.pt"
    path = pull(head(url))
    path.write_bytes(DATA[:-1] + b"?")
    assert "has changed since it was pulled" in str(state(head(url)).reason)
    with pytest.raises(WeightsError, match="has changed since it was pulled"):
        resolve(head(url))
    assert pull(head(url)) == path
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing://x/a.pt", "nothing://x/a.pt cannot be opened"),
        ("zip://a.pt::nothing://x/a.zip", "cannot be opened"),
        ("hf://org", "names no repository"),
        ("hf://org//file", "names no repository"),
        ("hf://org/repo@", "names no repository"),
        ("hf://org/repo/file@", "names no repository"),
        ("open_clip:ViT-L-14", "give open_clip:NAME/TAG"),
        (" ", "an empty url of weights"),
        ("memory://nowhere/a.pt", "there is no such file"),
    ],
)
def test_what_leads_nowhere(url: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        pull(head(url))
    assert state(head(url)).where in ("missing", "to pull")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "weights"
    monkeypatch.delenv("SHARDPIPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "shardpipe" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "shardpipe" / "weights"

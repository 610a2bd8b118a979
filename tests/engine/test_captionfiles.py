"""Captions beside raw videos: in files of one stem and in tars, on any store, whatever strangers put there."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st
from support.file_server import Files as Server
from support.file_server import serve_files

from shardpipe.core.errors import ConfigError
from shardpipe.engine.sources.captionfiles import MAX_BYTES, Files, read_captions, text_url, with_captions
from shardpipe.engine.sources.sources import list_sources

BOTH: Files = {"txt": "text_raw", "json": {"caption": "text", "meta.titles.1": "title"}}


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_files() as files:
        yield files


def read(source: Path | str, files: Files = BOTH) -> dict[str, dict[str, Any]]:
    listing = list_sources([str(source)], root="/nowhere", texts=files)
    return {video.url.rpartition("/")[2]: video.passthrough for video in with_captions(listing, files).videos}


def put(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


FILES = {
    "a.v2.mp4": "",
    "a.v2.txt": "\ufeffa dog\r\nruns \r\n\n",
    "a.v2.json": json.dumps({"caption": "one", "meta": {"titles": ["no", "yes"]}, "other": 3}),
    "sub/b.MP4": "",
    "sub/b.json": json.dumps({"caption": None, "meta": {"titles": []}}),
    "c.mp4": "",
    "a.txt": "of another",
    "d.mp4": "",
    "d.txt": " \n",
}
FOUND = {
    "a.v2.mp4": {"text_raw": "a dog\nruns", "text": "one", "title": "yes"},
    "b.MP4": {},
    "c.mp4": {},
    "d.mp4": {},
}


def test_folders_globs_lists_and_single_videos(tmp_path: Path) -> None:
    put(tmp_path / "in", FILES)
    videos = [f"{tmp_path}/in/{name}" for name in FILES if name.lower().endswith(".mp4")]
    put(tmp_path, {"list.txt": "\n".join(videos), "table.csv": "url,n\n" + "".join(f"{url},1\n" for url in videos)})
    assert read(tmp_path / "in") == FOUND
    assert read(f"{tmp_path}/in/**") == FOUND
    assert read(tmp_path / "list.txt") == FOUND
    assert read(tmp_path / "table.csv") == {name: {"n": 1, **texts} for name, texts in FOUND.items()}
    assert read(videos[0]) == {"a.v2.mp4": FOUND["a.v2.mp4"]}


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_other_stores(kind: str) -> None:
    fs = fsspec.filesystem("memory")
    for name, data in FILES.items():
        fs.pipe(f"/captions/{name}", data.encode())
    fs.pipe(
        "/lists/list.txt",
        "\n".join(f"memory://captions/{name}" for name in FILES if name.lower().endswith("mp4")).encode(),
    )
    assert read("memory://captions" if kind == "folder" else "memory://lists/list.txt") == FOUND


def test_a_web_server(server: Server, tmp_path: Path) -> None:
    """A list of addresses: what is asked for together, and is not there."""
    server.files = {"/in/a.mp4": b"v", "/in/a.txt": b"a dog", "/in/b.mp4": b"v", "/in/b.json": b'{"caption": "a cat"}'}
    put(tmp_path, {"list.txt": f"{server.url}/in/a.mp4?key=1.2\n{server.url}/in/b.mp4\n"})
    assert read(tmp_path / "list.txt") == {"a.mp4?key=1.2": {"text_raw": "a dog"}, "b.mp4": {"text": "a cat"}}
    assert sorted(path for path in server.fetched() if "mp4" not in path) == [
        f"/in/{name}" for name in ("a.json", "a.txt", "b.json", "b.txt")
    ]


def test_tars(tmp_path: Path) -> None:
    """By stem, or by the key as WebDataset has it; before or after the video."""
    members = {
        "x/0001.txt": "first",
        "x/0001.mp4": "",
        "x/0002.video.mp4": "",
        "x/0002.txt": "second",
        "x/0002.json": '{"caption": "json"}',
        "y/0001.mp4": "",
        "0003.mp4": "",
        "0003.txt": "third",
    }
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data.encode()))
    listing = list_sources([str(tmp_path)], root="/nowhere", texts=BOTH)
    found = {video.url.partition("::")[2]: video.passthrough for video in with_captions(listing, BOTH).videos}
    assert found == {
        "x/0001.mp4": {"text_raw": "first"},
        "x/0002.video.mp4": {"text_raw": "second", "text": "json"},
        "y/0001.mp4": {},
        "0003.mp4": {"text_raw": "third"},
    }
    assert read(tmp_path / "a.tar")["0001.mp4"] == {}


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("a.json", b"{", "no JSON"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.json", b'{"caption": 7}', "what is to be text is no text but int"),
        ("a.json", b'{"caption": "\\ud800"}', "no Unicode text"),
        ("a.json", b'{"caption": "\xe9"}', "no UTF-8 text"),
        ("a.txt", "caf\xe9".encode("latin-1"), "no UTF-8 text"),
        ("a.txt", "dog".encode("utf-16-le"), "no Unicode text"),
        ("a.txt", b"x" * (MAX_BYTES + 1), "over 1 MB"),
    ],
)
def test_a_broken_file_costs_its_caption_alone(
    tmp_path: Path, name: str, data: bytes, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, {"a.mp4": "", name: data, "b.mp4": "", "b.txt": "fine"})
    assert read(tmp_path) == {"a.mp4": {}, "b.mp4": {"text_raw": "fine"}}
    assert "1 of 2 videos have a text_raw" in caplog.text
    assert f"broken files, which count as none: 1 (the first: {tmp_path}/{name}: " in caplog.text
    assert fault in caplog.text


def test_extensions_in_capitals_and_utf_16(tmp_path: Path) -> None:
    files = {"a.MP4": "", "a.TXT": "loud", "a.Json": "{}", "b.mp4": "", "b.TXT": "no", "b.txt": "yes", "c.mp4": ""}
    put(tmp_path / "in", {**files, "c.txt": "dög".encode("utf-16")})
    put(tmp_path, {"list.txt": "\n".join(f"{tmp_path}/in/{name}" for name in files if name[1:].lower() == ".mp4")})
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for path in (tmp_path / "in").iterdir():
            tar.add(path, path.name)
    found = {"a.MP4": {"text_raw": "loud"}, "b.mp4": {"text_raw": "yes"}, "c.mp4": {"text_raw": "dög"}}
    for source in ("in", "in/*", "list.txt"):
        assert read(f"{tmp_path}/{source}") == found
    assert {name.partition("::")[2]: texts for name, texts in read(tmp_path / "in.tar").items()} == found


def test_one_broken_key_leaves_the_others(tmp_path: Path) -> None:
    put(tmp_path, {"a.mp4": "", "a.json": '{"caption": "fine", "meta": {"titles": [1, 2]}}'})
    assert read(tmp_path) == {"a.mp4": {"text": "fine"}}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, {"a.mp4": "", "b.mp4": "", "b.txt": "fine"})
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "a.json").mkdir()
    put(tmp_path, {"list.lst": f"{tmp_path}/a.mp4\n{tmp_path}/b.mp4"})
    for source in (tmp_path, tmp_path / "list.lst"):
        assert read(source) == {"a.mp4": {}, "b.mp4": {"text_raw": "fine"}}


def test_not_one_caption_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, {"a.mp4": "", "a.caption": "a dog", "a.json": '{"text": "a dog"}'})
    with pytest.raises(ConfigError, match="no caption was found: 0 of 1 videos have a text_raw"):
        read(tmp_path)
    assert read(tmp_path, {"caption": "text"}) == {"a.mp4": {"text": "a dog"}}


class Failing(LocalFileSystem):
    """A store that shows files and cannot read them."""

    protocol = "failing"

    def cat_file(self, path: str, **_options: Any) -> bytes:
        raise TimeoutError(path)


def test_a_store_that_cannot_be_read_is_no_store_without_captions(tmp_path: Path) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    put(tmp_path, {"a.mp4": "", "a.txt": "a dog"})
    with pytest.raises(ConfigError, match=r"a\.txt cannot be read \(TimeoutError.*run again"):
        read(f"failing://{tmp_path}")
    (tmp_path / "a.txt").write_bytes(b"")
    (video,) = read_captions(list_sources([f"failing://{tmp_path}"], root="/nowhere", texts=BOTH).videos, BOTH)
    assert video.passthrough == {}


@pytest.mark.parametrize(
    ("video", "text"),
    [
        ("a.mp4", "a.txt"),
        ("dir.v1/007", "dir.v1/007.txt"),
        ("a::b.c.mp4", "a::b.c.txt"),
        ("https://host/x/a.mp4?key=1.2#t", "https://host/x/a.txt"),
        ("zip://in/a.mp4::s3://bucket/all.zip", "zip://in/a.txt::s3://bucket/all.zip"),
    ],
)
def test_where_the_text_of_a_video_lies(video: str, text: str) -> None:
    assert text_url(video, "txt") == text


@given(st.text(), st.text())
def test_any_text_comes_back(text: str, key: str) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/any/a.mp4", b"")
    fs.pipe("/any/a.json", json.dumps({key: text}).encode())
    (video,) = read_captions(list_sources(["memory://any/a.mp4"], root="/nowhere").videos, {"json": {key: "text"}})
    plain = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    assert video.passthrough.get("text", "") == ("" if "\0" in text else plain)

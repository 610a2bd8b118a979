"""Planted keys over whole runs: none is in an object, a file, stdout, stderr or a message, and none is taken where it would be stored."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.caption_runs import ended
from support.fakes import Worded
from support.runs import make_config, rows_of, run_inline, snapshot

from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.storage.store import open_store

SIGNED = "X-Amz-Credential=PLANTEDcredential&X-Amz-Signature=PLANTEDsignature&X-Amz-Security-Token=PLANTEDsecurity"
ENV = {
    "AWS_ACCESS_KEY_ID": "PLANTEDkeyid00000001",
    "AWS_SECRET_ACCESS_KEY": "PLANTED/secret+key/0002",
    "AWS_SESSION_TOKEN": "PLANTEDsessiontoken03",
    "AWS_MAX_ATTEMPTS": "1",
    "HF_TOKEN": "hf_PLANTEDhubtoken04",
    "OPENAI_API_KEY": "sk-PLANTED-openai-05",
    "FSSPEC_HTTP": json.dumps({"headers": {"Authorization": "Bearer PLANTEDbearer06"}}),
}
FILE = "[default]\naws_secret_access_key = PLANTEDinafile0000000007\n"


@pytest.fixture
def echoing() -> Iterator[str]:
    """A server that sends on to a signed url, and tells there whatever it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self) -> None:
            if "?" not in self.path:
                self.send_response(302)
                self.send_header("Location", f"{self.path}?{SIGNED}")
            else:
                self.send_response(403, f"no {self.headers.get('Authorization')}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def assert_nowhere(folder: Path, *said: str) -> None:
    """No planted value is in what was said, nor in any byte below the folder."""
    for text in said:
        assert "PLANTED" not in text
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert b"PLANTED" not in path.read_bytes(), path
        assert "PLANTED" not in str(path)


def write_config(folder: Path, sources: Any, **more: Any) -> str:
    scenes = {"type": "fixed", "every_s": 1.0, "min_s": 0.5}
    cut = {"sources": sources, "scenes": scenes, "max_failed": 0.9}
    passes = [
        {"name": "score", "from": "clips", "stages": [{"type": "static"}], "emit": "rows"},
        {"name": "train", "from": "score", "emit": "shards"},
    ]
    execute = {"type": "local", "workers": 1, "decoders": 1}
    path = folder / "run.yaml"
    config = {"root": str(folder / "root"), "cut": cut, "passes": passes, "execute": execute, **more}
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def test_planted_keys_are_nowhere(videos: Path, echoing: str, tmp_path: Path) -> None:
    (home := tmp_path / "home" / ".aws").mkdir(parents=True)
    (home / "credentials").write_text(FILE, encoding="utf-8")
    env = {**ENV, "HOME": str(home.parent), "AWS_ENDPOINT_URL": "http://me:PLANTEDpassword8@127.0.0.1:9"}
    names = [
        f"{videos}/v0.mp4",
        f"{videos}/v1.mp4",
        f"{echoing}/a.mp4",
        "s3://bucket/b.mp4",
    ]
    (tmp_path / "list.txt").write_text("\n".join(names), encoding="utf-8")
    config, root = write_config(tmp_path, str(tmp_path / "list.txt")), str(tmp_path / "root")
    code, said = ended("-v", "run", config, env=env)
    assert code == 0, said
    errors = [row["error"] for row in rows_of(open_store(root), "clips").values() if row["error"]]
    assert len(errors) == 2
    assert any("403" in error and "X-Amz-Signature=***" in error for error in errors), errors
    all_said = [said]
    for arguments in (
        ["plan", config, "--json"],
        ["inspect", f"{root}/clips"],
        ["query", root, "SELECT * FROM clips"],
        ["verify", root, "--json"],
        ["copy", root, f"{tmp_path}/root2", "--json"],
    ):
        code, said = ended("-v", *arguments, env=env)
        assert code in (0, 1), said
        all_said.append(said)
    assert_nowhere(tmp_path / "root", *all_said)
    assert_nowhere(tmp_path / "root2")


def test_a_stage_that_tells_keys(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is in the rows, the key is not."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)

    class Telling(Worded):
        type: Any = "telling"

        @property
        def reads(self) -> Sequence[str]:
            return ()

        def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
            if len(batch) > 1:
                raise RuntimeError(f"with {ENV['HF_TOKEN']} and {ENV['AWS_SECRET_ACCESS_KEY']}")
            return [ClipError(f"GET https://h/x?{SIGNED}: {ENV['OPENAI_API_KEY']}\x1b[0m") for _ in batch]

    config = make_config(tmp_path / "root", videos, [{"name": "score", "stages": [Telling()], "max_failed": 1.0}])
    run_inline(config)
    store = open_store(str(tmp_path / "root"))
    errors = {row["error"] for row in rows_of(store, "score").values()}
    assert None not in errors
    assert all("***" in error and "\x1b" not in error for error in errors)
    assert not [path for path, data in snapshot(store).items() if b"PLANTED" in data]


@pytest.mark.parametrize(
    "where", ["root", "source", "list", "csv", "column", "added", "weights", "base_url", "value", "override"]
)
def test_a_secret_is_refused_where_it_would_be_stored(videos: Path, tmp_path: Path, where: str) -> None:
    """Exit code 2, before anything is written, and what to do instead."""
    url, good = f"https://host/a.mp4?{SIGNED}", f"{videos}/v0.mp4"
    (tmp_path / "list.txt").write_text(f"{good}\n{url}\n", encoding="utf-8")
    (tmp_path / "list.csv").write_text(f"url,views\n{good},1\n{url},2\n{url}2,3\n", encoding="utf-8")
    (tmp_path / "column.csv").write_text(f"url,thumb\n{good},{url}\n", encoding="utf-8")
    stage: dict[str, Any] = {
        "type": "aes",
        "weights": "https://me:PLANTED1@host/head.pt",
        "backbone": "ViT-L-14/openai",
    }
    if where == "base_url":
        stage = {"type": "caption", "engine": "openai", "model": "m", "base_url": "http://me:PLANTED1@host/v1"}
    if where == "value":
        stage = {
            "type": "llm",
            "engine": "openai",
            "model": "m",
            "engine_args": {"extra": {"key": ENV["OPENAI_API_KEY"]}},
        }
    sources = {
        "source": url,
        "list": f"{tmp_path}/list.txt",
        "csv": f"{tmp_path}/list.csv",
        "column": f"{tmp_path}/column.csv",
    }
    more: dict[str, Any] = {"root": "s3://AKIA:PLANTED/1+2@bucket/run"} if where == "root" else {}
    if where in ("weights", "base_url", "value"):
        more["passes"] = [{"name": "score", "from": "clips", "stages": [stage], "emit": "rows"}]
    config = write_config(tmp_path, sources.get(where, good), **more)
    arguments = {"added": ["--add-sources", url], "override": ["--set", "root=s3://me:PLANTED1@bucket/run"]}
    code, said = ended("-v", "run", config, *arguments.get(where, ()), env=ENV)
    assert (code, "Traceback" in said) == (2, False), said
    assert "PLANTED" not in said
    assert (
        "credentials belong into the environment" in said
        or "no key belongs into" in said
        or "leave the column out" in said
    )
    assert not (tmp_path / "root").exists()
    if where == "csv":
        assert "2 of the 3 urls of" in said


def test_a_secret_on_the_command_line_is_not_repeated(tmp_path: Path) -> None:
    for arguments in (
        ["status", "s3://me:PLANTED1@bucket/run"],
        ["inspect", "https://host/a.tar?sig=PLANTED"],
        ["copy", str(tmp_path)],
    ):
        code, said = ended(*arguments, "https://me:PLANTED2@host/x")
        assert code == 2
        assert "PLANTED" not in said

"""Runs of the command line that caption planted clips by a server, to be disturbed and run again."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.openai_server import Served
from support.planted import asked_keys, captioning, check_pairing, committed_rows, copy_of
from support.processes import MarkedRun, marked_run

from shardpipe.storage.store import open_store


def write_config(folder: Path, cut: Path, url: str, *, workers: int = 1, unit_clips: int = 4, **stage: Any) -> str:
    """A config over a copy of a root whose clips are cut: its pass `text` captions them. The root is `folder`/root."""
    one = {"name": "text", "stages": [captioning(url, **{"num_in_flight": 4, **stage})], "unit_clips": unit_clips}
    return write_passes(folder, cut, [one], workers=workers)


def write_passes(folder: Path, cut: Path, passes: Sequence[Mapping[str, Any]], *, workers: int = 1) -> str:
    """The same with these passes. It is JSON, which is YAML."""
    root = folder / "root"
    if not root.exists():
        copy_of(cut, root)
    scenes = {"type": "fixed", "every_s": 1.0, "min_s": 0.5}
    config = {
        "root": str(root),
        "cut": {"sources": str(cut.parent / "videos"), "scenes": scenes, "max_failed": 0.9},
        "passes": [{"from": "clips", "emit": "rows", "max_failed": 1.0, **each} for each in passes],
        "execute": {"type": "local", "workers": workers, "decoders": 1},
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def ended(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """A run of the command line: its exit code, and all that it printed."""
    with marked_run(*arguments, env=env) as run:
        code, out, err = run.wait(240)
        run.assert_gone()
    return code, out + err


@contextmanager
def in_mid_pass(config: str, server: Served, num_requests: int) -> Iterator[MarkedRun]:
    """A run that has asked about so many clips; it is over at the end."""
    with marked_run("run", config) as run:
        while run.process.poll() is None and len(server.requests()) < num_requests:
            time.sleep(0.05)
        yield run
        run.assert_gone()


def finish(config: str, root: Path, server: Served) -> None:
    """Run again: what is committed is not asked about, all else is, and all clips have their captions."""
    done, before = set(committed_rows(root, "text")), len(server.requests())
    code, said = ended("run", config)
    assert code == 0, said
    rows = check_pairing(open_store(str(root)), "text", server.requests())
    assert {row["error"] for row in rows.values()} == {None}
    assert asked_keys(server.requests()[before:]) == dict.fromkeys(set(rows) - done, 1)

"""Passes with real vLLM in their worker: captions, questions and tags of one engine; a driver that is killed; another prompt."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.runs import render_videos, rows_of

from shardpipe.engine.timings import read_timings, timings_folder, total
from shardpipe.storage.store import open_store

SETTLE_S = 60


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("videos"), seconds=(4, 4, 4))


def config(folder: Path, videos: Path, stages: list[dict[str, Any]], **options: Any) -> Path:
    root = folder / "root"
    one = {"name": "text", "from": "clips", "stages": stages, "unit_clips": 2, "emit": "rows", **options}
    scenes = {"type": "fixed", "every_s": 1.0, "min_s": 0.5}
    values = {"root": str(root), "cut": {"sources": str(videos), "scenes": scenes}, "passes": [one]}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def engine(vlm: Path) -> dict[str, Any]:
    args = {"enforce_eager": True, "max_num_seqs": 32}
    return {"model": str(vlm), "dtype": "float32", "max_model_len": 1024, "engine_args": args, "long_side": 112}


def start(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "shardpipe", "run", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ))


def finished(path: Path) -> None:
    process = start(path)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out


def test_captions_questions_and_tags_of_one_engine(tmp_path: Path, videos: Path, vlm: Path) -> None:
    stages = [
        {"type": "caption", **engine(vlm), "max_tokens": 40, "num_frames": 3, "frames_as": "video", "facts": ["duration_s"]},
        {"type": "caption", **engine(vlm), "max_tokens": 120, "num_frames": 2, "into": "parts",
         "fields": {"subject": "string", "num_people": "int"}, "temperature": 1.0},
        {"type": "ask", **engine(vlm), "name": "fine", "question": "Is it fine?", "num_frames": 1},
        {"type": "ask", **engine(vlm), "name": "action", "question": "How much?", "answer": "score", "num_frames": 1},
        {"type": "clean"},
        {"type": "llm", **engine(vlm), "column": "text", "prompt": "enhance", "max_tokens": 10},
        {"type": "tags", **engine(vlm), "keys": ["objects", "actions"], "max_tokens": 400, "temperature": 1.0},
    ]  # fmt: skip
    for stage in stages:
        if stage["type"] == "llm":
            del stage["long_side"]
    finished(config(tmp_path, videos, stages))
    store = open_store(str(tmp_path / "root"))
    rows = rows_of(store, "text")
    assert len(rows) == 12
    for row in rows.values():
        assert row["error"] is None
        assert row["text"]
        assert (row["text_tokens"], row["text_finish"], row["text_model"]) == (40, "length", "tiny-vlm")
        assert row["text_truncated"] is True
        assert row["fine"] in (True, False)
        assert 1 <= row["action"] <= 5
        assert row["text_llm_tokens"] == 10
    assert sum(row["objects"] is not None for row in rows.values()) > 6  # noise may run to max_tokens
    assert any(row["parts_num_people"] is not None for row in rows.values())
    assert total(read_timings(store, "text", "rows")).num_idle == 0


def test_a_killed_run_ends_its_engine_and_repeats_only_what_was_in_flight(
    tmp_path: Path, videos: Path, vlm: Path
) -> None:
    settings = {"max_tokens": 500, "min_tokens": 500, "num_in_flight": 4, "num_frames": 1}
    path = config(tmp_path, videos, [{"type": "caption", **engine(vlm), **settings}])
    process = start(path)
    rows = tmp_path / "root" / "text" / "rows"
    deadline = time.monotonic() + 300
    while not (rows.is_dir() and len(list(rows.glob("*.parquet"))) >= 2):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any(each.name().startswith("VLLM::") for each in family)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=SETTLE_S)
    assert not [each.name() for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    before = {each.name: each.read_bytes() for each in rows.glob("*.parquet")}
    assert 2 <= len(before) < 6
    store = open_store(str(tmp_path / "root"))
    of_killed = set(store.list(timings_folder("text", "rows")))  # written now and then: they lack its last units
    finished(path)
    after = {each.name: each.read_bytes() for each in rows.glob("*.parquet")}
    assert len(after) == 6
    assert {name: after[name] for name in before} == before
    assert [row["text_tokens"] for row in rows_of(store, "text").values()] == [500] * 12
    of_second = set(store.list(timings_folder("text", "rows"))) - of_killed
    assert sum(each.num_clips for each in read_timings(store, "text", "rows", of_second)) == 2 * (6 - len(before))

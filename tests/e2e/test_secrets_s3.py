"""Planted keys of S3 over a whole run there: they work, and are in no object and no word that is said. A root is copied to S3 and back."""

import os
from pathlib import Path

import pytest
from support.caption_runs import ended
from support.finished_root import ALL, finished_root
from support.runs import snapshot
from support.s3_fixtures import EACH_KIND, MakeRoot
from support.s3_servers import Kind

from shardpipe.engine.upkeep.copying import copying
from shardpipe.engine.verifying.verify import verify
from shardpipe.storage.store import open_store

CONFIG = """\
root: {root}/run
cut:
  sources: {root}/videos
  scenes: {{type: fixed, every_s: 1, min_s: 0.5}}
passes:
  - {{name: score, from: clips, stages: [{{type: static}}], emit: rows}}
  - {{name: train, from: score, emit: shards}}
execute: {{type: local, workers: 1, decoders: 1}}
"""


@pytest.mark.s3
def test_planted_keys_on_s3(videos: Path, tmp_path: Path, s3_root: MakeRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    root = s3_root("moto").url
    planted = ("AKIAPLANTED012345678", "PLANTED/secret+of/S3/0002", "PLANTEDsessiontoken0003")
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), planted, strict=True):
        monkeypatch.setenv(name, value)
    store = open_store(root)
    for video in videos.iterdir():
        store.create(f"videos/{video.name}", video.read_bytes())
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=root), encoding="utf-8")
    said = []
    for arguments in (
        ["run", str(tmp_path / "run.yaml")],
        ["status", f"{root}/run", "--json"],
        ["copy", f"{root}/run", f"{root}/two"],
    ):
        code, text = ended("-v", *arguments, env=dict(os.environ))
        assert code == 0, text
        said.append(text)
    code, text = ended("-v", "status", "s3://no-such-bucket-here/run", env=dict(os.environ))
    assert code != 0
    said.append(text)
    found = {path: store.read(path) for path in store.list("")}
    assert {
        "run/clips/dataset.json",
        "run/train/index.parquet",
        "run/_run/store.json",
        "two/train/index.parquet",
    } <= set(found)
    for data in (*found.values(), "".join(said).encode()):
        assert b"PLANTED" not in data


@pytest.mark.parametrize("kind", EACH_KIND)
def test_a_root_is_copied_to_s3_and_back(kind: Kind, tmp_path: Path, s3_root: MakeRoot) -> None:
    source, there = finished_root(tmp_path / "root"), s3_root(kind).url
    for place, origin in ((there, source.url), (str(tmp_path / "back"), there)):
        done = copying(origin, place).run(verify=True)
        assert (set(done.datasets), done.problems) == (set(ALL), ())
        assert snapshot(open_store(place)) == snapshot(source)
        assert copying(origin, place).run().num_objects == 0
    assert verify(there).problems == ()

"""Captions that are there already: files beside videos, through cut and a pass to training shards."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.agreement import check_clips, check_train
from support.runs import make_config, rows_of, run_inline

from shardpipe.config.models import Config
from shardpipe.core.errors import ConfigError
from shardpipe.engine.prepare import prepare
from shardpipe.engine.views.opened import open_dataset
from shardpipe.stages.clean import Clean
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store

FILES = {"txt": "text_raw", "json": {"caption": "title"}}


@pytest.fixture
def raw(videos: Path, tmp_path: Path) -> Path:
    """`v0` in a folder with a text and a JSON, `v1` in a tar with a text."""
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "v0.mp4").write_bytes((videos / "v0.mp4").read_bytes())
    (folder / "v0.txt").write_text("The video shows a red dog.\n", encoding="utf-8")
    (folder / "v0.json").write_text(json.dumps({"caption": "dog"}), encoding="utf-8")
    with tarfile.open(folder / "more.tar", "w") as tar:
        for name, data in (("v1.mp4", (videos / "v1.mp4").read_bytes()), ("v1.txt", b"A green cat.")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return folder


def config(tmp_path: Path, sources: Any, **options: Any) -> Config:
    clean = {
        "name": "train",
        "stages": [Clean(column="text_raw", into="text")],
        "emit": {"members": ["json", "mp4", "txt"]},
    }
    return make_config(tmp_path / "root", sources, [clean], **{"captions": FILES, **options})


def test_each_clip_has_the_text_of_its_video(raw: Path, tmp_path: Path) -> None:
    assert not run_inline(config(tmp_path, raw)).pending
    store = open_store(str(tmp_path / "root"))
    rows = check_clips(store).values()
    assert len(rows) == 5
    for row in rows:
        is_first = row["source"].endswith("v0.mp4")
        assert row["text_raw"] == ("The video shows a red dog." if is_first else "A green cat.")
        assert row["title"] == ("dog" if is_first else None)
    check_train(store)
    trained = open_dataset(str(tmp_path / "root" / "train"))
    assert {row["text"] for row in trained.rows()} == {"A red dog.", "A green cat."}
    shard = next(path for path in store.list("train/shards") if path.endswith(".tar"))
    with tarfile.open(fileobj=io.BytesIO(store.read(shard))) as tar:
        texts = [tar.extractfile(member).read() for member in tar if member.name.endswith(".txt")]  # type: ignore[union-attr]
    assert set(texts) == {b"A red dog.", b"A green cat."}


def test_clips_that_exist_keep_their_captions(raw: Path, tmp_path: Path) -> None:
    run_inline(config(tmp_path, raw, scenes={"type": "none"}))
    found = rows_of(open_store(str(tmp_path / "root")), "clips").values()
    assert sorted(row["text_raw"] for row in found) == ["A green cat.", "The video shows a red dog."]


def test_new_videos_bring_theirs(raw: Path, videos: Path, tmp_path: Path) -> None:
    wanted = config(tmp_path, raw / "v0.mp4")
    run_inline(wanted)
    run_inline(wanted, add_sources=str(raw))
    assert {row["text_raw"] for row in rows_of(open_store(wanted.root), "clips").values()} == {
        "A green cat.",
        "The video shows a red dog.",
    }
    table = tmp_path / "more.csv"
    table.write_text(f"url,title\n{videos}/v1.mp4,cat\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"more\.csv has a column title too"):
        run_inline(wanted, add_sources=str(table))


def test_a_column_of_a_table_and_of_files(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"url,title\n{videos}/v0.mp4,dog\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a table of cut\.sources has a column title too"):
        run_inline(config(tmp_path, table))


def test_captions_belong_to_what_a_root_was_made_with(raw: Path, tmp_path: Path) -> None:
    plain = make_config(tmp_path / "plain", raw)
    run_inline(plain)
    info = Dataset.open(open_store(plain.root), "clips").info
    assert set(info.identity) == {"format", "sources", "scenes", "write"}, "roots of before stay as they are"
    for captions in ({"txt": "text"}, FILES):
        with pytest.raises(ConfigError, match="was made by another configuration:\n  captions"):
            prepare(open_store(plain.root), make_config(tmp_path / "plain", raw, captions=captions))


def test_nothing_is_made_where_there_is_not_one_caption(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no caption was found"):
        run_inline(config(tmp_path, raw, captions={"cap": "text_raw"}))
    assert not open_store(str(tmp_path / "root")).list("")
    assert not run_inline(config(tmp_path, raw)).pending

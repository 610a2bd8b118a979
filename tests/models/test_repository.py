"""`hf://org/repo`: all of a repository that counts, as one folder, against a hub on localhost."""

import json
import shutil
from pathlib import Path

import pytest
from support.file_server import COMMIT, Files
from support.hub_asked import ask

from shardpipe.models.cache import folder_sha256
from shardpipe.models.hub import HubPlace
from shardpipe.models.repository import RepositoryPlace, chosen, hub_place

URL = "hf://org/repo"
INDEX = json.dumps({"weight_map": {"x": "model-1-of-2.safetensors", "y": "model-2-of-2.safetensors"}}).encode()
WANTED = {
    "config.json": b'{"model_type": "tiny"}',
    "model-1-of-2.safetensors": b"a" * 5000,
    "model-2-of-2.safetensors": b"b" * 3000,
    "model.safetensors.index.json": INDEX,
    "chat_template.jinja": b"{{ messages }}",
    "tokenizer/tokenizer.json": b"{}",
}
UNWANTED = {"pytorch_model.bin": b"pickled", "README.md": b"prose", "modeling.py": b"import os", ".gitattributes": b"*"}
SIZE = sum(map(len, WANTED.values()))


@pytest.fixture
def hub(server: Files) -> Files:
    publish(server, WANTED | UNWANTED)
    return server


def publish(server: Files, files: dict[str, bytes], revision: str = "main") -> None:
    server.files.update({f"org/repo/{name}@{revision}": data for name, data in files.items()})


def as_local_folder(folder: Path) -> str:
    for name, data in WANTED.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder_sha256(folder)


def test_all_that_counts_is_pulled_once(hub: Files, tmp_path: Path) -> None:
    assert ask(hub, tmp_path, "state", URL)["where"] == "to pull"
    assert hub.asked == []
    found = ask(hub, tmp_path, "pull", URL)
    folder = Path(found["path"])
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(WANTED)
    assert all((folder / name).read_bytes() == data for name, data in WANTED.items())
    assert found["where"] == "cached"
    assert found["sha256"] == as_local_folder(tmp_path / "local")  # the same bytes in a folder are the same model
    assert found["told"][-1] == [SIZE, SIZE]
    hub.asked.clear()
    assert ask(hub, tmp_path, "resolve", URL, HF_HUB_OFFLINE="1") == {**found, "told": []}
    assert ask(hub, tmp_path, "state", URL)["path"] == str(folder)
    assert hub.asked == []
    assert ask(hub, tmp_path, "pull", URL) == {**found, "told": []}
    assert not any(path.startswith("/org/") for path in hub.fetched())


def test_a_revision_with_a_slash_and_a_pin(hub: Files, tmp_path: Path) -> None:
    assert hub_place("hf://org/repo@refs/pr/1") == RepositoryPlace("org/repo", "refs/pr/1")
    assert hub_place("hf://org/repo/") == RepositoryPlace("org/repo")
    assert hub_place("hf://org/repo/a/b.pt@v2") == HubPlace("org/repo", ("a/b.pt",), "v2")
    found = ask(hub, tmp_path, "pull", f"{URL}@{COMMIT}")
    assert Path(found["path"]).name == COMMIT
    pinned = ask(hub, tmp_path, "state", f"{URL}@{COMMIT}#sha256={found['sha256']}")
    assert pinned["path"] == found["path"]
    refused = ask(hub, tmp_path, "pull", f"{URL}@{COMMIT}", "0" * 64)
    assert f"it has sha256 {found['sha256']}" in refused["error"]
    assert refused["where"] == "to pull"


def test_a_pull_that_breaks_off_leaves_what_was_there(hub: Files, tmp_path: Path) -> None:
    before = ask(hub, tmp_path, "pull", URL)
    hub.commit = "beef" + "0" * 36
    publish(hub, {"model-1-of-2.safetensors": b"c" * 5000, "model-2-of-2.safetensors": b"d" * 3000})
    hub.lies.add("org/repo/model-2-of-2.safetensors@main")
    broken = ask(hub, tmp_path, "pull", URL)
    assert "the bytes that came are not those that the hub names" in broken["error"]
    assert ask(hub, tmp_path, "state", URL) == {**before, "told": []}
    hub.lies.clear()
    hub.asked.clear()
    after = ask(hub, tmp_path, "pull", URL)
    assert Path(after["path"]).name == hub.commit
    assert after["sha256"] != before["sha256"]
    assert [name for name in hub.fetched() if name.startswith("/org/")] == [
        f"/org/repo/resolve/{hub.commit}/model-2-of-2.safetensors"
    ]


def test_what_is_not_whole_is_to_pull(hub: Files, tmp_path: Path) -> None:
    """A file that the listing of the pull names; without the listing, as after another tool, what an index names."""
    folder = Path(ask(hub, tmp_path, "pull", URL)["path"])
    tokenizer, shard = folder / "tokenizer" / "tokenizer.json", folder / "model-2-of-2.safetensors"
    kept = tokenizer.resolve().read_bytes()
    tokenizer.unlink()
    assert ask(hub, tmp_path, "state", URL)["where"] == "to pull"
    notes = tmp_path / "cache" / "weights" / "repositories"
    shutil.rmtree(notes)
    assert ask(hub, tmp_path, "state", URL)["where"] == "cached"
    tokenizer.write_bytes(kept)
    shard.unlink()
    assert ask(hub, tmp_path, "state", URL)["where"] == "to pull"
    assert ask(hub, tmp_path, "state", URL, SHARDPIPE_OFFLINE="1")["reason"] == (
        "not in the cache, and SHARDPIPE_OFFLINE=1 forbids to fetch it"
    )
    assert ask(hub, tmp_path, "pull", URL)["where"] == "cached"


def test_a_damaged_file_is_fetched_again(hub: Files, tmp_path: Path) -> None:
    found = ask(hub, tmp_path, "pull", URL)
    shard = Path(found["path"]) / "model-1-of-2.safetensors"
    shard.resolve().write_bytes(b"?" * 5000)
    assert (
        "a file of the copy of hf://org/repo, is damaged: pull it again" in ask(hub, tmp_path, "state", URL)["reason"]
    )
    assert ask(hub, tmp_path, "pull", URL)["sha256"] == found["sha256"]
    assert shard.read_bytes() == WANTED[shard.name]


def test_what_other_tools_put_there_does_not_count(hub: Files, tmp_path: Path) -> None:
    found = ask(hub, tmp_path, "pull", URL)
    (Path(found["path"]) / "pytorch_model.bin").write_bytes(b"?")
    assert ask(hub, tmp_path, "state", URL)["sha256"] == found["sha256"]
    shutil.rmtree(tmp_path / "cache" / "weights" / "repositories")  # as where another tool pulled all of it
    assert ask(hub, tmp_path, "state", URL)["sha256"] == found["sha256"]


def test_what_a_hub_does_not_have(hub: Files, tmp_path: Path) -> None:
    missing = ask(hub, tmp_path, "pull", "hf://org/none")
    assert "WeightsError: hf://org/none cannot be fetched: RepositoryNotFoundError" in missing["error"]
    offline = ask(hub, tmp_path, "pull", "hf://org/none", SHARDPIPE_OFFLINE="1")
    assert "hf://org/none is not in the cache, and SHARDPIPE_OFFLINE=1 forbids to fetch it" in offline["error"]
    hub.files = {"org/data/train.csv@main": b"1"}
    assert "hf://org/data holds no weights" in ask(hub, tmp_path, "pull", "hf://org/data")["error"]


@pytest.mark.parametrize(
    ("there", "left_out"),
    [
        (
            "config.json model.safetensors",
            "pytorch_model.bin tf_model.h5 flax_model.msgpack model.gguf onnx/model.onnx",
        ),
        ("model.safetensors", "consolidated.safetensors original/consolidated.00.pth"),
        ("model.safetensors.index.json", "pytorch_model.bin.index.json consolidated.safetensors.index.json"),
        ("consolidated.safetensors params.json tekken.json", "pytorch_model.bin"),
        ("model.safetensors spk_dict.pt", "training_args.bin"),
        ("pytorch_model.bin pytorch_model.bin.index.json", "consolidated.00.pth model.onnx"),
        ("model.onnx config.json", "model.onnx.md"),
        ("tokenizer.model vocab.json merges.txt chat_template.jinja tokenizer_config.json", "README.md LICENSE.txt"),
        ("model.safetensors", "modeling_x.py .hidden/model.safetensors requirements.txt image.png"),
    ],
)
def test_files_that_count(there: str, left_out: str) -> None:
    names = [*there.split(), *left_out.split()]
    assert chosen(names) == there.split()
    assert sorted(chosen(names[::-1])) == sorted(there.split())

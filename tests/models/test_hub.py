"""`hf://` and `open_clip:` against a hub on localhost; in processes of their own, since the hub's client reads its
environment when it is imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.file_server import COMMIT, Files
from support.hub_asked import ASK, ask

from shardpipe.core.errors import WeightsError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.models.backbone import CHECKPOINTS
from shardpipe.models.hub import HubPlace, open_clip_place
from shardpipe.models.remote import RemotePlace

DATA = b"weights of a hub" * 100


def test_a_hub_file(server: Files, tmp_path: Path) -> None:
    """Without torch, as a plan needs it."""
    server.files["org/repo/sub/a.safetensors@main"] = DATA
    url = "hf://org/repo/sub/a.safetensors"
    assert ask(server, tmp_path, "state", url)["where"] == "to pull"
    assert server.asked == []
    found = ask(server, tmp_path, "pull", url)
    assert found["where"] == "cached"
    assert found["sha256"] == sha256_hex(DATA)
    assert found["told"][-1] == [len(DATA), len(DATA)]
    path = Path(found["path"])
    assert path.is_relative_to(tmp_path / "hf" / "hub")
    assert path.read_bytes() == DATA
    server.asked.clear()
    offline = ask(server, tmp_path, "resolve", url, HF_HUB_OFFLINE="1")
    assert offline["path"] == found["path"]
    assert ask(server, tmp_path, "resolve", url)["path"] == found["path"]
    assert server.asked == []  # what is here counts until it is pulled again
    path.resolve().write_bytes(DATA[::-1])
    assert "is damaged: pull it again" in ask(server, tmp_path, "state", url)["reason"]
    assert ask(server, tmp_path, "pull", url)["sha256"] == sha256_hex(DATA)
    assert path.read_bytes() == DATA


def test_a_revision_and_one_cache_for_all(server: Files, tmp_path: Path) -> None:
    server.files["org/repo/a.pt@v2"] = DATA
    shared = str(tmp_path / "shared")
    found = ask(server, tmp_path, "pull", "hf://org/repo/a.pt@v2", HF_HOME="", SHARDPIPE_CACHE=shared)
    assert Path(found["path"]).is_relative_to(tmp_path / "shared" / "hub")
    assert COMMIT in found["path"]


def test_what_a_hub_does_not_have_or_sends_wrong(server: Files, tmp_path: Path) -> None:
    found = ask(server, tmp_path, "pull", "hf://org/repo/none.pt")
    assert "WeightsError: hf://org/repo/none.pt cannot be fetched: " in found["error"]
    server.files["org/repo/a.pt@main"] = server.files["org/repo/b.pt@main"] = DATA
    server.lies.add("org/repo/a.pt@main")
    found = ask(server, tmp_path, "pull", "hf://org/repo/a.pt")
    assert "the bytes that came are not those that the hub names" in found["error"]
    assert found["where"] == "to pull"
    found = ask(server, tmp_path, "pull", "hf://org/repo/b.pt", "0" * 64)
    assert f"sha256 {sha256_hex(DATA)}" in found["error"]
    assert found["where"] == "to pull"
    assert (
        "SHARDPIPE_OFFLINE=1 forbids"
        in ask(server, tmp_path, "pull", "hf://org/repo/b.pt", SHARDPIPE_OFFLINE="1")["error"]
    )


def test_the_first_name_that_is_there_counts(server: Files, tmp_path: Path) -> None:
    """As open_clip looks: safetensors before .bin. Its own table is read where it is installed; here it is in the memo."""
    server.files["org/clip/open_clip_pytorch_model.bin@main"] = DATA
    pytest.importorskip("huggingface_hub")
    code = ASK.replace(
        "weights = Weights",
        "import shardpipe.models.hub as hub\nhub.published = lambda *_: {'hf_hub': 'org/clip/'}\nweights = Weights",
    )
    own = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "pull", "open_clip:ViT-B-32/x"],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["path"].endswith("open_clip_pytorch_model.bin")


def test_open_clip_names(cache: Path) -> None:
    pytest.importorskip("torch")
    found = open_clip_place("open_clip:ViT-L-14/openai")
    assert found == HubPlace("timm/vit_large_patch14_clip_224.openai", CHECKPOINTS)
    assert len(list((cache / "open_clip").iterdir())) == 1
    assert open_clip_place("open_clip:ViT-L-14/openai") == found
    with pytest.raises(
        WeightsError, match=r"open_clip has no weights 'opnai' of ViT-L-14 \(did you mean openai\?\): it has openai, "
    ):
        open_clip_place("open_clip:ViT-L-14/opnai")
    with pytest.raises(WeightsError, match=r"open_clip has no model 'ViT-L14' \(did you mean ViT-L-14 or "):
        open_clip_place("open_clip:ViT-L14/openai")


def test_open_clip_links(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = {"url": {"url": "https://example.com/a.pt"}, "file": {"hf_hub": "org/repo/model.bin", "url": "https://x"}}
    monkeypatch.setattr("shardpipe.models.hub.published", lambda _, tag: configs[tag])
    assert open_clip_place("open_clip:X/url") == RemotePlace("https://example.com/a.pt")
    assert open_clip_place("open_clip:X/file") == HubPlace("org/repo", ("model.safetensors", "model.bin"))

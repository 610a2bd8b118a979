"""Folders of weights at a remote: what of them is fetched, and when it counts."""

from pathlib import Path

import fsspec
import pytest

from shardpipe.core.errors import WeightsError
from shardpipe.core.weights import Weights
from shardpipe.models.weights import pull, resolve, sha256_of, state

DATA = b"weights" * 1000


def head(url: object) -> Weights:
    return Weights("head", str(url))


def test_a_remote_folder(tmp_path: Path) -> None:
    """Its tensors, configs and tokenizers: as one folder, of one version; hashed as the same folder here."""
    fs = fsspec.filesystem("memory")
    url, own = f"memory://{tmp_path.name}/model", tmp_path / "own"
    for name, data in {"model.safetensors": DATA, "config.json": b"{}", "sub/tokenizer.json": b"[]"}.items():
        fs.pipe(f"{url}/{name}", data)
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(data)
    for name in ("model.bin", "README.md", "run.py"):  # a copy of the tensors, prose, code
        fs.pipe(f"{url}/{name}", b"not this")
    assert state(head(url)).where == "to pull"
    path = pull(head(url))
    found = {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    assert found == {each.relative_to(own).as_posix(): each.read_bytes() for each in own.rglob("*") if each.is_file()}
    assert path.name == "model"
    assert sha256_of(head(url)) == sha256_of(head(str(own)))
    assert resolve(head(url)) == pull(head(url)) == path
    fs.pipe(f"{url}/config.json", b"[]")
    assert resolve(head(url)) == path, "until it is pulled again"
    assert (pull(head(url)) / "config.json").read_bytes() == b"[]"


def test_a_damaged_or_empty_remote_folder(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/model"
    fs.pipe(f"{url}/README.md", b"no weights")
    with pytest.raises(WeightsError, match="is a folder that holds no weights"):
        pull(head(url))
    fs.pipe(f"{url}/model.safetensors", DATA)
    path = pull(head(url))
    (path / "model.safetensors").write_bytes(DATA[:-1] + b"?")
    with pytest.raises(WeightsError, match="has changed since it was pulled"):
        resolve(head(url))
    assert (pull(head(url)) / "model.safetensors").read_bytes() == DATA

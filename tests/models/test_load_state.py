"""Checkpoints as tensors by name; code in a pickle is never run."""

import argparse
import json
from pathlib import Path

import pytest

from shardpipe.core.errors import WeightsError
from shardpipe.models.weights import load_state

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


class Runs:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


def same(found: dict[str, object]) -> bool:
    return list(found) == list(STATE) and all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_torch_files(tmp_path: Path, suffix: str, is_zip: bool) -> None:  # noqa: FBT001  a parameter
    path = tmp_path / f"x{suffix}"
    torch.save(STATE, path, _use_new_zipfile_serialization=is_zip)
    assert same(load_state(path))


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")
    assert sorted(load_state(tmp_path / "x.safetensors")) == sorted(STATE)


@pytest.mark.parametrize("name", ["X.PT", "x.pth.tar", "download"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_torch_files_of_other_names(tmp_path: Path, name: str, is_zip: bool) -> None:  # noqa: FBT001  a parameter
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    assert same(load_state(tmp_path / name))


@pytest.mark.parametrize("name", ["X.SAFETENSORS", "download"])
def test_safetensors_of_other_names(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    assert sorted(load_state(tmp_path / name)) == sorted(STATE)


def test_a_nest_is_the_callers_business(tmp_path: Path) -> None:
    torch.save({"model": STATE, "epoch": 3}, tmp_path / "x.pth")
    found = load_state(tmp_path / "x.pth")
    assert found["epoch"] == 3
    assert same(found["model"])


def test_code_is_refused_and_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save({**STATE, "x": Runs(ran)}, tmp_path / "x.pt")
    with pytest.raises(
        WeightsError, match=r"holds more than tensors \(.*open\), and code in a pickle is never run.*safetensors"
    ):
        load_state(tmp_path / "x.pt")
    assert not ran.exists()
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "y.pt")
    with pytest.raises(WeightsError, match=r"\(argparse.Namespace\)"):
        load_state(tmp_path / "y.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch would have nobody make such files any more
def test_torchscript_is_no_state_dict(tmp_path: Path) -> None:
    module = torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3), check_trace=False)
    torch.jit.save(module, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"is a TorchScript archive.*open_clip:ViT-L-14/openai"):
        load_state(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x80\x04junk", b"PK\x03\x04 no zip"])
def test_damaged_files(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="cannot be read as"):
        load_state(path)


def test_half_a_file(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be read as tensors"):
        load_state(tmp_path / "x.pt")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(torch.ones(2), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds a Tensor, not tensors by name"):
        load_state(tmp_path / "x.pt")
    (tmp_path / "x.onnx").touch()
    with pytest.raises(WeightsError, match=r"is no checkpoint: give a \.safetensors file"):
        load_state(tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match="there is no such file"):
        load_state(tmp_path / "y.pt")
    with pytest.raises(WeightsError, match="holds no checkpoint"):
        load_state(Path(__file__).parent)


def test_a_folder_prefers_safetensors(tmp_path: Path) -> None:
    torch.save({"old": torch.ones(1)}, tmp_path / "model.bin")
    assert list(load_state(tmp_path)) == ["old"]
    save_file({"new": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert list(load_state(tmp_path)) == ["new"]
    assert list(load_state(tmp_path / "model.bin")) == ["old"]  # what was asked for, and hashed
    save_file({"other": torch.ones(1)}, tmp_path / "ema.safetensors")
    with pytest.raises(WeightsError, match=r"several checkpoints \(ema.safetensors, model.safetensors\)"):
        load_state(tmp_path)


def test_a_checkpoint_in_parts(tmp_path: Path) -> None:
    for i, (name, tensor) in enumerate(STATE.items()):
        save_file({name: tensor}, tmp_path / f"model-{i}.safetensors")
    names = {name: f"model-{i}.safetensors" for i, name in enumerate(STATE)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    assert same(load_state(tmp_path))
    index.write_text(json.dumps({"weight_map": {"x": "../model-0.safetensors"}}), encoding="utf-8")
    with pytest.raises(WeightsError, match="is not in its folder"):
        load_state(tmp_path)
    index.write_text("[]", encoding="utf-8")
    with pytest.raises(WeightsError, match="is no index"):
        load_state(tmp_path)

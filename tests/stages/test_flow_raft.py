"""`flow` by torchvision's RAFT: its speeds against torchvision alone, and what its config takes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import FrameRequest, Frames, Pairs
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.models.imports import import_model_library
from shardpipe.stages import _flow_pairs
from shardpipe.stages.flow import Flow
from shardpipe.testing import check_stage


def small_model() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model: torch.nn.Module = import_model_library("torchvision.models.optical_flow").raft_small()
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "raft_small.pth"
    torch.save(small_model().state_dict(), path)
    return str(path)


def frames(count: int, height: int, width: int) -> Frames:
    rough = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(2)) * 255
    soft = torch.nn.functional.interpolate(rough, size=(height, width), mode="bicubic").clamp(0, 255)
    return Frames(soft.permute(0, 2, 3, 1).to(torch.uint8).numpy(), np.arange(count) * 0.1)


def run(stage: Flow, clip: Frames) -> Any:
    stage.setup("cpu")
    return stage.process([ClipView("a", {}, (clip,))])[0]


@pytest.mark.parametrize(("height", "width"), [(128, 160), (160, 128), (40, 160)])
@torch.inference_mode()
def test_the_speed_is_that_of_torchvisions_flow(checkpoint: str, height: int, width: int) -> None:
    clip = frames(4, height, width)
    result = run(Flow(engine="raft", weights=checkpoint), clip)
    pictures = torch.from_numpy(clip.data).permute(0, 3, 1, 2).float() / 127.5 - 1
    lying = pictures.transpose(2, 3) if height > width else pictures
    seen = torch.nn.functional.interpolate(lying, size=(128, 160), mode="bilinear", align_corners=True)
    model = small_model()
    pairs = list(pairwise(seen.split(1)))[::2]  # the second and third frame are of two pairs
    flows = torch.cat([model(first, second)[-1] for first, second in pairs]).double().numpy()
    speeds = np.hypot(flows[:, 0], flows[:, 1] * min(height, width) / 128) * 256 / 160 / 0.1
    assert speeds.mean() > 0.1
    assert result["flow_px_s"] == pytest.approx(speeds.mean(), rel=1e-4)
    assert result["flow_px_s_p90"] == pytest.approx(np.percentile(speeds, 90), rel=1e-4)
    assert result["flow_times_s"] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_contract(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flow_pairs, "NET_SIDE", 160)
    given = {"type": "flow", "engine": "raft", "weights": checkpoint, "max_pairs": 1}
    results: Any = check_stage(given, tolerance=1e-3)
    assert results["landscape"]["flow_px_s"] > 0
    assert results["one_frame"] == dict.fromkeys(["flow_px_s", "flow_px_s_p90", "flow_times_s"])


def test_nan_in_the_weights_is_an_error_of_the_clip(tmp_path: Path) -> None:
    state = small_model().state_dict()
    state["update_block.flow_head.conv2.bias"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    assert isinstance(run(Flow(engine="raft", weights=str(tmp_path / "nan.pth")), frames(2, 128, 128)), ClipError)


def test_what_it_takes() -> None:
    made = Flow(engine="raft", weights="raft.pth")
    assert made.frames == FrameRequest(Pairs(2.0, 0.1, 8), long_side=576)
    assert list(made.writes) == ["flow_px_s", "flow_px_s_p90", "flow_times_s"]
    (weights,) = made.loads
    assert (weights.url, weights.source) == ("raft.pth", "https://docs.pytorch.org/vision/stable/models/raft.html")
    with pytest.raises(ValidationError, match=r"engine raft needs weights: a checkpoint of torchvision's, see https"):
        Flow(engine="raft")
    with pytest.raises(ValidationError, match="engine raft has the presets spread"):
        Flow(engine="raft", weights="raft.pth", preset="opensora")


def test_a_checkpoint_of_unimatch_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"refine_proj.bias": torch.zeros(256)}}, tmp_path / "gmflow.pth")
    with pytest.raises(ConfigError, match=r"gmflow\.pth is no checkpoint of torchvision's raft_large or raft_small"):
        Flow(engine="raft", weights=str(tmp_path / "gmflow.pth")).setup("cpu")

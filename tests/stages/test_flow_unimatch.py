"""`flow` by UniMatch: Open-Sora's numbers, one unit for speeds, short clips, batches, memory, NaN."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.unimatch_weights import random_state, write_checkpoint

from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipError, ClipView
from shardpipe.models.unimatch import network
from shardpipe.models.unimatch.checkpoint import network_of
from shardpipe.stages import _flow_pairs
from shardpipe.stages._flow_net import FlowNet
from shardpipe.stages.flow import Flow
from shardpipe.testing import check_stage

Picture = NDArray[np.uint8]
Stub = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SMALL = (32, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("weights") / "gmflow.pth"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 64x32 for the network, which takes seconds for real ones."""
    monkeypatch.setattr(_flow_pairs, "NET_SIDE", 64)
    monkeypatch.setattr(_flow_pairs, "NET_SIZE", SMALL)


def clip(count: int, size: tuple[int, int] = (36, 64), *, every_s: float = 0.1, seed: int = 0) -> Frames:
    """Soft noise that changes from frame to frame."""
    rough = np.random.default_rng(seed).normal(size=(count, 3, 6, 6))
    soft = torch.nn.functional.interpolate(torch.from_numpy(rough), size=size, mode="bicubic", align_corners=True)
    pictures = (soft.numpy().transpose(0, 2, 3, 1) * 50 + 120).clip(0, 255).astype(np.uint8)
    return Frames(pictures, np.arange(count) * every_s)


def run(stage: Flow, *clips: Frames) -> list[Any]:
    return list(stage.process([ClipView(str(i), {}, (each,)) for i, each in enumerate(clips)]))


def stubbed(stub: Stub, *, at_once: int = 1, **fields: Any) -> Flow:
    """A stage whose network is a function of two batches of pictures."""
    stage = Flow(engine="unimatch", **fields)
    stage._net = FlowNet(stub, "cpu", at_once)  # type: ignore[arg-type]
    return stage


def constant(x: float, y: float) -> Stub:
    return lambda first, _: torch.tensor([x, y]).view(1, 2, 1, 1).expand(len(first), 2, *first.shape[2:])


def resized(picture: Picture, size: tuple[int, int]) -> NDArray[np.float64]:
    """Bilinear with corners on corners, of a picture [H, W, C]: one axis after the other, as sums over both neighbours."""
    values = picture.astype(np.float64)
    for axis, length in enumerate(size):
        at = np.arange(length) * (values.shape[axis] - 1) / (length - 1)
        low = np.minimum(np.floor(at).astype(int), values.shape[axis] - 1)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).reshape([-1 if each == axis else 1 for each in range(3)])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


@pytest.mark.parametrize(("preset", "size"), [("opensora", (48, 90)), ("opensora-1.3", (90, 48))])
@pytest.mark.usefixtures("small")
def test_open_soras_numbers_follow_from_the_raw_flow(checkpoint: str, preset: str, size: tuple[int, int]) -> None:
    """Every step but the network again, in numpy."""
    stage = Flow(engine="unimatch", preset=preset, weights=checkpoint)
    stage.setup("cpu")
    frames = clip(4, size, every_s=0.4)
    (result,) = run(stage, frames)
    whole = network_of(random_state(), "cpu", "x")
    lying = frames.data.transpose(0, 2, 1, 3) if size[0] > size[1] else frames.data
    pictures = [torch.from_numpy(resized(each, SMALL).transpose(2, 0, 1)[None]).float() for each in lying]
    with torch.inference_mode():
        flows = np.concatenate([whole(a, b).numpy() for a, b in pairwise(pictures)])
    x, y = flows[:, 0].astype(np.float64), flows[:, 1].astype(np.float64)
    expected = (abs(x) + abs(y)).mean() / 2 if preset == "opensora" else np.sqrt(x**2 + y**2).mean()
    assert expected > 0.5
    assert result["flow"] == pytest.approx(expected, rel=1e-4)
    speeds = np.hypot(x * 90 / 64, y * 48 / 32) * 256 / 90 / 0.4
    assert result["flow_px_s"] == pytest.approx(speeds.mean(), rel=1e-4)
    assert result["flow_px_s_p90"] == pytest.approx(np.percentile(speeds, 90), rel=1e-4)
    assert result["flow_times_s"] == pytest.approx([0.0, 0.4, 0.8, 1.2])


@pytest.mark.parametrize("size", [(45, 80), (80, 45), (64, 64), (320, 576), (2, 3), (1, 1)])
def test_open_sora_resizes_to_576x320_whatever_the_shape(size: tuple[int, int]) -> None:
    """With a network that gives red's and green's difference as its flow: full size, exact resize, order of the pair."""
    stage = stubbed(lambda first, second: (second - first)[:, :2], preset="opensora")
    frames = clip(4, size)
    (result,) = run(stage, frames)
    lying = frames.data.transpose(0, 2, 1, 3) if size[0] > size[1] else frames.data
    pictures = [resized(each, (320, 576)) for each in lying]
    moves = np.array([b - a for a, b in pairwise(pictures)])[..., :2]
    assert result["flow"] == pytest.approx(abs(moves).mean(), rel=1e-4)


@pytest.mark.parametrize("size", [(324, 576), (576, 324), (320, 576), (90, 160), (16, 12), (1, 1), (24, 576)])
def test_speeds_are_in_pixels_at_256_whatever_the_size(size: tuple[int, int]) -> None:
    """A flow of a tenth of the network's picture in 0.1 s is as fast as the picture is wide, and high, in a second."""
    frames = clip(4, size)

    def tenth(first: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        height, width = first.shape[2:]
        assert height % 32 == width % 32 == 0
        assert 0 < height <= width
        return constant(width / 10, height / 10)(first, first)

    (result,) = run(stubbed(tenth), frames)
    assert result["flow_px_s"] == pytest.approx(256 * np.hypot(1, min(size) / max(size)), rel=1e-5)
    assert result["flow_px_s_p90"] == pytest.approx(result["flow_px_s"])


def test_spread_measures_each_pair_once_and_by_its_own_time() -> None:
    calls = []

    def seen(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        calls.append((float(first.mean()), float(second.mean())))
        return constant(1.0, 0.0)(first, second)

    pictures = np.repeat(np.arange(6, dtype=np.uint8), 64 * 64 * 3).reshape(6, 64, 64, 3)
    frames = Frames(pictures, np.array([0.0, 0.1, 2.0, 2.5, 3.0, 5.0]))
    (result,) = run(stubbed(seen), frames)
    assert calls == [(0, 1), (2, 3)]  # not those 1.9 s apart, nor the pair of 2 s
    assert result["flow_px_s"] == pytest.approx((4 / 0.1 + 4 / 0.5) / 2)
    assert result["flow_times_s"] == [0.0, 0.1, 2.0, 2.5]


def test_a_short_clip_is_scored_from_what_it_has_and_says_so() -> None:
    for preset in ("opensora", "opensora-1.3"):
        stage = stubbed(constant(3.0, -4.0), preset=preset)
        two, one = run(stage, clip(2, every_s=0.4), clip(1))
        assert two["flow"] == pytest.approx(3.5 if preset == "opensora" else 5.0)
        assert two["flow_times_s"] == pytest.approx([0.0, 0.4])
        assert one == dict.fromkeys(stage.writes)
    spread = stubbed(constant(1, 0))
    slides = clip(4, every_s=4.0)
    assert run(spread, clip(1), slides) == [dict.fromkeys(spread.writes)] * 2


def test_open_sora_ignores_time_but_speeds_do_not() -> None:
    (result,) = run(stubbed(constant(3.0, -4.0), preset="opensora"), clip(4, every_s=1.5))
    assert result["flow"] == pytest.approx(3.5)
    assert result["flow_px_s"] is result["flow_px_s_p90"] is None
    assert len(result["flow_times_s"]) == 4


@pytest.mark.usefixtures("small")
def test_a_portrait_clip_is_the_landscape_clip_turned(checkpoint: str) -> None:
    stage = Flow(engine="unimatch", weights=checkpoint)
    stage.setup("cpu")
    frames = clip(2)
    turned = Frames(np.ascontiguousarray(frames.data.transpose(0, 2, 1, 3)), frames.times_s)
    lying, standing = run(stage, frames, turned)
    assert lying["flow_px_s"] == pytest.approx(standing["flow_px_s"], rel=1e-5)


@pytest.mark.parametrize("preset", ["spread", "opensora"])
@pytest.mark.usefixtures("small")
def test_contract(checkpoint: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {}
    if preset == "spread":
        fields = {"max_pairs": 1}
    else:
        monkeypatch.setitem(_flow_pairs.NUMBERED, preset, (0, 10))  # a pair a clip and one refinement, for time's sake
    monkeypatch.setattr(network, "REFINEMENTS", 1)
    results: Any = check_stage(
        {"type": "flow", "engine": "unimatch", "preset": preset, "weights": checkpoint, **fields}
    )
    assert results["one_frame"]["flow_times_s"] is None
    assert results["landscape"]["flow_px_s"] > 0
    assert len(results["landscape"]["flow_times_s"]) == 2


@pytest.mark.usefixtures("small")
def test_pairs_of_one_size_go_together_whatever_their_clips(checkpoint: str) -> None:
    clips = [clip(4, seed=1), clip(2, (64, 64), seed=2), clip(6, seed=3), clip(1), clip(4, (64, 36), seed=4)]
    alone = Flow(engine="unimatch", weights=checkpoint)
    alone.setup("cpu")
    expected = [run(alone, each)[0] for each in clips]
    sizes = []

    def watched(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(first.shape))
        made: torch.Tensor = whole(first, second)
        return made

    whole = network_of(random_state(), "cpu", "x")
    together = run(stubbed(watched, at_once=5), *clips)
    assert sizes == [(5, 3, 32, 64), (2, 3, 32, 64), (1, 3, 64, 64)]
    assert together[3] == expected[3] == dict.fromkeys(alone.writes)
    for one, other in zip(expected[:3] + expected[4:], together[:3] + together[4:], strict=True):
        assert one["flow_px_s"] == pytest.approx(other["flow_px_s"], rel=1e-4)
        assert one["flow_times_s"] == other["flow_times_s"]


def test_where_memory_runs_out_the_batch_is_halved_for_good() -> None:
    tried = []

    def narrow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        tried.append(len(first))
        if len(first) > 2:
            raise torch.OutOfMemoryError("too much")
        return (second - first)[:, :2]

    frames = clip(20, seed=5)
    stage = stubbed(narrow, at_once=8)
    (result,) = run(stage, frames)
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    tried.clear()
    assert run(stage, frames) == [result]
    assert max(tried) == 2
    assert result == run(stubbed(lambda a, b: (b - a)[:, :2]), frames)[0]


def test_a_pair_that_does_not_fit_alone_is_an_error_of_its_clip() -> None:
    def never(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(StageError, match="not even one item fits the memory of cpu"):
        run(stubbed(never, at_once=4), clip(4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_an_error_never_a_score(value: float) -> None:
    def bad(first: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        flow = torch.ones(len(first), 2, *first.shape[2:])
        flow[first.mean((1, 2, 3)) > 200, 1, 3, 4] = value
        return flow

    white = Frames(np.full((2, 36, 64, 3), 255, np.uint8), np.array([0.0, 0.1]))
    good, broken = run(stubbed(bad, at_once=4), clip(2), white)
    assert good["flow_px_s"] > 0
    assert broken == ClipError("the network gave a flow that is NaN or infinite")


def test_nan_in_the_weights_reaches_the_error(tmp_path: Path, small: None) -> None:
    state = random_state()
    state["refine.flow_head.conv2.bias"][0] = float("nan")
    torch.save({"model": state}, tmp_path / "nan.pth")
    stage = Flow(engine="unimatch", weights=str(tmp_path / "nan.pth"))
    stage.setup("cpu")
    (result,) = run(stage, clip(2))
    assert isinstance(result, ClipError)


def test_other_weights_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    torch.save({"layers.0.weight": torch.zeros(3)}, path)
    with pytest.raises(
        ConfigError, match=r"head\.pth is no gmflow.*152|149 more missing; layers\.0\.weight unexpected"
    ):
        Flow(engine="unimatch", weights=str(path)).setup("cpu")


def test_it_must_be_set_up() -> None:
    with pytest.raises(StageError, match="before setup"):
        run(Flow(engine="unimatch"), clip(2))

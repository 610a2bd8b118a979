"""transnet: the network's own scenes, whatever the start, and a plain word where the extra is missing."""

import random
from typing import Any

import cv2
import numpy as np
import pytest
from support.motion_clips import BIKES_CUTS, dissolve, real

from shardpipe.core.errors import ConfigError
from shardpipe.scenes.transnet import Transnet

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def small() -> Any:
    """Bikes, its last shot dissolving into another clip: uint8 [T, 27, 48, 3]; and the mixed frames."""
    bikes = real("bikes.mp4")
    last, mixed = dissolve(bikes[187:242], real("bigbuckbunny.mp4")[:90], 20)
    frames = np.concatenate([bikes[:187], last])
    return np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in frames]), mixed


def transitions(frames: Any, skip: int = 0) -> Any:
    run = Transnet(device="cpu").start(25.0)
    found = [each for i, frame in enumerate(frames) if i >= skip for each in run.process(i / 25, frame)]
    return [*found, *run.finish()]


def test_cuts_and_a_dissolve(small: Any) -> None:
    frames, (start, end) = small
    *cuts, gradual = transitions(frames)
    assert [each.start_s for each in cuts] == [at / 25 for at in BIKES_CUTS[:4]]
    assert not any(each.is_gradual for each in cuts)
    assert gradual.start_s <= (187 + start) / 25 <= (187 + end) / 25 <= gradual.end_s
    assert gradual.end_s - gradual.start_s < 1.2


def test_missing_extra_is_a_config_error(monkeypatch: Any) -> None:
    monkeypatch.setattr("shardpipe.scenes.transnet.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"shardpipe\[transnet\]"):
        Transnet()


def test_loading_leaves_the_random_generators_alone() -> None:
    from shardpipe.scenes.transnet import scorer

    scorer.cache_clear()
    random.seed(5)
    expected = random.random()
    random.seed(5)
    scorer("cpu")
    assert random.random() == expected
    assert not torch.are_deterministic_algorithms_enabled()
    assert "device" not in Transnet(device="cpu").identity


@pytest.mark.slow
def test_a_later_start_scores_alike(small: Any) -> None:
    frames, _ = small
    assert transitions(frames, skip=60)[-3:] == transitions(frames)[-3:]

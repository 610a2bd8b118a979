"""CoTracker3: the published names and shapes load, others are refused in words, and its tracks are those of plain sums."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cotracker_plain import Plain, published_shapes, random_state, write_checkpoint

from shardpipe.core.errors import ConfigError
from shardpipe.models.cotracker.checkpoint import network_of
from shardpipe.models.cotracker.network import FRAMES, TOKEN, CoTracker, positions
from shardpipe.models.weights import load_state

State = dict[str, Any]


def test_names_and_shapes_are_the_published_ones() -> None:
    shapes = published_shapes()
    assert len(shapes) == 188
    assert sum(map(math.prod, shapes.values())) == 25_452_300
    assert {name: list(tensor.shape) for name, tensor in CoTracker().state_dict().items()} == shapes


@pytest.mark.parametrize("nested", [True, False])
def test_a_checkpoint_loads_as_it_is(tmp_path: Path, *, nested: bool) -> None:
    state = load_state(write_checkpoint(tmp_path / "weights.pth", seed=3))
    before = torch.get_rng_state()
    network = network_of({"model": state} if nested else state, "cpu", "here")
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: t for n, t in s.items() if n != "corr_mlp.fc2.bias"}, r"corr_mlp\.fc2\.bias missing$"),
        (
            lambda s: s | {"time_emb": s["time_emb"][:, :16]},
            r"time_emb \[1, 16, 1110\], not \[1, 60, 1110\] of another shape$",
        ),
        (lambda s: s | {"norm.weight": torch.zeros(128)}, r"norm\.weight unexpected$"),
    ],
)
def test_another_checkpoint_is_refused_in_words(change: Callable[[State], State], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^/weights/x\.pth is no offline checkpoint of CoTracker3.*{said}"):
        network_of(change(random_state()), "cpu", "/weights/x.pth")


def test_tracks_are_those_of_plain_sums() -> None:
    state, count = random_state(1), 2
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (count, 3, 32, 48))
    points = np.array([[3.0, 30.5], [41.2, 17.9]])
    frames = [0, count - 1]
    with torch.inference_mode():
        at, seen = network_of(state, "cpu", "here")(
            torch.from_numpy(pictures).float(), torch.from_numpy(points).float(), torch.tensor(frames)
        )
    plain_at, plain_seen = Plain(state).tracks(pictures, points, frames)
    assert np.abs(plain_at - points).max() > 1  # the weights do move the points
    np.testing.assert_allclose(at.numpy(), plain_at, atol=1e-3)
    np.testing.assert_allclose(seen.numpy(), plain_seen, atol=1e-4)


def test_time_is_embedded_as_in_transformers() -> None:
    """Vaswani et al. 2017, sines first, cosines after, as the checkpoint's own table has them."""
    table = positions(FRAMES, TOKEN).double().numpy()
    for t, i in ((0, 0), (7, 3), (59, 554)):
        angle = t / 10_000 ** (2 * i / TOKEN)
        assert table[t, i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[t, TOKEN // 2 + i] == pytest.approx(math.cos(angle), abs=1e-6)

"""Each part of UniMatch whose formula is known, against slow loops in numpy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shardpipe.models.unimatch.matching import correlation_along, global_flow, local_flow, moved
from shardpipe.models.unimatch.network import normalised
from shardpipe.models.unimatch.propagation import FlowPropagation
from shardpipe.models.unimatch.refinement import SeparableGru, convex_upsampled
from shardpipe.models.unimatch.transformer import window_attention
from shardpipe.models.unimatch.windows import (
    add_positions,
    join_windows,
    rolled_mask,
    sine_positions,
    split_windows,
)

Array = NDArray[np.float64]
CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def array(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def sampled(picture: Array, x: float, y: float) -> Array:
    """[C]: `picture` [C, H, W] at (x, y), bilinear, 0 outside."""
    found = np.zeros(len(picture))
    x0, y0 = math.floor(x), math.floor(y)
    for i in (y0, y0 + 1):
        for j in (x0, x0 + 1):
            if 0 <= i < picture.shape[1] and 0 <= j < picture.shape[2]:
                found += picture[:, i, j] * (1 - abs(x - j)) * (1 - abs(y - i))
    return found


def test_global_flow_is_a_softmax_over_all_places() -> None:
    first, second = random(2, 8, 3, 5, seed=1, scale=2), random(2, 8, 3, 5, seed=2, scale=2)
    expected = np.zeros((2, 2, 3, 5))
    for b in range(2):
        a, c = array(first)[b], array(second)[b]
        for y in range(3):
            for x in range(5):
                weights = softmax(
                    np.array([a[:, y, x] @ c[:, v, u] / math.sqrt(8) for v in range(3) for u in range(5)])
                )
                places = np.array([(u, v) for v in range(3) for u in range(5)])
                expected[b, :, y, x] = weights @ places - (x, y)
    np.testing.assert_allclose(array(global_flow(first, second)), expected, **CLOSE)


def test_local_flow_is_a_softmax_over_what_of_a_square_is_in_the_picture() -> None:
    first, second = random(1, 8, 4, 6, seed=1, scale=2), random(1, 8, 4, 6, seed=2, scale=2)
    a, c = array(first)[0], array(second)[0]
    expected = np.zeros((1, 2, 4, 6))
    for y in range(4):
        for x in range(6):
            offsets = [(u, v) for v in range(-2, 3) for u in range(-2, 3) if 0 <= x + u < 6 and 0 <= y + v < 4]
            weights = softmax(np.array([a[:, y, x] @ c[:, y + v, x + u] / math.sqrt(8) for u, v in offsets]))
            expected[0, :, y, x] = weights @ np.array(offsets)
    np.testing.assert_allclose(array(local_flow(first, second, 2)), expected, **CLOSE)


def test_distinct_features_are_found_again() -> None:
    """Where each place has a feature of its own, matching is exact: no flow to itself, the shift to a shifted picture."""
    own = torch.eye(48).view(1, 48, 6, 8) * 40
    shifted = own.roll((1, 2), (2, 3))
    assert global_flow(own, own).abs().max() < 1e-4
    assert local_flow(own, own, 3).abs().max() < 1e-4
    for flow in (global_flow(own, shifted), local_flow(own, shifted, 3)):
        inner = flow[0, :, :-1, :-2]
        torch.testing.assert_close(inner, torch.tensor([2.0, 1.0])[:, None, None].expand_as(inner), atol=1e-3, rtol=0)


def test_correlation_along_a_flow_is_bilinear_and_zero_outside() -> None:
    first, second = random(2, 5, 4, 6, seed=1), random(2, 5, 4, 6, seed=2)
    flow = random(2, 2, 4, 6, seed=3, scale=2.5)
    flow[0, :, 0, 0] = torch.tensor([1.0, -1.0])  # whole pixels too
    flow[1, :, 1, 1] = torch.tensor([300.0, -1e6])  # far away
    expected = np.zeros((2, 25, 4, 6))
    for b in range(2):
        for y in range(4):
            for x in range(6):
                u, v = array(flow)[b, :, y, x]
                for k in range(25):
                    there = sampled(array(second)[b], x + u + k % 5 - 2, y + v + k // 5 - 2)
                    expected[b, k, y, x] = array(first)[b, :, y, x] @ there / math.sqrt(5)
    np.testing.assert_allclose(array(correlation_along(first, second, flow, 2)), expected, **CLOSE)


def test_features_move_along_a_flow() -> None:
    features, flow = random(1, 3, 4, 6, seed=1), random(1, 2, 4, 6, seed=3, scale=2.0)
    expected = np.zeros((1, 3, 4, 6))
    for y in range(4):
        for x in range(6):
            u, v = array(flow)[0, :, y, x]
            expected[0, :, y, x] = sampled(array(features)[0], x + u, y + v)
    np.testing.assert_allclose(array(moved(features, flow)), expected, **CLOSE)


def test_flow_propagates_over_the_whole_picture_with_keys_made_of_queries() -> None:
    part = FlowPropagation(8)
    features, flow = random(1, 8, 3, 4, seed=1, scale=2), random(1, 2, 3, 4, seed=2)
    rows, values = array(features)[0].reshape(8, -1).T, array(flow)[0].reshape(2, -1).T
    query = rows @ array(part.q_proj.weight).T + array(part.q_proj.bias)
    key = query @ array(part.k_proj.weight).T + array(part.k_proj.bias)
    expected = np.stack([softmax(key @ each / math.sqrt(8)) @ values for each in query]).T.reshape(1, 2, 3, 4)
    np.testing.assert_allclose(array(part.everywhere(features, flow)), expected, **CLOSE)


def test_flow_propagates_over_a_square_with_zeros_outside() -> None:
    part = FlowPropagation(8)
    features, flow = random(1, 8, 3, 4, seed=1, scale=2), random(1, 2, 3, 4, seed=2)
    rows = array(features)[0].transpose(1, 2, 0)
    query = rows @ array(part.q_proj.weight).T + array(part.q_proj.bias)
    key = np.zeros((5, 6, 8))
    key[1:-1, 1:-1] = rows @ array(part.k_proj.weight).T + array(part.k_proj.bias)
    value = np.zeros((5, 6, 2))
    value[1:-1, 1:-1] = array(flow)[0].transpose(1, 2, 0)
    expected = np.zeros((1, 2, 3, 4))
    for y in range(3):
        for x in range(4):
            weights = softmax(key[y : y + 3, x : x + 3].reshape(9, 8) @ query[y, x] / math.sqrt(8))
            expected[0, :, y, x] = weights @ value[y : y + 3, x : x + 3].reshape(9, 2)
    np.testing.assert_allclose(array(part.around(features, flow, 1)), expected, **CLOSE)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_a_convex_combination_of_neighbours(factor: int) -> None:
    flow, weights = random(1, 2, 3, 4, seed=1), random(1, 9 * factor**2, 3, 4, seed=2)
    around = np.pad(array(flow)[0], ((0, 0), (1, 1), (1, 1)))
    shares = array(weights)[0].reshape(9, factor, factor, 3, 4)
    expected = np.zeros((1, 2, 3 * factor, 4 * factor))
    for y in range(3 * factor):
        for x in range(4 * factor):
            i, j = y // factor, x // factor
            share = softmax(shares[:, y % factor, x % factor, i, j])
            expected[0, :, y, x] = factor * around[:, i : i + 3, j : j + 3].reshape(2, 9) @ share
    np.testing.assert_allclose(array(convex_upsampled(flow, weights, factor)), expected, **CLOSE)


def test_positions_are_sines_by_row_then_by_column() -> None:
    found = array(sine_positions(16, (3, 5), CPU))
    for c in range(16):
        wave = 10000 ** (2 * (c % 8 // 2) / 8)
        turn = math.sin if c % 2 == 0 else math.cos
        for y in range(3):
            for x in range(5):
                at = (y + 1) / (3 + 1e-6) if c < 8 else (x + 1) / (5 + 1e-6)
                assert found[c, y, x] == pytest.approx(turn(2 * math.pi * at / wave), abs=1e-5)
    features = random(1, 16, 6, 10)
    tiled = np.tile(found, (1, 2, 2))
    np.testing.assert_allclose(array(add_positions(features, 2))[0], array(features)[0] + tiled, **CLOSE)


def test_windows_are_cut_in_rows_and_joined_again() -> None:
    features = torch.arange(2 * 4 * 6).view(2, 4, 6, 1)
    windows = split_windows(features, 2)
    assert windows.shape == (8, 6, 1)
    assert windows[1, :, 0].tolist() == [3, 4, 5, 9, 10, 11]
    assert torch.equal(join_windows(windows, 2, (4, 6)), features)


@pytest.mark.parametrize("rolled", [False, True])
@pytest.mark.parametrize(("splits", "size"), [(2, (4, 6)), (2, (8, 4)), (4, (4, 8)), (2, (2, 2))])
def test_attention_stays_in_its_window(splits: int, size: tuple[int, int], *, rolled: bool) -> None:
    """With loops: a place attends to those of its window; windows of the rolled map do not reach around its edges."""
    height, width = size
    query, key, value = (random(2, *size, 6, seed=seed) for seed in range(3))
    mask = rolled_mask(splits, size, CPU) if rolled else None
    tall, wide = height // splits, width // splits
    up, left = (tall // 2, wide // 2) if rolled else (0, 0)

    def window(at: int, shift: int, side: int, length: int) -> tuple[int, bool]:
        """The window of a place on one axis of the rolled map, and whether it came round from the other end."""
        return (at - shift) % length // side, at < shift

    places = [(y, x) for y in range(height) for x in range(width)]
    of = {(y, x): (window(y, up, tall, height), window(x, left, wide, width)) for y, x in places}
    expected = np.zeros((2, height, width, 6))
    for b in range(2):
        for y, x in places:
            others = [there for there in places if of[there] == of[y, x]]
            q = array(query)[b, y, x]
            weights = softmax(np.array([q @ array(key)[b, v, u] / math.sqrt(6) for v, u in others]))
            expected[b, y, x] = weights @ np.array([array(value)[b, v, u] for v, u in others])
    np.testing.assert_allclose(array(window_attention(query, key, value, splits, mask)), expected, **CLOSE)


def test_the_gru_forgets_and_takes_along_rows_then_columns() -> None:
    gru = SeparableGru(4)
    hidden, inputs = random(1, 128, 3, 7, seed=1), random(1, 4, 3, 7, seed=2)

    def conv(layer: torch.nn.Conv2d, given: Array) -> Array:
        """One channel set at a time, by loops over the kernel's places."""
        weight, bias = array(layer.weight), array(layer.bias)
        rows, columns = weight.shape[2] // 2, weight.shape[3] // 2
        padded = np.pad(given, ((0, 0), (rows, rows), (columns, columns)))
        out = np.repeat(bias, 21).reshape(128, 3, 7)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                out += np.einsum("oc,chw->ohw", weight[:, :, i, j], padded[:, i : i + 3, j : j + 7])
        return out

    def sigmoid(values: Array) -> Array:
        return 1 / (1 + np.exp(-values))

    state, seen = array(hidden)[0], array(inputs)[0]
    for axis in "12":
        z, r, q = (getattr(gru, f"conv{gate}{axis}") for gate in "zrq")
        both = np.concatenate((state, seen))
        update, reset = sigmoid(conv(z, both)), sigmoid(conv(r, both))
        state = (1 - update) * state + update * np.tanh(conv(q, np.concatenate((reset * state, seen))))
    np.testing.assert_allclose(array(gru(hidden, inputs))[0], state, **CLOSE)


def test_pictures_are_normalised_as_rgb() -> None:
    picture = torch.tensor([255.0, 0.0, 127.5]).view(1, 3, 1, 1)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.5 - 0.406) / 0.225]
    np.testing.assert_allclose(array(normalised(picture)).ravel(), expected, **CLOSE)

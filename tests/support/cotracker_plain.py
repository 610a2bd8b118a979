"""CoTracker3 once more, from the paper and the layout of its checkpoint, with plain sums in place of modules: for comparison.

A checkpoint has random values of a seed here, under the published names and shapes.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

KEYS = Path(__file__).parents[1] / "models" / "cotracker_keys.json"
Array = NDArray[np.float64]
State = dict[str, torch.Tensor]


def published_shapes() -> dict[str, list[int]]:
    """Shape by name."""
    shapes: dict[str, list[int]] = json.loads(KEYS.read_text(encoding="utf-8"))["shapes"]
    return shapes


def random_state(seed: int = 0) -> State:
    """Values of the size that keeps a signal's size."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in published_shapes().items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("bias") or name == "time_emb":
            state[name] = 0.1 * noise
        elif "norm" in name:
            state[name] = 1 + 0.1 * noise
        elif "virual" in name:
            state[name] = noise
        else:
            state[name] = noise / math.sqrt(math.prod(shape[1:]))
    return state


def write_checkpoint(path: Path, *, seed: int = 0) -> Path:
    """A checkpoint file, flat as the published one."""
    torch.save(random_state(seed), path)
    return path


class Plain:
    """Tracks of points by the weights of a state."""

    def __init__(self, state: State) -> None:
        self.w = {name: tensor.double().numpy() for name, tensor in state.items()}

    def tracks(self, pictures: Array, points: Array, frames: list[int]) -> tuple[Array, Array]:
        """Pictures [T, 3, H, W], points [N, 2] on frames: places [T, N, 2] and visibility [T, N]."""
        count = len(pictures)
        pyramid = [np.stack([self._features(each / 127.5 - 1) for each in pictures])]
        while len(pyramid) < 4:
            last = pyramid[-1]
            h, w = last.shape[2] // 2 * 2, last.shape[3] // 2 * 2
            last = last[:, :, :h, :w]
            pyramid.append(
                (last[:, :, ::2, ::2] + last[:, :, 1::2, ::2] + last[:, :, ::2, 1::2] + last[:, :, 1::2, 1::2]) / 4
            )
        start = points / 4
        patches = [
            [_patch(level[frame], point / 2**i) for point, frame in zip(start, frames, strict=True)]
            for i, level in enumerate(pyramid)
        ]
        at = np.repeat(start[None], count, 0)
        seen, sure = np.zeros(at.shape[:2]), np.zeros(at.shape[:2])
        time = _stretched(self.w["time_emb"][0], count)
        for _ in range(6):
            tokens = np.zeros((len(points), count, 1110))
            for n in range(len(points)):
                for t in range(count):
                    before = at[t, n] - at[t - 1, n] if t else np.zeros(2)
                    after = at[t, n] - at[t + 1, n] if t + 1 < count else np.zeros(2)
                    step = np.concatenate([after, before]) / np.array([128, 96, 128, 96])
                    correlated = []
                    for i, level in enumerate(pyramid):
                        here = _patch(level[t], at[t, n] / 2**i)
                        volume = np.array([[one @ other for other in patches[i][n]] for one in here])
                        hidden = _gelu(self._linear("corr_mlp.fc1", volume.reshape(-1)))
                        correlated.append(self._linear("corr_mlp.fc2", hidden))
                    angles = np.concatenate([step * 2.0**d for d in range(10)])
                    waves = [np.sin(angles), np.cos(angles)]
                    tokens[n, t] = np.concatenate([[seen[t, n], sure[t, n]], *correlated, step, *waves]) + time[t]
            change = self._update(tokens)
            at = at + change[..., :2].transpose(1, 0, 2)
            seen = seen + change[..., 2].T
            sure = sure + change[..., 3].T
        return at * 4, 1 / (1 + np.exp(-seen))

    def _features(self, picture: Array) -> Array:
        size = (picture.shape[1] // 4, picture.shape[2] // 4)
        x = _relu(_normed(self._conv("fnet.conv1", picture, 2)))
        scales = []
        for layer in range(1, 5):
            for block in range(2):
                name, stride = f"fnet.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
                made = _relu(_normed(self._conv(f"{name}.conv1", x, stride)))
                made = _relu(_normed(self._conv(f"{name}.conv2", made, 1)))
                beside = _normed(self._conv(f"{name}.downsample.0", x, stride)) if stride == 2 else x
                x = _relu(beside + made)
            scales.append(_resized(x, size))
        x = _relu(_normed(self._conv("fnet.conv2", np.concatenate(scales), 1)))
        x = self._conv("fnet.conv3", x, 1)
        length = np.sqrt((x**2).sum(0))
        return np.asarray(x / length)

    def _conv(self, name: str, x: Array, stride: int) -> Array:
        kernel = self.w[f"{name}.weight"]
        side = kernel.shape[2]
        wide = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (1, 2))[:, ::stride, ::stride]
        return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + self.w[f"{name}.bias"][:, None, None]

    def _linear(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"])

    def _attend(self, name: str, x: Array, context: Array) -> Array:
        """[N, C] told of [M, C], head by head."""
        query = self._linear(f"{name}.to_q", x)
        key, value = np.split(self._linear(f"{name}.to_kv", context), 2, axis=-1)
        heads = []
        for head in range(8):
            of = slice(48 * head, 48 * (head + 1))
            weights = np.exp(query[:, of] @ key[:, of].T / math.sqrt(48))
            heads.append(weights / weights.sum(1, keepdims=True) @ value[:, of])
        return self._linear(f"{name}.to_out", np.concatenate(heads, axis=1))

    def _fed(self, name: str, x: Array) -> Array:
        hidden = self._linear(f"{name}.mlp.fc1", _layer_normed(x))
        hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        return x + self._linear(f"{name}.mlp.fc2", hidden)

    def _block(self, name: str, x: Array) -> Array:
        x = x + self._attend(f"{name}.attn", _layer_normed(x), _layer_normed(x))
        return self._fed(name, x)

    def _cross(self, name: str, x: Array, context: Array) -> Array:
        normed = (
            _layer_normed(context, 1e-5) * self.w[f"{name}.norm_context.weight"] + self.w[f"{name}.norm_context.bias"]
        )
        return self._fed(name, x + self._attend(f"{name}.cross_attn", _layer_normed(x), normed))

    def _update(self, tokens: Array) -> Array:
        x = self._linear("updateformer.input_transform", tokens)
        virtual = np.repeat(self.w["updateformer.virual_tracks"][0], tokens.shape[1], 1)
        x = np.concatenate([x, virtual])
        num = len(tokens)
        for i in range(3):
            x = np.stack([self._block(f"updateformer.time_blocks.{i}", track) for track in x])
            for t in range(tokens.shape[1]):
                points, virtual = x[:num, t], x[num:, t]
                virtual = self._cross(f"updateformer.space_virtual2point_blocks.{i}", virtual, points)
                virtual = self._block(f"updateformer.space_virtual_blocks.{i}", virtual)
                x[:num, t] = self._cross(f"updateformer.space_point2virtual_blocks.{i}", points, virtual)
                x[num:, t] = virtual
        x = x[:num]
        heads = [self._linear(f"updateformer.{name}", x) for name in ("flow_head", "vis_conf_head")]
        return np.concatenate(heads, axis=-1)


def _patch(features: Array, point: Array) -> Array:
    """[49, C]: 7x7 places around x, y, x slowest."""
    return np.array([_at(features, point[0] + dx, point[1] + dy) for dx in range(-3, 4) for dy in range(-3, 4)])


def _at(features: Array, x: float, y: float) -> Array:
    """Bilinear; beyond the border, the border."""
    height, width = features.shape[1:]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    upper = features[:, top, left] * (1 - fx) + features[:, top, right] * fx
    lower = features[:, bottom, left] * (1 - fx) + features[:, bottom, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _resized(x: Array, size: tuple[int, int]) -> Array:
    """Bilinear, corners on corners."""
    rows, columns = (np.arange(new) * ((old - 1) / max(new - 1, 1)) for new, old in zip(size, x.shape[1:], strict=True))
    return np.stack([np.stack([_at(x, float(c), float(r)) for c in columns], -1) for r in rows], 1)


def _stretched(table: Array, count: int) -> Array:
    """[60, D] to [count, D], linear, by the middles of the parts."""
    at = np.clip((np.arange(count) + 0.5) * (len(table) / count) - 0.5, 0, len(table) - 1)
    low = np.minimum(at.astype(int), len(table) - 2)
    part = (at - low)[:, None]
    return np.asarray(table[low] * (1 - part) + table[low + 1] * part)


def _normed(x: Array) -> Array:
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return np.asarray((x - mean) / np.sqrt(variance + 1e-5))


def _layer_normed(x: Array, epsilon: float = 1e-6) -> Array:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(variance + epsilon))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.array([math.erf(each / math.sqrt(2)) for each in x])))

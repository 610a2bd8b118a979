"""The transformer that makes the features of two pictures aware of each other."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shardpipe.models.unimatch.windows import half_window, join_windows, rolled_mask, split_windows


class Attention(nn.Module):
    """Single-head attention within windows, one linear map and norm after it; with `feed_forward` also the two layers, GELU
    between, that see source and message side by side.
    """

    def __init__(self, channels: int, *, feed_forward: bool, expansion: int = 4) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, channels, bias=False)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels, bias=False)
        self.merge = nn.Linear(channels, channels, bias=False)
        self.norm1 = nn.LayerNorm(channels)
        self.mlp: nn.Sequential | None = None
        if feed_forward:
            both = 2 * channels
            self.mlp = nn.Sequential(
                nn.Linear(both, expansion * both, bias=False),
                nn.GELU(),
                nn.Linear(expansion * both, channels, bias=False),
            )
            self.norm2 = nn.LayerNorm(channels)

    def forward(self, source: Tensor, target: Tensor, splits: int, mask: Tensor | None) -> Tensor:
        """`source`, [B, H, W, C], told of `target`, of the same shape. `mask`: that of `rolled_mask`, where windows are those of
        the map rolled by half a window.
        """
        message = window_attention(self.q_proj(source), self.k_proj(target), self.v_proj(target), splits, mask)
        message = self.norm1(self.merge(message))
        if self.mlp is not None:
            message = self.norm2(self.mlp(torch.cat((source, message), dim=-1)))
        told: Tensor = source + message
        return told


class Block(nn.Module):
    """Attention to the picture itself, then to the other one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.self_attn = Attention(channels, feed_forward=False)
        self.cross_attn_ffn = Attention(channels, feed_forward=True)

    def forward(self, source: Tensor, target: Tensor, splits: int, mask: Tensor | None) -> Tensor:
        """[B, H, W, C] each."""
        source = self.self_attn(source, source, splits, mask)
        told: Tensor = self.cross_attn_ffn(source, target, splits, mask)
        return told


class FeatureTransformer(nn.Module):
    """Blocks whose windows are, by turns, those of the map and those of the map rolled by half a window."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(channels) for _ in range(num_layers))

    def forward(self, first: Tensor, second: Tensor, splits: int) -> tuple[Tensor, Tensor]:
        """Features of two pictures, [B, C, H, W] each, in windows `splits` a side; H and W are multiples of `splits`."""
        size = (first.shape[2], first.shape[3])
        mask = rolled_mask(splits, size, first.device)
        both = torch.cat((first, second)).permute(0, 2, 3, 1)
        for i, layer in enumerate(self.layers):
            ones, others = both.chunk(2)
            both = layer(both, torch.cat((others, ones)), splits, mask if i % 2 else None)
        one, other = both.permute(0, 3, 1, 2).contiguous().chunk(2)
        return one, other


def window_attention(query: Tensor, key: Tensor, value: Tensor, splits: int, mask: Tensor | None) -> Tensor:
    """softmax(query key^T / sqrt(C)) value within each window, all [B, H, W, C]; with a `mask`, in the windows of the maps
    rolled up and left by half a window, and back.
    """
    batch, height, width, _ = query.shape
    size = (height, width)
    rows, columns = half_window(splits, size) if mask is not None else (0, 0)
    query, key, value = (split_windows(each.roll((-rows, -columns), (1, 2)), splits) for each in (query, key, value))
    added = None if mask is None else mask.repeat(batch, 1, 1)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=added)
    return join_windows(out, splits, size).roll((rows, columns), (1, 2))

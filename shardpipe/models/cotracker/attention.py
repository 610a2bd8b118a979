"""The transformer that changes tracks: attention over time within a track, and between tracks by way of virtual ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 384
HEADS = 8
DEPTH = 3
VIRTUAL = 64
EPSILON = 1e-6


class Mlp(nn.Module):
    """Two linear layers, GELU between: the exact one, or its approximation by tanh."""

    def __init__(self, num_in: int, hidden: int, num_out: int, *, by_tanh: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_in, hidden)
        self.fc2 = nn.Linear(hidden, num_out)
        self._approximate = "tanh" if by_tanh else "none"

    def forward(self, values: Tensor) -> Tensor:
        """[..., num_in] to [..., num_out]."""
        made: Tensor = self.fc2(functional.gelu(self.fc1(values), approximate=self._approximate))
        return made


class Attention(nn.Module):
    """Attention with several heads (Vaswani et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_kv = nn.Linear(WIDTH, 2 * WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """What `tokens` [B, N, C] take from `context` [B, M, C]."""
        query = _heads(self.to_q(tokens))
        key, value = (_heads(each) for each in self.to_kv(context).chunk(2, dim=-1))
        taken = functional.scaled_dot_product_attention(query, key, value)
        made: Tensor = self.to_out(taken.transpose(1, 2).flatten(2))
        return made


class Block(nn.Module):
    """Attention of tokens to themselves, then the two layers; norms without parameters before each."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.mlp = Mlp(WIDTH, 4 * WIDTH, WIDTH, by_tanh=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C]."""
        normed = _normed(tokens)
        tokens = tokens + self.attn(normed, normed)
        told: Tensor = tokens + self.mlp(_normed(tokens))
        return told


class CrossBlock(nn.Module):
    """Attention of tokens to others, whose norm has parameters, then the two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_context = nn.LayerNorm(WIDTH)
        self.cross_attn = Attention()
        self.mlp = Mlp(WIDTH, 4 * WIDTH, WIDTH, by_tanh=True)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """[B, N, C] told of [B, M, C]."""
        tokens = tokens + self.cross_attn(_normed(tokens), self.norm_context(context))
        told: Tensor = tokens + self.mlp(_normed(tokens))
        return told


class Updater(nn.Module):
    """Tokens of all points and frames to how each track changes there."""

    def __init__(self, num_in: int) -> None:
        super().__init__()
        self.input_transform = nn.Linear(num_in, WIDTH)
        self.flow_head = nn.Linear(WIDTH, 2)
        self.vis_conf_head = nn.Linear(WIDTH, 2)
        self.virual_tracks = nn.Parameter(torch.zeros(1, VIRTUAL, 1, WIDTH))  # so spelt in the checkpoint
        self.time_blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.space_virtual_blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock() for _ in range(DEPTH))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock() for _ in range(DEPTH))

    def forward(self, values: Tensor) -> Tensor:
        """[N, T, num_in] to [N, T, 4]: x, y, visibility and confidence."""
        virtual = self.virual_tracks[0].expand(-1, values.shape[1], -1)
        tokens = torch.cat((self.input_transform(values), virtual))
        num_points = len(values)
        layers = zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        )
        for over_time, gather, mix, spread in layers:
            at_once = over_time(tokens).transpose(0, 1)  # [T, N + 64, C]
            points, virtual = at_once[:, :num_points], at_once[:, num_points:]
            virtual = mix(gather(virtual, points))
            tokens = torch.cat((spread(points, virtual), virtual), dim=1).transpose(0, 1)
        points = tokens[:num_points]
        return torch.cat((self.flow_head(points), self.vis_conf_head(points)), dim=-1)


def _heads(values: Tensor) -> Tensor:
    """[B, N, C] to [B, heads, N, C / heads]."""
    return values.view(*values.shape[:-1], HEADS, values.shape[-1] // HEADS).transpose(1, 2)


def _normed(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, (WIDTH,), eps=EPSILON)

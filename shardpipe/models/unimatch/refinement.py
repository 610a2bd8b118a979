"""One step of regression on a flow, and convex upsampling, both as in RAFT (Teed and Deng, ECCV 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 128


class MotionEncoder(nn.Module):
    """Correlation and flow to 126 channels, the flow itself beside them."""

    def __init__(self, correlations: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(correlations, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(192 + 64, HIDDEN - 2, 3, padding=1)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """[B, 2, H, W] and [B, correlations, H, W] to [B, 128, H, W]."""
        alike = functional.relu(self.convc2(functional.relu(self.convc1(correlation))))
        moves = functional.relu(self.convf2(functional.relu(self.convf1(flow))))
        seen = functional.relu(self.conv(torch.cat((alike, moves), 1)))
        return torch.cat((seen, flow), 1)


class SeparableGru(nn.Module):
    """A gated recurrent unit of 1x5 convolutions, then one of 5x1."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        across = {"kernel_size": (1, 5), "padding": (0, 2)}
        down = {"kernel_size": (5, 1), "padding": (2, 0)}
        channels = HIDDEN + inputs
        self.convz1 = nn.Conv2d(channels, HIDDEN, **across)  # type: ignore[arg-type]
        self.convr1 = nn.Conv2d(channels, HIDDEN, **across)  # type: ignore[arg-type]
        self.convq1 = nn.Conv2d(channels, HIDDEN, **across)  # type: ignore[arg-type]
        self.convz2 = nn.Conv2d(channels, HIDDEN, **down)  # type: ignore[arg-type]
        self.convr2 = nn.Conv2d(channels, HIDDEN, **down)  # type: ignore[arg-type]
        self.convq2 = nn.Conv2d(channels, HIDDEN, **down)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """[B, 128, H, W] and [B, inputs, H, W] to the next hidden state."""
        hidden = self._step(hidden, inputs, self.convz1, self.convr1, self.convq1)
        return self._step(hidden, inputs, self.convz2, self.convr2, self.convq2)

    @staticmethod
    def _step(hidden: Tensor, inputs: Tensor, update: nn.Module, reset: nn.Module, new: nn.Module) -> Tensor:
        both = torch.cat((hidden, inputs), 1)
        share = update(both).sigmoid()
        kept = reset(both).sigmoid() * hidden
        candidate = new(torch.cat((kept, inputs), 1)).tanh()
        following: Tensor = (1 - share) * hidden + share * candidate
        return following


class FlowHead(nn.Module):
    """Hidden state to a change of the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, 128, H, W] to [B, 2, H, W]."""
        change: Tensor = self.conv2(functional.relu(self.conv1(hidden)))
        return change


class UpdateBlock(nn.Module):
    """What is learned of a refinement."""

    def __init__(self, *, correlations: int, factor: int) -> None:
        super().__init__()
        self.encoder = MotionEncoder(correlations)
        self.gru = SeparableGru(inputs=2 * HIDDEN)
        self.flow_head = FlowHead()
        self.mask = nn.Sequential(nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 9 * factor**2, 1))

    def forward(self, hidden: Tensor, context: Tensor, correlation: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """(the next hidden state, the change of the flow)."""
        hidden = self.gru(hidden, torch.cat((context, self.encoder(flow, correlation)), 1))
        return hidden, self.flow_head(hidden)


def convex_upsampled(flow: Tensor, weights: Tensor, factor: int) -> Tensor:
    """`flow` [B, 2, H, W] `factor` times as large, in its new pixels: each a convex combination of the 3x3 around it, 0 outside
    the picture, with softmaxed `weights` [B, 9 * factor^2, H, W].
    """
    batch, _, height, width = flow.shape
    shares = weights.view(batch, 1, 9, factor, factor, height, width).softmax(2)
    around = functional.unfold(factor * flow, 3, padding=1).view(batch, 2, 9, 1, 1, height, width)
    made = (shares * around).sum(2)
    return made.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, factor * height, factor * width)

"""The convolutional encoder: a picture to features at a quarter and an eighth of its size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 96, 128)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm (He et al., CVPR 2016), and a 1x1 one beside them where the shape changes."""

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride), _norm(channels))
        self.norm1, self.norm2 = _norm(channels), _norm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, channels, H / stride, W / stride]."""
        made = functional.relu(self.norm1(self.conv1(features)))
        made = functional.relu(self.norm2(self.conv2(made)))
        beside = features if self.downsample is None else self.downsample(features)
        return functional.relu(beside + made)


class SharedKernel(nn.Module):
    """One 3x3 kernel at strides 1 and 2: the same features at two scales (TridentNet, Li et al., ICCV 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(channels, channels, 3, 3), nonlinearity="relu"))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] to (as large, half as large)."""
        full, half = (functional.conv2d(features, self.weight, stride=stride, padding=1) for stride in (1, 2))
        return full, half


class Encoder(nn.Module):
    """Three stages of two residual blocks each, the second at half the size."""

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.norm1 = _norm(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], stride=1)
        self.conv2 = nn.Conv2d(WIDTHS[2], channels, 1)
        self.trident_conv = SharedKernel(channels)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W], normalised, to features (1/4 of the size, 1/8)."""
        features = functional.relu(self.norm1(self.conv1(pictures)))
        features = self.layer3(self.layer2(self.layer1(features)))
        scales: tuple[Tensor, Tensor] = self.trident_conv(self.conv2(features))
        return scales


def _stage(channels_in: int, channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(channels_in, channels, stride=stride), ResidualBlock(channels, channels))


def _norm(channels: int) -> nn.InstanceNorm2d:
    """Without parameters, so that checkpoints have no tensor for it."""
    return nn.InstanceNorm2d(channels)

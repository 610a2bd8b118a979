"""The convolutional encoder: pictures to features at a quarter of their size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
CHANNELS = 128
WIDTHS = (64, 96, 128, 128)
"""Of the four stages, each but the first half as large as the one before; the first is half as large as the picture."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm (He et al., CVPR 2016), and a 1x1 one beside them where the size changes."""

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.downsample: nn.Sequential | None = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride), nn.InstanceNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, channels, H / stride, W / stride]."""
        made = functional.relu(functional.instance_norm(self.conv1(features)))
        made = functional.relu(functional.instance_norm(self.conv2(made)))
        beside = features if self.downsample is None else self.downsample(features)
        return functional.relu(beside + made)


class Encoder(nn.Module):
    """Four stages of two residual blocks each; the features of all four, brought to one size, are mixed to `CHANNELS`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3)
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], stride=2)
        self.conv2 = nn.Conv2d(sum(WIDTHS), 2 * CHANNELS, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """float32 [B, 3, H, W], -1 to 1, to features of length 1, float32 [B, 128, H / 4, W / 4]."""
        size = (pictures.shape[2] // STRIDE, pictures.shape[3] // STRIDE)
        features = functional.relu(functional.instance_norm(self.conv1(pictures)))
        scales = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            scales.append(functional.interpolate(features, size=size, mode="bilinear", align_corners=True))
        mixed = functional.relu(functional.instance_norm(self.conv2(torch.cat(scales, dim=1))))
        made: Tensor = self.conv3(mixed)
        return made / made.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()


def _stage(channels_in: int, channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(channels_in, channels, stride=stride), ResidualBlock(channels, channels))

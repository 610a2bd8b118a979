"""The whole network: two pictures to the flow between them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shardpipe.models.unimatch.backbone import Encoder
from shardpipe.models.unimatch.matching import correlation_along, global_flow, local_flow, moved
from shardpipe.models.unimatch.propagation import FlowPropagation
from shardpipe.models.unimatch.refinement import HIDDEN, UpdateBlock, convex_upsampled
from shardpipe.models.unimatch.transformer import FeatureTransformer
from shardpipe.models.unimatch.windows import add_positions

CHANNELS = 128
LAYERS = 6
SPLITS = (2, 8)
"""Attention windows a side at an eighth and at a quarter of the size."""

LOCAL_RADIUS = 4
"""Pixels, at a quarter of the size, within which a match may differ from that of the scale above, and a refinement looks."""

PROPAGATION_RADIUS = 1
REFINEMENTS = 6
FACTOR = 4
MULTIPLE = 32
"""Heights and widths are multiples of this: eight windows a side at a quarter of the size."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet in rgb, 0 to 1."""


class UniMatchFlow(nn.Module):
    """Two scales, six refinements. Its tensors have the names and shapes of the published checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Encoder(CHANNELS)
        self.transformer = FeatureTransformer(CHANNELS, LAYERS)
        self.feature_flow_attn = FlowPropagation(CHANNELS)
        self.refine_proj = nn.Conv2d(CHANNELS, 2 * HIDDEN, 1)
        self.refine = UpdateBlock(correlations=(2 * LOCAL_RADIUS + 1) ** 2, factor=FACTOR)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """float32 [B, 3, H, W] each, rgb, 0 to 255, H and W multiples of 32, to float32 [B, 2, H, W]: by how many pixels, x then y,
        what `first` shows at each pixel has moved in `second`.
        """
        quarter, eighth = self.backbone(normalised(torch.cat((first, second))))
        flow = self._coarse(*halves(eighth))
        flow = functional.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=True) * 2
        return self._fine(*halves(quarter), flow)

    def _coarse(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow at an eighth of the size from nothing."""
        first, second = self._aware(first, second, SPLITS[0])
        return self.feature_flow_attn.everywhere(first, global_flow(first, second))

    def _fine(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """Flow at full size from features at a quarter and the coarse flow, enlarged to them."""
        aware, other = self._aware(first, moved(second, flow), SPLITS[1])
        flow = flow + local_flow(aware, other, LOCAL_RADIUS)
        flow = self.feature_flow_attn.around(aware, flow, PROPAGATION_RADIUS)
        # each refinement starts from the same hidden state: the published weights are made so
        start, context = self.refine_proj(aware).chunk(2, 1)
        start, context = start.tanh(), context.relu()
        hidden = start
        for _ in range(REFINEMENTS):
            correlation = correlation_along(first, second, flow, LOCAL_RADIUS)
            hidden, change = self.refine(start, context, correlation, flow)
            flow = flow + change
        return convex_upsampled(flow, self.refine.mask(hidden), FACTOR)

    def _aware(self, first: Tensor, second: Tensor, splits: int) -> tuple[Tensor, Tensor]:
        told: tuple[Tensor, Tensor] = self.transformer(
            add_positions(first, splits), add_positions(second, splits), splits
        )
        return told


def halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """The features of the first and of the second pictures of a batch [2 B, ...]."""
    count = len(both) // 2
    return both[:count], both[count:]


def normalised(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], rgb, 0 to 255, less ImageNet's mean, by its standard deviation."""
    mean, std = (pictures.new_tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (pictures / 255 - mean) / std

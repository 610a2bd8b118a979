"""Flow carried from where it was matched to where it could not be, by how alike the first picture's features are."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class FlowPropagation(nn.Module):
    """Attention of the first picture's features to themselves, with flow as the values (GMFlow, eq. 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)

    def everywhere(self, features: Tensor, flow: Tensor) -> Tensor:
        """Over the whole picture. Keys are projected from queries, not from features: the published weights are made so."""
        channels = features.shape[1]
        query = self.q_proj(features.flatten(2).transpose(1, 2))
        key = self.k_proj(query)
        weights = (query @ key.transpose(1, 2) / channels**0.5).softmax(-1)
        carried: Tensor = weights @ flow.flatten(2).transpose(1, 2)
        return carried.transpose(1, 2).reshape(flow.shape)

    def around(self, features: Tensor, flow: Tensor, radius: int) -> Tensor:
        """Over the square of `radius` around each pixel. Places outside the picture count too, with score 0 and flow 0."""
        batch, channels, height, width = features.shape
        places = (2 * radius + 1) ** 2
        rows = features.flatten(2).transpose(1, 2)
        query = self.q_proj(rows).transpose(1, 2)
        key = self.k_proj(rows).transpose(1, 2).reshape(features.shape)
        keys = functional.unfold(key, 2 * radius + 1, padding=radius).view(batch, channels, places, -1)
        flows = functional.unfold(flow, 2 * radius + 1, padding=radius).view(batch, 2, places, -1)
        weights = (torch.einsum("bcl,bcpl->bpl", query, keys) / channels**0.5).softmax(1)
        return torch.einsum("bpl,bdpl->bdl", weights, flows).view(batch, 2, height, width)

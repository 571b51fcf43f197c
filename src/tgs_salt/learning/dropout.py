"""Dropout that draws one random number for each feature it drops, not one for each feature that there is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout of single elements (Srivastava et al. 2014) with probability `p`; what is kept is scaled by 1 / (1 - p).

    torch's own draws a Bernoulli number for each element, in one thread on a CPU: a quarter of a small network's
    step. The distances between dropped elements are geometric, so drawing those gives the same distribution from a
    share `p` of the numbers. On a GPU, where numbers cost next to nothing, torch's own is used.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        if features.device.type != "cpu":
            return F.dropout(features, self.p, training=True)
        count = features.numel()
        scale = torch.full((count,), 1 / (1 - self.p), dtype=features.dtype)
        scale[_dropped(count, self.p)] = 0
        # In the memory order of the features, so that the product reads both straight through.
        dense = features.contiguous() if not _is_dense(features) else features
        return dense * scale.as_strided(dense.shape, dense.stride())

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _dropped(count: int, p: float) -> Tensor:
    """Positions in 0..count-1, each drawn with probability `p` independently of the others; ascending int64."""
    # Six standard deviations more than are expected: a second draw is needed about once in a billion.
    gaps = torch.empty(int(count * p + 6 * (count * p) ** 0.5) + 16, dtype=torch.int64).geometric_(p)
    positions = gaps.cumsum(0) - 1
    while positions[-1] < count:
        more = torch.empty_like(gaps).geometric_(p).cumsum(0) + positions[-1]
        positions = torch.cat([positions, more])
    return positions[: int(torch.searchsorted(positions, count))]


def _is_dense(features: Tensor) -> bool:
    return features.is_contiguous() or features.is_contiguous(memory_format=torch.channels_last)

"""What a U-Net can say beside its last decoder block's pixels: all blocks at once, each block alone, "no salt here"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Outputs(NamedTuple):
    """All that a network says while it trains; the loss takes it whole."""

    logits: Tensor  # (n, 1, h, w) of salt
    levels: tuple[Tensor, ...] = ()  # (n, 1, h, w) of salt, by each coarser decoder block: deep supervision
    empty: Tensor | None = None  # (n,) of a tile without salt


def joined(logits: Tensor, empty: Tensor) -> Tensor:
    """Logits (n, 1, h, w) whose sigmoid is sigmoid(logits) * (1 - sigmoid(empty)); float32, for `empty` (n,)."""
    both = F.logsigmoid(logits.float()) + F.logsigmoid(-empty.float()).view(-1, 1, 1, 1)
    # log(p / (1 - p)) from log p. Rounded to 0, it would be a certainty of infinite logit.
    both = both.clamp(max=-torch.finfo(torch.float32).tiny)
    return both - torch.log(-torch.expm1(both))


def resized(features: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


class Hypercolumn(nn.Module):
    """Features of all decoder blocks at the last one's size, mixed to the last one's width (Hariharan et al. 2015).

    A 1 x 1 convolution of joined, enlarged features is the sum of enlarged 1 x 1 convolutions. So each block's
    features are narrowed before they are enlarged, at a fraction of the work and the memory.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(width, widths[-1], 1, bias=False) for width in widths)
        self.finish = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))

    def forward(self, blocks: list[Tensor]) -> Tensor:
        mixed = self.narrow[-1](blocks[-1])
        for narrow, features in zip(self.narrow[:-1], blocks[:-1], strict=True):
            mixed = mixed + resized(narrow(features), blocks[-1].shape[-2:])
        return self.finish(mixed)


class EmptyHead(nn.Module):
    """(n, width, h, w) deepest features to (n,) logits of a tile without salt: mean over the tile, dropout, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.dropout(features.mean(dim=(-2, -1)))).squeeze(1)

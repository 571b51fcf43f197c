"""Heads of a U-Net: hypercolumn, deep supervision and the classification of empty tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Outputs(NamedTuple):
    """Outputs of a network in training mode, as the loss takes them."""

    logits: Tensor  # (n, 1, h, w): a pixel is salt
    deep_logits: tuple[Tensor, ...] = ()  # (n, 1, h, w) from each coarser decoder block, for deep supervision
    empty_logit: Tensor | None = None  # (n,): a tile has no salt


def combine_with_empty_logit(logits: Tensor, empty_logit: Tensor) -> Tensor:
    """Return float32 logits (n, 1, h, w) of the probability sigmoid(logits) * (1 - sigmoid(empty_logit)).

    Args:
        logits: (n, 1, h, w), a pixel is salt.
        empty_logit: (n,), a tile has no salt.
    """
    log_p = F.logsigmoid(logits.float()) + F.logsigmoid(-empty_logit.float()).view(-1, 1, 1, 1)
    # log(p / (1 - p)) from log p. The clamp avoids log p = 0, whose logit is infinite.
    log_p = log_p.clamp(max=-torch.finfo(torch.float32).tiny)
    return log_p - torch.log(-torch.expm1(log_p))


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Return `features` (n, c, h, w) resized bilinearly to `size` (height, width)."""
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


class Hypercolumn(nn.Module):
    """Combine all decoder blocks at the size and width of the last one (Hariharan et al. 2015).

    A 1 x 1 convolution of upsampled, concatenated features equals the sum of upsampled 1 x 1 convolutions. Each
    block's features are therefore reduced in width before they are upsampled, which saves time and memory.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(width, widths[-1], 1, bias=False) for width in widths)
        self.finish = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))

    def forward(self, blocks: list[Tensor]) -> Tensor:
        """Return (n, widths[-1], h, w) from the features of all decoder blocks, deepest first."""
        mixed = self.narrow[-1](blocks[-1])
        for narrow, features in zip(self.narrow[:-1], blocks[:-1], strict=True):
            mixed = mixed + resize(narrow(features), blocks[-1].shape[-2:])
        return self.finish(mixed)


class EmptyHead(nn.Module):
    """Classify empty tiles from the deepest features: global average pooling, dropout and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n,) logits, that a tile has no salt, of (n, width, h, w) features."""
        return self.linear(self.dropout(features.mean(dim=(-2, -1)))).squeeze(1)

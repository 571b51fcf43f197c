"""Dropout that draws one random number for each feature it drops, not one for each feature that there is."""

from __future__ import annotations

import math
from typing import Any

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
        dense = features if _is_dense(features) else features.contiguous()
        return _Drop.apply(dense, _dropped(dense.numel(), self.p), 1 / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Drop(torch.autograd.Function):
    """Zero at the `dropped` positions in memory, the rest times `scale`: features on the way up, gradients down.

    Two passes over memory, where a product with a mask of ones and zeros takes seven.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, dropped: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(dropped)
        ctx.scale, ctx.strides = scale, features.stride()
        return _without(features, dropped, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (dropped,) = ctx.saved_tensors
        if gradient.stride() != ctx.strides:
            gradient = torch.empty_strided(gradient.shape, ctx.strides, dtype=gradient.dtype).copy_(gradient)
        return _without(gradient, dropped, ctx.scale), None, None


def _without(features: Tensor, dropped: Tensor, scale: float) -> Tensor:
    scaled = features * scale
    scaled.as_strided((scaled.numel(),), (1,)).index_fill_(0, dropped, 0)
    return scaled


def _dropped(count: int, p: float) -> Tensor:
    """Positions in 0..count-1, each drawn with probability `p` independently of the others; ascending int64."""
    # Six standard deviations more than are expected: a second draw is needed about once in a billion.
    positions = _gaps(int(count * p + 6 * (count * p) ** 0.5) + 16, p).cumsum(0) - 1
    while positions[-1] < count:
        positions = torch.cat([positions, _gaps(len(positions), p).cumsum(0) + positions[-1]])
    return positions[: int(torch.searchsorted(positions, count))]


def _gaps(count: int, p: float) -> Tensor:
    """Geometric numbers from 1 on, by the inverse of their distribution; torch's own draws one after the other."""
    uniform = torch.rand(count, dtype=torch.float64)
    return uniform.neg_().log1p_().mul_(1 / math.log1p(-p)).long() + 1


def _is_dense(features: Tensor) -> bool:
    return features.is_contiguous() or features.is_contiguous(memory_format=torch.channels_last)

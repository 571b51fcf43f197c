"""Dropout that draws one random number per dropped element instead of one per element."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero single elements with probability `p` and scale the others by 1 / (1 - p) (Srivastava et al. 2014).

    On a CPU, `nn.Dropout` draws a Bernoulli number per element in one thread, a quarter of a small network's training
    step. The distances between dropped elements have a geometric distribution. Drawing these distances gives the same
    distribution with a fraction `p` of the random numbers. On a GPU, where random numbers are cheap, `F.dropout` is
    used.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, features: Tensor) -> Tensor:
        """Return `features` with dropped elements in training mode, and `features` itself in eval mode."""
        if not self.training:
            return features
        if features.device.type != "cpu":
            return F.dropout(features, self.p, training=True)
        dense = features if _is_dense(features) else features.contiguous()
        return _DropoutFunction.apply(dense, _sample_positions(dense.numel(), self.p), 1 / (1 - self.p))

    def extra_repr(self) -> str:
        """Return the arguments to show in `repr`."""
        return f"p={self.p}"


class _DropoutFunction(torch.autograd.Function):
    """Zero the `dropped` positions in memory order and multiply the others by `scale`, in features and gradients.

    This takes two passes over memory; multiplying by a mask takes seven.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, dropped: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(dropped)
        ctx.scale, ctx.strides = scale, features.stride()
        return _scale_and_drop(features, dropped, scale)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (dropped,) = ctx.saved_tensors
        if grad_output.stride() != ctx.strides:  # positions count in the memory order of the features
            grad_output = torch.empty_strided(grad_output.shape, ctx.strides, dtype=grad_output.dtype).copy_(
                grad_output
            )
        return _scale_and_drop(grad_output, dropped, ctx.scale), None, None


def _scale_and_drop(features: Tensor, dropped: Tensor, scale: float) -> Tensor:
    scaled = features * scale
    scaled.as_strided((scaled.numel(),), (1,)).index_fill_(0, dropped, 0)
    return scaled


def _sample_positions(count: int, p: float) -> Tensor:
    """Return ascending int64 positions in 0..count-1, each included with probability `p` independently."""
    # Six standard deviations more than expected: about one call in a billion needs a second draw.
    positions = _sample_distances(int(count * p + 6 * (count * p) ** 0.5) + 16, p).cumsum(0) - 1
    while positions[-1] < count:
        positions = torch.cat([positions, _sample_distances(len(positions), p).cumsum(0) + positions[-1]])
    return positions[: int(torch.searchsorted(positions, count))]


def _sample_distances(count: int, p: float) -> Tensor:
    """Return (count,) int64 geometric numbers from 1 on, by inverse transform sampling.

    `Tensor.geometric_` draws them one after the other, which is slower.
    """
    uniform = torch.rand(count, dtype=torch.float64)
    return uniform.neg_().log1p_().mul_(1 / math.log1p(-p)).long() + 1


def _is_dense(features: Tensor) -> bool:
    return features.is_contiguous() or features.is_contiguous(memory_format=torch.channels_last)

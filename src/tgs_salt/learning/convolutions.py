"""Convolutions that a CPU learns in less time than as they are written: the same sums, but for rounding.

What they are worth: `python -m benchmarks.convolutions`. On a GPU networks stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import grad

QUICK_COLUMNS = 3  # of a depthwise kernel, whose gradient oneDNN has fast code for


def enlarged_convolution(below: Tensor, skip: Tensor | None, conv: nn.Conv2d) -> Tensor:
    """`conv`, 3 x 3 with a padding of 1, of `below` enlarged to twice its size and joined to `skip`.

    below: (n, c, h, w), enlarged by nearest neighbours; skip: (n, d, 2h, 2w) or None; conv takes c + d channels. Of
    three rows that a kernel sees in an enlarged picture two are the same, so a transposed convolution of the small one,
    whose kernel has those weights added, does four ninths of the work. And nothing is enlarged or joined in memory.
    """
    width = below.shape[1]
    weights = F.pad(conv.weight[:, :width], (1, 1, 1, 1))
    weights = weights[..., 1:, :] + weights[..., :-1, :]
    weights = weights[..., 1:] + weights[..., :-1]
    kernel = weights.flip(-1, -2).transpose(0, 1)
    sums = F.conv_transpose2d(below, kernel, conv.bias, stride=2, padding=1)
    return sums if skip is None else sums + F.conv2d(skip, conv.weight[:, width:], padding=1)


def spread_depthwise(network: nn.Module) -> None:
    """Put a `WideDepthwise` in the place of each layer of `network` that it can stand for; weights keep their names."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and _is_wide_depthwise(layer):
                setattr(parent, name, WideDepthwise(layer))


def _is_wide_depthwise(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    wide = conv.kernel_size[1] > QUICK_COLUMNS and conv.dilation == (1, 1)
    return depthwise and wide and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


class WideDepthwise(nn.Module):
    """A depthwise convolution whose weights' gradient is found a few columns of the kernel at a time.

    oneDNN has fast code for that gradient of kernels up to three columns wide, and slow code for all others.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride = conv.stride
        # timm's layers may pad as TensorFlow does, by what the picture's size leaves over.
        self.same = isinstance(conv, Conv2dSame)
        assert not isinstance(conv.padding, str)  # see _is_wide_depthwise
        self.padding = conv.padding

    def forward(self, features: Tensor) -> Tensor:
        if self.same:
            features = pad_same(features, list(self.weight.shape[-2:]), list(self.stride))
        found = _Spread.apply(features, self.weight, self.stride, self.padding)
        return found if self.bias is None else found + self.bias.view(-1, 1, 1)


class _Spread(torch.autograd.Function):
    """A depthwise convolution of (n, c, h, w) with (c, 1, k, l) weights."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weights: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(features, weights)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(features, weights, stride=stride, padding=padding, groups=len(weights))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, weights = ctx.saved_tensors
        how = {"stride": ctx.stride, "groups": len(weights)}
        down, right = ctx.padding
        reach = (gradient.shape[-1] - 1) * ctx.stride[1]  # from the first place of a column to its last
        parts = []
        for column in range(0, weights.shape[-1], QUICK_COLUMNS):
            size = weights[..., column : column + QUICK_COLUMNS].shape
            first = column - right  # what these columns see, in features' coordinates; padded or cut to it
            after = first + reach + size[-1] - features.shape[-1]
            seen = F.pad(features, (-first, after, down, down))
            parts.append(grad.conv2d_weight(seen, size, gradient, **how))
        found = grad.conv2d_input(features.shape, weights, gradient, padding=ctx.padding, **how)
        return found, torch.cat(parts, dim=-1), None, None

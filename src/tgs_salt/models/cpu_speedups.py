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
    if skip is None or skip.shape[1] == 0:  # encoders without a stage at half size hand over a skip of no channels
        return sums
    return sums + F.conv2d(skip, conv.weight[:, width:], padding=1)


def replace_depthwise(network: nn.Module) -> None:
    """Replace each layer of `network` that `WideDepthwise` equals by one; parameters keep their names."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and _is_wide_depthwise(layer):
                setattr(parent, name, WideDepthwise(layer))


def computes_plainly(layer: nn.Module, *types: type[nn.Module]) -> bool:
    """Return whether `layer` computes just what one of `types` does.

    A subclass may pad or normalize its weights in its own forward (SMP's same padding, timm's weight standardization),
    and hooks and parametrizations may change inputs, weights and outputs.
    """
    hooks = layer._forward_pre_hooks or layer._forward_hooks or layer._backward_pre_hooks or layer._backward_hooks
    return type(layer) in types and not hooks


def is_plain_3x3(layer: nn.Module) -> bool:
    """Return whether `layer` is a 3 x 3 convolution with stride 1 and a zero padding of 1."""
    if not isinstance(layer, nn.Conv2d) or not computes_plainly(layer, nn.Conv2d):
        return False
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def _is_wide_depthwise(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    wide = conv.kernel_size[1] > QUICK_COLUMNS and conv.dilation == (1, 1)
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return depthwise and wide and zeros and computes_plainly(conv, nn.Conv2d, Conv2dSame)


class WideDepthwise(nn.Conv2d):
    """A depthwise convolution whose weight gradient is computed a few kernel columns at a time.

    oneDNN has fast code for the weight gradient of kernels up to three columns wide, and slow code for wider ones.
    The layer keeps the parameters and the attributes of the `nn.Conv2d` or timm `Conv2dSame` that it replaces.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        assert not isinstance(conv.padding, str)  # see _is_wide_depthwise
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,  # type: ignore[arg-type]
            groups=conv.groups, bias=conv.bias is not None, device="meta",
        )  # fmt: skip
        self.weight, self.bias = conv.weight, conv.bias
        # timm's layer pads like TensorFlow, by what the image size leaves over.
        self.same = isinstance(conv, Conv2dSame)
        self.training = conv.training

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
            first = column - right
            seen = F.pad(_columns(features, first, first + reach + size[-1]), (0, 0, down, down))
            parts.append(grad.conv2d_weight(seen, size, gradient, **how))
        found = grad.conv2d_input(features.shape, weights, gradient, padding=ctx.padding, **how)
        return found, torch.cat(parts, dim=-1), None, None


def _columns(features: Tensor, first: int, stop: int) -> Tensor:
    """Return the columns from `first` to before `stop`; those outside of `features` are zero."""
    width = features.shape[-1]
    start, end = min(max(first, 0), width), min(max(stop, 0), width)
    before, after = (min(max(outside, 0), stop - first) for outside in (-first, stop - width))
    return F.pad(features[..., start:end], (before, after))

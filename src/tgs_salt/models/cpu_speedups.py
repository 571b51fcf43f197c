"""Convolutions that train faster on a CPU. Their results equal those of the plain layers up to rounding.

`python -m benchmarks.convolutions` measures the speedup. Networks on a GPU do not use them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import grad

FAST_KERNEL_WIDTH = 3  # widest depthwise kernel, in columns, whose weight gradient is fast in oneDNN


def upsample_concat_conv(features: Tensor, skip: Tensor | None, conv: nn.Conv2d) -> Tensor:
    """Return `conv` of `features` upsampled to twice the size (nearest neighbor) and concatenated with `skip`.

    Two of the three rows under a 3 x 3 kernel are equal in an upsampled image. A transposed convolution of the small
    image, whose kernel has the weights of equal pixels added, therefore needs 4/9 of the multiplications. The
    upsampled and the concatenated tensors are never stored.

    Args:
        features: (n, c, h, w).
        skip: (n, d, 2h, 2w) or None.
        conv: a 3 x 3 convolution of c + d channels with a padding of 1.

    Returns:
        (n, out_channels, 2h, 2w).
    """
    channels = features.shape[1]
    weights = F.pad(conv.weight[:, :channels], (1, 1, 1, 1))
    weights = weights[..., 1:, :] + weights[..., :-1, :]
    weights = weights[..., 1:] + weights[..., :-1]
    kernel = weights.flip(-1, -2).transpose(0, 1)
    output = F.conv_transpose2d(features, kernel, conv.bias, stride=2, padding=1)
    if skip is None or skip.shape[1] == 0:  # encoders without a stage at half size return a skip of 0 channels
        return output
    return output + F.conv2d(skip, conv.weight[:, channels:], padding=1)


def replace_wide_depthwise(network: nn.Module) -> None:
    """Replace each wide depthwise convolution in `network` by a `WideDepthwise`; parameter names do not change."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and _is_wide_depthwise(layer):
                setattr(parent, name, WideDepthwise(layer))


def has_plain_forward(layer: nn.Module, *types: type[nn.Module]) -> bool:
    """Return whether `layer` computes exactly what one of `types` does.

    A subclass may pad or normalize its weights in its own forward (SMP's same padding, timm's weight standardization),
    and hooks and parametrizations may change inputs, weights and outputs.
    """
    hooks = layer._forward_pre_hooks or layer._forward_hooks or layer._backward_pre_hooks or layer._backward_hooks
    return type(layer) in types and not hooks


def is_plain_conv3x3(layer: nn.Module) -> bool:
    """Return whether `layer` is a plain 3 x 3 convolution with stride 1 and a zero padding of 1."""
    if not isinstance(layer, nn.Conv2d) or not has_plain_forward(layer, nn.Conv2d):
        return False
    options = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    return options == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def _is_wide_depthwise(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    wide = conv.kernel_size[1] > FAST_KERNEL_WIDTH and conv.dilation == (1, 1)
    zero_padding = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return depthwise and wide and zero_padding and has_plain_forward(conv, nn.Conv2d, Conv2dSame)


class WideDepthwise(nn.Conv2d):
    """A depthwise convolution whose weight gradient is computed for up to three kernel columns at a time.

    oneDNN computes the weight gradient of kernels up to three columns wide much faster than that of wider ones.
    The layer keeps the parameters and the attributes of the `nn.Conv2d` or timm `Conv2dSame` that it replaces.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        assert not isinstance(conv.padding, str)  # excluded by _is_wide_depthwise
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,  # type: ignore[arg-type]
            groups=conv.groups, bias=conv.bias is not None, device="meta",
        )  # fmt: skip
        self.weight, self.bias = conv.weight, conv.bias
        self.same_padding = isinstance(conv, Conv2dSame)  # TensorFlow's padding, which depends on the image size
        self.training = conv.training

    def forward(self, features: Tensor) -> Tensor:
        """Return the convolution of (n, c, h, w) features."""
        if self.same_padding:
            features = pad_same(features, list(self.weight.shape[-2:]), list(self.stride))
        output = _WideDepthwiseFunction.apply(features, self.weight, self.stride, self.padding)
        return output if self.bias is None else output + self.bias.view(-1, 1, 1)


class _WideDepthwiseFunction(torch.autograd.Function):
    """A depthwise convolution of (n, c, h, w) features with (c, 1, k, l) weights."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weights: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(features, weights)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(features, weights, stride=stride, padding=padding, groups=len(weights))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, weights = ctx.saved_tensors
        options = {"stride": ctx.stride, "groups": len(weights)}
        pad_rows, pad_columns = ctx.padding
        span = (grad_output.shape[-1] - 1) * ctx.stride[1]  # between the first and the last input of a kernel column
        weight_grads = []
        for column in range(0, weights.shape[-1], FAST_KERNEL_WIDTH):
            size = weights[..., column : column + FAST_KERNEL_WIDTH].shape
            start = column - pad_columns
            inputs = F.pad(_slice_columns(features, start, start + span + size[-1]), (0, 0, pad_rows, pad_rows))
            weight_grads.append(grad.conv2d_weight(inputs, size, grad_output, **options))
        input_grad = grad.conv2d_input(features.shape, weights, grad_output, padding=ctx.padding, **options)
        return input_grad, torch.cat(weight_grads, dim=-1), None, None


def _slice_columns(features: Tensor, start: int, stop: int) -> Tensor:
    """Return `features[..., start:stop]`, with zeros for columns outside of `features`."""
    width = features.shape[-1]
    first, last = min(max(start, 0), width), min(max(stop, 0), width)
    pad_left, pad_right = (min(max(outside, 0), stop - start) for outside in (-start, stop - width))
    return F.pad(features[..., first:last], (pad_left, pad_right))

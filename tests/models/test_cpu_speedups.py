"""Convolutions in other ways against torch's own of the same layer, values and gradients, in double precision."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tgs_salt.models.cpu_speedups import WideDepthwise, enlarged_convolution, replace_depthwise
from tgs_salt.models.tile_model import TileNetwork, build, use_cpu_kernels
from tgs_salt.models.unet import UNet
from tgs_salt.settings import Model
from tgs_salt.training.fit import Trainer
from tgs_salt.training.fold_data import FoldData

sizes = st.integers(1, 5)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def agree(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], learnt: list[Tensor]) -> None:
    """The same values and the same gradients of `learnt`, for a gradient from above that is no constant."""
    found, expected = ours(), theirs()
    torch.testing.assert_close(found, expected)
    above = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, learnt, above), torch.autograd.grad(expected, learnt, above), strict=True
    ):
        torch.testing.assert_close(one, other)


@settings(max_examples=60, deadline=None)
@given(below=sizes, beside=st.integers(0, 4), out=sizes, height=sizes, width=sizes, bias=st.booleans())
def test_a_convolution_of_an_enlarged_and_joined_picture(
    below: int, beside: int, out: int, height: int, width: int, bias: bool
) -> None:
    features = torch.randn(2, below, height, width, requires_grad=True)
    skip = torch.randn(2, beside, 2 * height, 2 * width, requires_grad=True) if beside else None
    conv = nn.Conv2d(below + beside, out, 3, padding=1, bias=bias)

    def theirs() -> Tensor:
        large = F.interpolate(features, scale_factor=2, mode="nearest")
        return conv(large if skip is None else torch.cat([large, skip], dim=1))

    learnt = [features, *([] if skip is None else [skip]), *conv.parameters()]
    agree(lambda: enlarged_convolution(features, skip, conv), theirs, learnt)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(2, 5), high=st.integers(1, 7), wide=st.integers(4, 8), stride=st.integers(1, 3),
    padding=st.integers(0, 3), size=st.integers(8, 12), same=st.booleans(), bias=st.booleans(), last=st.booleans(),
)  # fmt: skip
def test_a_wide_depthwise_convolution(
    channels: int, high: int, wide: int, stride: int, padding: int, size: int, same: bool, bias: bool, last: bool
) -> None:
    kind = Conv2dSame if same else nn.Conv2d
    conv = kind(channels, channels, (high, wide), stride=stride, padding=padding, groups=channels, bias=bias)
    order = torch.channels_last if last else torch.contiguous_format
    features = torch.randn(3, channels, size, size + 1).contiguous(memory_format=order).requires_grad_()
    ours = WideDepthwise(conv)
    agree(lambda: ours(features), lambda: conv(features), [features, *conv.parameters()])


def test_layers_that_are_not_wide_and_depthwise_stay() -> None:
    stay = [
        nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 8, 5, groups=4), nn.Conv2d(4, 4, 5, groups=2),
        nn.Conv2d(4, 4, 5, groups=4, dilation=2), nn.Conv2d(4, 4, 5, groups=4, padding="same"),
        nn.Conv2d(4, 4, 5, groups=4, padding=2, padding_mode="reflect"), nn.Conv2d(4, 4, (5, 3), groups=4),
        nn.Conv2d(1, 1, 5),
    ]  # fmt: skip
    network = nn.Sequential(*stay, nn.Sequential(nn.Conv2d(4, 4, 5, groups=4)))
    names = list(network.state_dict())
    replace_depthwise(network)
    assert list(network[:-1]) == stay
    assert isinstance(network[-1][0], WideDepthwise)
    assert list(network.state_dict()) == names


# Depthwise kernels of 5 columns, padded as TensorFlow does and as torch does, and none.
@pytest.mark.parametrize(
    ("encoder", "changes", "spread"),
    [
        ("tu-tf_efficientnet_lite0", {"hypercolumn": True, "deep_supervision": True, "empty_head": True}, 9),
        ("tu-mobilenetv3_small_050", {"decoder_attention": "scse", "decoder_channels": [16] * 4, "input_size": 48}, 5),
        ("resnet18", {"depth_channels": True, "input_size": 32}, 0),
    ],
)
def test_a_hastened_network_learns_the_same(encoder: str, changes: dict[str, object], spread: int) -> None:
    chosen = Model(encoder=encoder, encoder_weights="none", **{"decoder_channels": [16] * 5, **changes})
    networks: list[TileNetwork] = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(build(chosen, 32).double().train())
    plain, uses_cpu_kernels = networks
    use_cpu_kernels(uses_cpu_kernels)
    assert sum(isinstance(layer, WideDepthwise) for layer in uses_cpu_kernels.modules()) == spread
    assert list(uses_cpu_kernels.state_dict()) == list(plain.state_dict())
    pixels, depth = torch.rand(3, 1, 32, 32), torch.linspace(50, 959, 3)
    gradients = []
    for network in networks:
        torch.manual_seed(1)  # of dropout
        said = network(pixels, depth)
        parts = [said.logits, *said.levels, *([] if said.empty is None else [said.empty])]
        torch.stack([part.square().mean() for part in parts]).sum().backward()
        gradients.append([weights.grad for weights in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(uses_cpu_kernels.state_dict(), plain.state_dict())  # batch-norm statistics
    torch.testing.assert_close(uses_cpu_kernels.eval()(pixels, depth), plain.eval()(pixels, depth))


def test_a_training_on_a_cpu_is_hastened() -> None:
    torch.set_default_dtype(torch.float32)
    tiles, depths = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(3)
    data = FoldData(tiles, tiles, depths, tiles, depths, tiles.numpy(), "folds", "data")
    chosen = Model(encoder="tu-mobilenetv3_small_050", encoder_weights="none", decoder_channels=[16] * 5)
    network = Trainer("m", 0, chosen, data, torch.device("cpu"), None).network
    assert isinstance(network.inner, UNet)
    assert network.inner.uses_cpu_kernels
    assert any(isinstance(layer, WideDepthwise) for layer in network.modules())

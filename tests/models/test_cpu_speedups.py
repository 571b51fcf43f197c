"""Compare outputs and gradients of the CPU kernels with those of the plain layers, in double precision."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tgs_salt.models.cpu_speedups import WideDepthwise, replace_wide_depthwise, upsample_concat_conv
from tgs_salt.models.tile_model import TileModel, build_model, use_cpu_kernels
from tgs_salt.models.unet import UNet
from tgs_salt.settings import Model
from tgs_salt.training.fit import Trainer
from tgs_salt.training.fold_data import FoldData

sizes = st.integers(1, 5)


@pytest.fixture(autouse=True)
def use_double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_equal_with_gradients(
    actual: Callable[[], Tensor], expected: Callable[[], Tensor], inputs: list[Tensor]
) -> None:
    """Assert equal outputs, and equal gradients of `inputs` for a random gradient of the output."""
    output, expected_output = actual(), expected()
    torch.testing.assert_close(output, expected_output)
    grad_output = torch.randn_like(output)
    gradients = torch.autograd.grad(output, inputs, grad_output)
    expected_gradients = torch.autograd.grad(expected_output, inputs, grad_output)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


@settings(max_examples=60, deadline=None)
@given(channels=sizes, skip_channels=st.integers(0, 4), out=sizes, height=sizes, width=sizes, bias=st.booleans())
def test_upsample_concat_conv_equals_the_three_steps(
    channels: int, skip_channels: int, out: int, height: int, width: int, bias: bool
) -> None:
    features = torch.randn(2, channels, height, width, requires_grad=True)
    skip = torch.randn(2, skip_channels, 2 * height, 2 * width, requires_grad=True) if skip_channels else None
    conv = nn.Conv2d(channels + skip_channels, out, 3, padding=1, bias=bias)

    def plain() -> Tensor:
        upsampled = F.interpolate(features, scale_factor=2, mode="nearest")
        return conv(upsampled if skip is None else torch.cat([upsampled, skip], dim=1))

    inputs = [features, *([] if skip is None else [skip]), *conv.parameters()]
    assert_equal_with_gradients(lambda: upsample_concat_conv(features, skip, conv), plain, inputs)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(2, 5), height=st.integers(1, 7), width=st.integers(4, 8), stride=st.integers(1, 3),
    padding=st.integers(0, 3), size=st.integers(8, 12), same=st.booleans(), bias=st.booleans(),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)  # fmt: skip
def test_wide_depthwise_equals_the_plain_layer(
    channels: int, height: int, width: int, stride: int, padding: int, size: int, same: bool, bias: bool,
    memory_format: torch.memory_format,
) -> None:  # fmt: skip
    layer_type = Conv2dSame if same else nn.Conv2d
    conv = layer_type(channels, channels, (height, width), stride=stride, padding=padding, groups=channels, bias=bias)
    features = torch.randn(3, channels, size, size + 1).contiguous(memory_format=memory_format).requires_grad_()
    wide = WideDepthwise(conv)
    assert_equal_with_gradients(lambda: wide(features), lambda: conv(features), [features, *conv.parameters()])


def test_other_layers_are_not_replaced() -> None:
    others = [
        nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 8, 5, groups=4), nn.Conv2d(4, 4, 5, groups=2),
        nn.Conv2d(4, 4, 5, groups=4, dilation=2), nn.Conv2d(4, 4, 5, groups=4, padding="same"),
        nn.Conv2d(4, 4, 5, groups=4, padding=2, padding_mode="reflect"), nn.Conv2d(4, 4, (5, 3), groups=4),
        nn.Conv2d(1, 1, 5),
    ]  # fmt: skip
    network = nn.Sequential(*others, nn.Sequential(nn.Conv2d(4, 4, 5, groups=4)))
    names = list(network.state_dict())
    replace_wide_depthwise(network)
    assert list(network[:-1]) == others
    assert isinstance(network[-1][0], WideDepthwise)
    assert list(network.state_dict()) == names


# Depthwise kernels of 5 columns with TensorFlow's and with torch's padding, and no such kernel.
@pytest.mark.parametrize(
    ("encoder", "options", "wide_layers"),
    [
        ("tu-tf_efficientnet_lite0", {"hypercolumn": True, "deep_supervision": True, "empty_head": True}, 9),
        ("tu-mobilenetv3_small_050", {"decoder_attention": "scse", "decoder_channels": [16] * 4, "input_size": 48}, 5),
        ("resnet18", {"depth_channels": True, "input_size": 32}, 0),
    ],
)
def test_cpu_kernels_do_not_change_training(encoder: str, options: dict[str, object], wide_layers: int) -> None:
    model = Model(encoder=encoder, encoder_weights="none", **{"decoder_channels": [16] * 5, **options})
    networks: list[TileModel] = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(build_model(model, 32).double().train())
    plain, fast = networks
    use_cpu_kernels(fast)
    assert sum(isinstance(layer, WideDepthwise) for layer in fast.modules()) == wide_layers
    assert list(fast.state_dict()) == list(plain.state_dict())
    pixels, depth = torch.rand(3, 1, 32, 32), torch.linspace(50, 959, 3)
    gradients = []
    for network in networks:
        torch.manual_seed(1)  # dropout
        outputs = network(pixels, depth)
        logits = [outputs.logits, *outputs.deep_logits]
        logits += [] if outputs.empty_logit is None else [outputs.empty_logit]
        torch.stack([tensor.square().mean() for tensor in logits]).sum().backward()
        gradients.append([weights.grad for weights in network.parameters()])
    for plain_gradient, fast_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(fast_gradient, plain_gradient)
    torch.testing.assert_close(fast.state_dict(), plain.state_dict())  # batch-norm statistics
    torch.testing.assert_close(fast.eval()(pixels, depth), plain.eval()(pixels, depth))


def test_training_on_a_cpu_uses_cpu_kernels() -> None:
    torch.set_default_dtype(torch.float32)
    tiles, depths = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(3)
    data = FoldData(tiles, tiles, depths, tiles, depths, tiles.numpy(), "folds", "data")
    model = Model(encoder="tu-mobilenetv3_small_050", encoder_weights="none", decoder_channels=[16] * 5)
    network = Trainer("m", 0, model, data, torch.device("cpu"), None).network
    assert isinstance(network.inner, UNet)
    assert network.inner.uses_cpu_kernels
    assert any(isinstance(layer, WideDepthwise) for layer in network.modules())

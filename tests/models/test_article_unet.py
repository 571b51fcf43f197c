"""Compare the article's networks with its parameter counts and with a forward pass in plain functions."""

import pytest
import torch
import torch.nn.functional as F

from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.dropout import Dropout
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Model


@pytest.mark.parametrize(
    ("name", "trainable", "buffers"), [("article", 1_177_649, 1_472), ("article-described", 2_161_361, 2_944)]
)
def test_parameter_counts_equal_the_articles(name: str, trainable: int, buffers: int) -> None:
    network = build_model(Model(architecture=name), 101)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trainable
    assert sum(b.numel() for b in network.buffers() if b.ndim) == buffers  # running means and variances


def test_layers_have_the_order_of_the_article() -> None:
    shapes = [tuple(p.shape) for p in ArticleUNet(1).parameters() if p.ndim == 4]
    assert shapes == [
        (16, 1, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3),
        (256, 128, 3, 3), (128, 256, 3, 3), (128, 64, 3, 3), (64, 128, 3, 3),
        (64, 32, 3, 3), (32, 64, 3, 3), (32, 16, 3, 3), (16, 32, 3, 3), (1, 16, 1, 1),
    ]  # fmt: skip


def test_weights_are_initialized_like_keras() -> None:
    torch.manual_seed(0)
    network = ArticleUNet(1)
    convolution = network.down[4][0]
    assert convolution.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)  # he_normal
    transposed = network.up[0].up
    limit = (6 / (256 * 9 + 128 * 9)) ** 0.5  # glorot_uniform
    assert 0.98 * limit < transposed.weight.abs().max().item() <= limit
    assert not convolution.bias.any() and not transposed.bias.any()
    norm = network.down[0][1]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    assert {layer.p for layer in network.modules() if isinstance(layer, Dropout)} == {0.05}


def test_dropout_follows_each_pooling_and_each_concatenation() -> None:
    network = ArticleUNet(1).train()
    shapes = []
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape[1:])))
    network(torch.rand(1, 1, 128, 128))
    assert shapes == [
        (16, 64, 64), (32, 32, 32), (64, 16, 16), (128, 8, 8),
        (256, 16, 16), (128, 32, 32), (64, 64, 64), (32, 128, 128),
    ]  # fmt: skip


@pytest.mark.parametrize("convolutions", [1, 2])
def test_forward_pass_equals_plain_functions(convolutions: int) -> None:
    torch.manual_seed(1)
    network = ArticleUNet(convolutions).eval()
    for buffer in network.buffers():
        if buffer.ndim:
            buffer.uniform_(0.5, 1.5)
    w = network.state_dict()
    pixels = torch.rand(2, 1, 32, 32)

    def block(x: torch.Tensor, name: str) -> torch.Tensor:
        for c in range(convolutions):
            conv, norm = f"{name}.{3 * c}", f"{name}.{3 * c + 1}"
            x = F.conv2d(x, w[f"{conv}.weight"], w[f"{conv}.bias"], padding=1)
            mean, var = w[f"{norm}.running_mean"].view(-1, 1, 1), w[f"{norm}.running_var"].view(-1, 1, 1)
            scale, shift = w[f"{norm}.weight"].view(-1, 1, 1), w[f"{norm}.bias"].view(-1, 1, 1)
            x = ((x - mean) / (var + 1e-3).sqrt() * scale + shift).clamp(min=0)
        return x

    features = [block(pixels, "down.0")]
    for index in range(1, 5):
        features.append(block(F.max_pool2d(features[-1], 2), f"down.{index}"))
    x = features.pop()
    for index, skip in enumerate(reversed(features)):
        n = skip.shape[-1]
        up = F.conv_transpose2d(x, w[f"up.{index}.up.weight"], w[f"up.{index}.up.bias"], stride=2)[..., :n, :n]
        x = block(torch.cat([up, skip], 1), f"up.{index}.block")
    expected = F.conv2d(x, w["head.weight"], w["head.bias"])
    torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-4)

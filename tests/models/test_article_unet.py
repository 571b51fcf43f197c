"""The article's networks against its figures and a forward pass written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.dropout import Dropout
from tgs_salt.models.tile_model import build
from tgs_salt.settings import Model


@pytest.mark.parametrize(
    ("name", "trainable", "buffers"), [("article", 1_177_649, 1_472), ("article-described", 2_161_361, 2_944)]
)
def test_parameter_counts_are_the_article_s(name: str, trainable: int, buffers: int) -> None:
    network = build(Model(architecture=name), 101)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trainable
    assert sum(b.numel() for b in network.buffers() if b.ndim) == buffers  # running means and variances


def test_layers_stand_in_the_article_s_order() -> None:
    shapes = [tuple(p.shape) for p in ArticleUNet(1).parameters() if p.ndim == 4]
    assert shapes == [
        (16, 1, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3),
        (256, 128, 3, 3), (128, 256, 3, 3), (128, 64, 3, 3), (64, 128, 3, 3),
        (64, 32, 3, 3), (32, 64, 3, 3), (32, 16, 3, 3), (16, 32, 3, 3), (1, 16, 1, 1),
    ]  # fmt: skip


def test_initialisation_is_keras_own() -> None:
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


def test_dropout_stands_after_every_pool_and_every_join() -> None:
    network = ArticleUNet(1).train()
    seen = []
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[1:])))
    network(torch.rand(1, 1, 128, 128))
    assert seen == [
        (16, 64, 64), (32, 32, 32), (64, 16, 16), (128, 8, 8),
        (256, 16, 16), (128, 32, 32), (64, 64, 64), (32, 128, 128),
    ]  # fmt: skip


@pytest.mark.parametrize("convolutions", [1, 2])
def test_forward_equals_the_network_written_out(convolutions: int) -> None:
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

    c = [block(pixels, "down.0")]
    for level in range(1, 5):
        c.append(block(F.max_pool2d(c[-1], 2), f"down.{level}"))
    x = c[4]
    for step, skip in enumerate((c[3], c[2], c[1], c[0])):
        n = skip.shape[-1]
        up = F.conv_transpose2d(x, w[f"up.{step}.up.weight"], w[f"up.{step}.up.bias"], stride=2)[..., :n, :n]
        x = block(torch.cat([up, skip], 1), f"up.{step}.block")
    expected = F.conv2d(x, w["head.weight"], w["head.bias"])
    torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-4)

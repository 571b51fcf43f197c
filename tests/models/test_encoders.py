"""Compare the training of encoders with and without CPU kernels, in double precision, and check docs/encoders.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from benchmarks.encoders import LOSS
from torch import Tensor, nn

from tgs_salt.errors import UserError
from tgs_salt.models.cpu_speedups import WideDepthwise, replace_wide_depthwise
from tgs_salt.models.tile_model import (
    TileModel,
    build_model,
    check_trainable,
    disable_inplace_activations,
    use_cpu_kernels,
)
from tgs_salt.settings import Model
from tgs_salt.training.losses import build_loss

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
ROW = re.compile(r"^\| ((?:SMP|timm) \S+) \| `(\S+)` \| [\d.]+ \| (.*) \|$", re.MULTILINE)
FAMILIES = {family: (encoder, result) for family, encoder, result in ROW.findall(PAGE.read_text())}

# One encoder for each regression of a CPU kernel: SMP's same padding, skips without channels, features narrower than
# the kernel.
REGRESSIONS = ["efficientnet-b0", "mit_b0", "tu-convnext_atto", "tu-edgenext_xx_small"]
RANDOM_LAYERS = re.compile("Dropout|DropPath|StochasticDepth")


def unet(encoder: str, size: int, *, cpu_kernels: bool) -> TileModel:
    """Return a small U-Net in double precision without dropout, with the same random weights on each call."""
    torch.manual_seed(0)
    network = build_model(Model(encoder=encoder, encoder_weights="none", decoder_channels=[16] * 5), size).double()
    for layer in network.modules():
        if RANDOM_LAYERS.search(type(layer).__name__):
            for rate in {"p", "drop_prob"} & set(vars(layer)):
                setattr(layer, rate, 0.0)
    if cpu_kernels:
        disable_inplace_activations(network)
        use_cpu_kernels(network)
    return network.train()


def compute_gradients(network: TileModel, size: int) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 1, size, size, dtype=torch.float64, generator=generator)
    targets = (torch.rand(2, 1, size, size, dtype=torch.float64, generator=generator) > 0.5).double()
    build_loss(LOSS)(network(pixels, torch.zeros(2)), targets).backward()
    return {name: weights.grad for name, weights in network.named_parameters()}


def assert_same_training(encoder: str, size: int) -> None:
    plain = compute_gradients(unet(encoder, size, cpu_kernels=False), size)
    fast = compute_gradients(unet(encoder, size, cpu_kernels=True), size)
    assert plain.keys() == fast.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values() if gradient is not None)
    for name, gradient in plain.items():
        if gradient is None:
            assert fast[name] is None, name
        else:
            torch.testing.assert_close(fast[name], gradient, rtol=1e-5, atol=1e-8 * largest, msg=name)


@pytest.mark.parametrize("encoder", REGRESSIONS)
def test_cpu_kernels_do_not_change_gradients(encoder: str) -> None:
    assert_same_training(encoder, 64)


def test_check_trainable_does_not_change_the_network() -> None:
    network = unet("tu-mobilenetv3_small_050", 64, cpu_kernels=True)
    network.inner.encoder.model.blocks.append(nn.Dropout(0.5))  # draws random numbers
    assert any(isinstance(layer, WideDepthwise) for layer in network.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rng_state = torch.get_rng_state()
    check_trainable(network, "tu-mobilenetv3_small_050", build_loss(LOSS))
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weights.grad is None for weights in network.parameters()) and network.training


@pytest.mark.parametrize("change", ["hook", "subclass", "parametrization"])
def test_modified_layers_are_not_replaced(change: str) -> None:
    class Halved(nn.Conv2d):
        def forward(self, features: Tensor) -> Tensor:
            return super().forward(features) / 2

    conv = (Halved if change == "subclass" else nn.Conv2d)(4, 4, 5, padding=2, groups=4)
    if change == "hook":
        conv.register_forward_hook(lambda _layer, _inputs, features: features / 2)
    if change == "parametrization":
        nn.utils.parametrizations.weight_norm(conv)
    network = nn.Sequential(conv)
    features = torch.rand(1, 4, 8, 8)
    expected = network(features)
    replace_wide_depthwise(network)
    torch.testing.assert_close(network(features), expected)
    assert not isinstance(network[0], WideDepthwise)


def test_docs_list_every_encoder_family() -> None:
    smp_families = {f"SMP {entry['encoder'].__name__}" for entry in smp.encoders.encoders.values()}
    timm_families = {f"timm {module}" for module in timm.list_modules() if timm.list_models(module=module)}
    assert set(FAMILIES) == smp_families | timm_families


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_smallest_encoder_of_each_family_trains_as_documented(family: str) -> None:
    encoder, result = FAMILIES[family]
    if result == "trains":
        assert_same_training(encoder, 101)
    else:
        with pytest.raises(UserError) as error:
            network = unet(encoder, 101, cpu_kernels=True)
            check_trainable(network, encoder, build_loss(LOSS))
        assert str(error.value) == f"models.*.encoder: {encoder} {result}"

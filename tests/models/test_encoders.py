"""Encoders of every family train with the CPU kernels as they do without, in double precision; see docs/encoders.md."""

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
from tgs_salt.models.cpu_speedups import WideDepthwise, replace_depthwise
from tgs_salt.models.tile_model import TileNetwork, build, disable_inplace_activations, try_step, use_cpu_kernels
from tgs_salt.settings import Model
from tgs_salt.training.losses import build_loss

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
ROW = re.compile(r"^\| ((?:SMP|timm) \S+) \| `(\S+)` \| [\d.]+ \| (.*) \|$", re.MULTILINE)
FAMILIES = {family: (encoder, found) for family, encoder, found in ROW.findall(PAGE.read_text())}

# One encoder for each way in which a replaced layer once failed: SMP's same padding, skips without channels, maps
# narrower than the kernel.
FRAGILE = ["efficientnet-b0", "mit_b0", "tu-convnext_atto", "tu-edgenext_xx_small"]
RANDOM_LAYERS = re.compile("Dropout|DropPath|StochasticDepth")


def unet(encoder: str, size: int, *, cpu_kernels: bool) -> TileNetwork:
    """A small U-Net in double precision without dropout, in the state that a seed gives."""
    torch.manual_seed(0)
    network = build(Model(encoder=encoder, encoder_weights="none", decoder_channels=[16] * 5), size).double()
    for layer in network.modules():
        if RANDOM_LAYERS.search(type(layer).__name__):
            for rate in {"p", "drop_prob"} & set(vars(layer)):
                setattr(layer, rate, 0.0)
    if cpu_kernels:
        disable_inplace_activations(network)
        use_cpu_kernels(network)
    return network.train()


def gradients(network: TileNetwork, size: int) -> dict[str, Tensor | None]:
    numbers = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 1, size, size, dtype=torch.float64, generator=numbers)
    targets = (torch.rand(2, 1, size, size, dtype=torch.float64, generator=numbers) > 0.5).double()
    build_loss(LOSS)(network(pixels, torch.zeros(2)), targets).backward()
    return {name: weights.grad for name, weights in network.named_parameters()}


def assert_same_training(encoder: str, size: int) -> None:
    plain = gradients(unet(encoder, size, cpu_kernels=False), size)
    fast = gradients(unet(encoder, size, cpu_kernels=True), size)
    assert plain.keys() == fast.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values() if gradient is not None)
    for name, gradient in plain.items():
        if gradient is None:
            assert fast[name] is None, name
        else:
            torch.testing.assert_close(fast[name], gradient, rtol=1e-5, atol=1e-8 * largest, msg=name)


@pytest.mark.parametrize("encoder", FRAGILE)
def test_layers_that_only_look_replaceable_stay(encoder: str) -> None:
    assert_same_training(encoder, 64)


def test_the_trial_step_changes_nothing() -> None:
    network = unet("tu-mobilenetv3_small_050", 64, cpu_kernels=True)
    network.inner.encoder.model.blocks.append(nn.Dropout(0.5))  # draws random numbers
    assert any(isinstance(layer, WideDepthwise) for layer in network.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    try_step(network, "tu-mobilenetv3_small_050", build_loss(LOSS))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weights.grad is None for weights in network.parameters()) and network.training


@pytest.mark.parametrize("change", ["hook", "subclass", "parametrization"])
def test_a_layer_that_computes_something_else_is_not_replaced(change: str) -> None:
    class Halved(nn.Conv2d):
        def forward(self, features: Tensor) -> Tensor:
            return super().forward(features) / 2

    conv = (Halved if change == "subclass" else nn.Conv2d)(4, 4, 5, padding=2, groups=4)
    if change == "hook":
        conv.register_forward_hook(lambda _layer, _given, features: features / 2)
    if change == "parametrization":
        nn.utils.parametrizations.weight_norm(conv)
    network = nn.Sequential(conv)
    features = torch.rand(1, 4, 8, 8)
    expected = network(features)
    replace_depthwise(network)
    torch.testing.assert_close(network(features), expected)
    assert not isinstance(network[0], WideDepthwise)


def test_the_page_has_every_family() -> None:
    smp_families = {f"SMP {entry['encoder'].__name__}" for entry in smp.encoders.encoders.values()}
    timm_families = {f"timm {module}" for module in timm.list_modules() if timm.list_models(module=module)}
    assert set(FAMILIES) == smp_families | timm_families


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_smallest_encoder_of_a_family_trains_as_the_page_says(family: str) -> None:
    encoder, found = FAMILIES[family]
    if found == "trains":
        assert_same_training(encoder, 101)
    else:
        with pytest.raises(UserError) as failed:
            network = unet(encoder, 101, cpu_kernels=True)
            try_step(network, encoder, build_loss(LOSS))
        assert str(failed.value) == f"models.*.encoder: {encoder} {found}"

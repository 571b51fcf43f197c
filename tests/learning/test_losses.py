"""Losses against definitions written out tile by tile."""

import math

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from tgs_salt.learning.losses import dice, loss_of, lovasz


def sample(seed: int, count: int = 5, side: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64) * 2
    targets = (torch.rand(count, 1, side, side, generator=generator) < 0.4).double()
    targets[0], targets[1] = 0, 1  # an empty tile and a full one
    return logits, targets


def brute_force_lovasz(logits: Tensor, targets: Tensor) -> float:
    """The Lovász extension by its definition: errors in falling order, weighted by the growth of the Jaccard loss."""
    total = 0.0
    for z, y in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        errors = [1 - a * (2 * b - 1) for a, b in zip(z, y, strict=True)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        salt, before, wrong = sum(y), 0.0, set()
        for i in order:
            wrong.add(i)
            # Pixels in `wrong` are mispredicted, all others are right.
            kept = sum(y[j] for j in range(len(y)) if j not in wrong)
            union = salt + sum(1 - y[j] for j in wrong)
            jaccard = 1 - kept / union
            hinge = errors[i] + 1 if errors[i] > 0 else math.exp(errors[i])
            total += hinge * (jaccard - before)
            before = jaccard
    return total / len(logits)


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_equals_its_definition(seed: int) -> None:
    logits, targets = sample(seed)
    assert lovasz(logits, targets).item() == pytest.approx(brute_force_lovasz(logits, targets), rel=1e-9)


def test_lovasz_order_is_that_of_a_library_with_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = (tensor.float() for tensor in sample(7))
    monkeypatch.setattr("tgs_salt.learning.losses.F.elu", lambda errors: torch.relu(errors) - 1)
    expected = smp.losses.LovaszLoss("binary", per_image=True)(logits, targets)
    assert lovasz(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_dice_equals_its_definition() -> None:
    logits, targets = sample(1)
    losses = []
    for z, y in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        p = [1 / (1 + math.exp(-a)) for a in z]
        losses.append(1 - (2 * sum(a * b for a, b in zip(p, y, strict=True)) + 1) / (sum(p) + sum(y) + 1))
    assert dice(logits, targets).item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize("name", ["bce", "dice", "lovasz"])
def test_a_perfect_prediction_loses_almost_nothing_and_gradients_are_finite(name: str) -> None:
    _, targets = sample(2)
    logits = ((targets * 2 - 1) * 30).requires_grad_()
    loss = loss_of(name)(logits, targets)
    loss.backward()
    assert loss.item() < 1e-6
    assert torch.isfinite(logits.grad).all()


def test_a_sum_weighs_its_terms() -> None:
    logits, targets = sample(3)
    bce = loss_of("bce")(logits, targets)
    assert loss_of("0.25*bce + lovasz")(logits, targets).item() == pytest.approx(
        0.25 * bce.item() + lovasz(logits.float(), targets.float()).item(), rel=1e-6
    )

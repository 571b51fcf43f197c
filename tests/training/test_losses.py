"""Losses equal their definitions, computed pixel by pixel, and other libraries."""

import math

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from tgs_salt.models.heads import Outputs
from tgs_salt.settings.loss import LOSSES
from tgs_salt.training.losses import LOSS_FUNCTIONS, build_loss, dice, focal, lovasz, symmetric_lovasz


def sample(seed: int, count: int = 5, side: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64) * 2
    targets = (torch.rand(count, 1, side, side, generator=generator) < 0.4).double()
    targets[0], targets[1] = 0, 1  # an empty tile and a full one
    return logits, targets


def brute_force_lovasz(logits: Tensor, targets: Tensor) -> float:
    """Compute the Lovász extension by definition: sorted errors, weighted by the increase of the Jaccard loss."""
    total = 0.0
    for z, y in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        errors = [1 - a * (2 * b - 1) for a, b in zip(z, y, strict=True)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        salt, previous, wrong = sum(y), 0.0, set()
        for i in order:
            wrong.add(i)
            # Pixels in `wrong` are mispredicted, all others are correct.
            intersection = sum(y[j] for j in range(len(y)) if j not in wrong)
            union = salt + sum(1 - y[j] for j in wrong)
            jaccard = 1 - intersection / union
            hinge = errors[i] + 1 if errors[i] > 0 else math.exp(errors[i])
            total += hinge * (jaccard - previous)
            previous = jaccard
    return total / len(logits)


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_equals_its_definition(seed: int) -> None:
    logits, targets = sample(seed)
    assert lovasz(logits, targets).item() == pytest.approx(brute_force_lovasz(logits, targets), rel=1e-9)


def test_lovasz_with_relu_equals_smp(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = (tensor.float() for tensor in sample(7))
    monkeypatch.setattr("tgs_salt.training.losses.F.elu", lambda errors: torch.relu(errors) - 1)
    expected = smp.losses.LovaszLoss("binary", per_image=True)(logits, targets)
    assert lovasz(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_symmetric_lovasz_is_the_mean_over_salt_and_background(seed: int) -> None:
    logits, targets = sample(seed)
    expected = (brute_force_lovasz(logits, targets) + brute_force_lovasz(-logits, 1 - targets)) / 2
    assert symmetric_lovasz(logits, targets).item() == pytest.approx(expected, rel=1e-9)


def test_focal_equals_smp_and_torchvision_and_is_minimal_at_a_soft_target() -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = (tensor.float() for tensor in sample(5))
    result = focal(logits, targets).item()
    assert result == pytest.approx(smp.losses.FocalLoss("binary")(logits, targets).item(), rel=1e-5)
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2, reduction="mean")
    assert result == pytest.approx(expected.item(), rel=1e-5)

    candidates = torch.linspace(0.01, 0.99, 99)
    losses = [focal(torch.logit(p).view(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.3)).item() for p in candidates]
    assert candidates[losses.index(min(losses))].item() == pytest.approx(0.3)


def test_dice_equals_its_definition() -> None:
    logits, targets = sample(1)
    losses = []
    for z, y in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        p = [1 / (1 + math.exp(-a)) for a in z]
        losses.append(1 - (2 * sum(a * b for a, b in zip(p, y, strict=True)) + 1) / (sum(p) + sum(y) + 1))
    assert dice(logits, targets).item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_near_zero_for_perfect_and_large_for_wrong_predictions(name: str) -> None:
    _, targets = sample(2)
    logits = (targets * 2 - 1) * 30
    assert build_loss(name)(logits, targets).item() < 1e-6
    assert build_loss(name)(-logits, targets).item() > 0.9


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_extreme_logits_give_finite_losses_and_gradients(name: str, scale: float) -> None:
    _, targets = sample(2)
    for sign in (1, -1):
        logits = ((targets * 2 - 1) * scale * sign).float().requires_grad_()
        loss = build_loss(name)(logits, targets)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    logits, targets = sample(6, count=3, side=4)
    assert torch.autograd.gradcheck(lambda z: LOSS_FUNCTIONS[name](z, targets), logits.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_batch_loss_is_the_mean_over_tiles(name: str) -> None:
    logits, targets = sample(8)
    losses = [LOSS_FUNCTIONS[name](z[None], y[None]).item() for z, y in zip(logits, targets, strict=True)]
    assert LOSS_FUNCTIONS[name](logits, targets).item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_computed_in_float32(name: str) -> None:
    logits, targets = sample(9, side=101)
    bf16 = logits.bfloat16()
    assert build_loss(name)(bf16, targets).item() == pytest.approx(build_loss(name)(bf16.float(), targets).item())


def test_sum_is_weighted_by_its_factors() -> None:
    logits, targets = sample(3)
    bce = build_loss("bce")(logits, targets)
    assert build_loss("0.25*bce + symmetric_lovasz")(logits, targets).item() == pytest.approx(
        0.25 * bce.item() + symmetric_lovasz(logits, targets).item(), rel=1e-6
    )


def test_deep_supervision_and_empty_head_are_added() -> None:
    logits, targets = sample(4)
    other = logits.flip(0)
    empty_logit = torch.tensor([2.0, -1, 0, 1, -3])
    loss_fn = build_loss("dice")
    result = loss_fn(Outputs(logits, (other, logits), empty_logit), targets)
    is_empty = [1.0, 0, 0, 0, 0]  # see `sample`
    cross_entropy = sum(
        -math.log(1 / (1 + math.exp(-z if y else z))) for z, y in zip(empty_logit.tolist(), is_empty, strict=True)
    )
    expected = 1.1 * dice(logits, targets) + 0.1 * dice(other, targets) + 0.05 * cross_entropy / 5
    assert result.item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss_fn(Outputs(logits), targets) == loss_fn(logits, targets)

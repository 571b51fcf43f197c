"""Losses of logits and targets in 0..1, both (n, 1, h, w); the loss of a model is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tgs_salt.models.heads import Outputs
from tgs_salt.settings import parse_loss

Loss = Callable[[Tensor, Tensor], Tensor]

# Weights of the auxiliary outputs, as in the competition's 9th place solution.
DEEP_SUPERVISION_WEIGHT, EMPTY_HEAD_WEIGHT = 0.1, 0.05


def dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """Return one minus the soft Dice coefficient of each tile, averaged (Milletari et al. 2016, V-Net).

    It is computed per tile, as the competition's score is. With `smooth`, an empty prediction of an empty tile has a
    loss of zero.
    """
    probabilities = torch.sigmoid(logits).flatten(1)
    targets = targets.flatten(1)
    intersection = (probabilities * targets).sum(1)
    return (1 - (2 * intersection + smooth) / (probabilities.sum(1) + targets.sum(1) + smooth)).mean()


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the focal loss with gamma 2 and without alpha, averaged over pixels (Lin et al. 2017).

    The factor is the squared distance to the target (Li et al. 2020, quality focal loss). For binary targets this is
    the focal loss; for soft ones the minimum is where the probability equals the target.
    """
    distance = targets - torch.sigmoid(logits)
    return (distance.square() * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).mean()


def lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the Lovász hinge of each tile, averaged (Berman et al. 2018, algorithm 1); all tiles share one sort.

    Errors pass through elu + 1 instead of relu, as in the best solutions of the competition: correct pixels beyond the
    margin keep a small gradient. Soft targets are binarized at 0.5.
    """
    errors, labels = _sorted_errors(logits, targets)
    return _lovasz_extension(errors, labels)


def symmetric_lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of the Lovász hinges of salt and of background (the competition's 9th place solution).

    Every pixel of an empty tile then has a gradient, not only the one with the largest error. The error of a pixel is
    the same for both classes, so one sort is enough.
    """
    errors, labels = _sorted_errors(logits, targets)
    return (_lovasz_extension(errors, labels) + _lovasz_extension(errors, 1 - labels)) / 2


def _sorted_errors(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hinge errors of each tile in descending order, after elu + 1, and their labels; both (n, h * w)."""
    logits = logits.flatten(1)
    labels = (targets.flatten(1) >= 0.5).to(logits.dtype)
    errors, order = torch.sort(1 - logits * (2 * labels - 1), dim=1, descending=True)
    return F.elu(errors) + 1, labels.gather(1, order)


def _lovasz_extension(errors: Tensor, labels: Tensor) -> Tensor:
    """Return the Lovász extension of the Jaccard loss, averaged over tiles, of sorted `errors` (n, h * w).

    The weight of an error is the increase of the Jaccard loss when its pixel becomes wrong as well.
    """
    missed = labels.cumsum(1)
    area = missed[:, -1:]
    jaccard = 1 - (area - missed) / (area + (1 - labels).cumsum(1))
    weights = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (errors * weights).sum(1).mean()


LOSS_FUNCTIONS: dict[str, Loss] = {
    "bce": F.binary_cross_entropy_with_logits,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "symmetric_lovasz": symmetric_lovasz,
}


def build_loss(text: str) -> Callable[[Outputs | Tensor, Tensor], Tensor]:
    """Return the loss function of a sum such as `0.2*bce + lovasz`; it takes logits or all outputs of a network.

    Deep supervision adds the same loss for each coarser output; the empty head adds its binary cross-entropy. A tile is
    empty if no target reaches 0.5 after augmentation.
    """
    terms = [(factor, LOSS_FUNCTIONS[name]) for name, factor in parse_loss(text).items()]

    def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
        # Sums over ten thousand pixels need float32, also under autocast.
        return torch.stack([factor * term(logits.float(), targets) for factor, term in terms]).sum()

    def total_loss(outputs: Outputs | Tensor, targets: Tensor) -> Tensor:
        targets = targets.float()
        if isinstance(outputs, Tensor):
            return mask_loss(outputs, targets)
        loss = mask_loss(outputs.logits, targets)
        for logits in outputs.deep_logits:
            loss = loss + DEEP_SUPERVISION_WEIGHT * mask_loss(logits, targets)
        if outputs.empty_logit is not None:
            empty = (targets.flatten(1).amax(1) < 0.5).float()
            loss = loss + EMPTY_HEAD_WEIGHT * F.binary_cross_entropy_with_logits(outputs.empty_logit.float(), empty)
        return loss

    return total_loss

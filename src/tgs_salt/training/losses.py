"""Losses on logits (n, 1, h, w) and targets in 0..1 of the same shape; a model's loss is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tgs_salt.models.heads import Outputs
from tgs_salt.settings import parse_loss

Loss = Callable[[Tensor, Tensor], Tensor]

# Weights of what a network says beside its pixels; the competition's 9th team had these.
LEVEL, EMPTY = 0.1, 0.05


def dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """One less the soft Dice coefficient of each tile, averaged (Milletari et al. 2016, V-Net).

    Tile by tile, as the competition scores; `smooth` lets an empty tile with an empty prediction lose nothing.
    """
    salt = torch.sigmoid(logits).flatten(1)
    targets = targets.flatten(1)
    overlap = (salt * targets).sum(1)
    return (1 - (2 * overlap + smooth) / (salt.sum(1) + targets.sum(1) + smooth)).mean()


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss with gamma 2 and no alpha, averaged over pixels (Lin et al. 2017).

    The factor is the squared distance to the target (Li et al. 2020, quality focal loss): for hard targets the same,
    for soft ones least where the probability is the target.
    """
    distance = targets - torch.sigmoid(logits)
    return (distance.square() * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).mean()


def lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """The Lovász hinge of each tile, averaged (Berman et al. 2018, algorithm 1), all tiles in one sort.

    Errors pass through elu + 1 in place of relu, as the competition's best teams had it: a pixel that is right by a
    margin still pulls a little. Soft targets count as salt from 0.5 on.
    """
    errors, salt = _sorted_errors(logits, targets)
    return _extension(errors, salt)


def symmetric_lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean of the Lovász hinge for salt and of the one for all that is not salt (the competition's 9th team).

    An empty tile says something about each of its pixels then, not about the worst alone. A pixel's error is the
    same for both, so that one sort serves.
    """
    errors, salt = _sorted_errors(logits, targets)
    return (_extension(errors, salt) + _extension(errors, 1 - salt)) / 2


def _sorted_errors(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Hinge errors of each tile in falling order, after elu + 1, and the labels (0 or 1) in that order; (n, h * w)."""
    logits = logits.flatten(1)
    salt = (targets.flatten(1) >= 0.5).to(logits.dtype)
    errors, order = torch.sort(1 - logits * (2 * salt - 1), dim=1, descending=True)
    return F.elu(errors) + 1, salt.gather(1, order)


def _extension(errors: Tensor, salt: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss at sorted `errors`: each weighs what mispredicting it too adds."""
    missed = salt.cumsum(1)
    area = missed[:, -1:]
    jaccard = 1 - (area - missed) / (area + (1 - salt).cumsum(1))
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (errors * steps).sum(1).mean()


TERMS: dict[str, Loss] = {
    "bce": F.binary_cross_entropy_with_logits,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "symmetric_lovasz": symmetric_lovasz,
}


def build_loss(text: str) -> Callable[[Outputs | Tensor, Tensor], Tensor]:
    """The loss that a sum such as `0.2*bce + lovasz` names, of pixel logits or of all that a network says in training.

    Deep supervision adds the same loss of each coarser level, the empty head its cross-entropy. A tile is empty if no
    target reaches 0.5, as it lies after augmentation.
    """
    terms = [(factor, TERMS[name]) for name, factor in parse_loss(text).items()]

    def pixels(logits: Tensor, targets: Tensor) -> Tensor:
        # Sums over ten thousand pixels want full precision, also under autocast.
        return torch.stack([factor * term(logits.float(), targets) for factor, term in terms]).sum()

    def total(outputs: Outputs | Tensor, targets: Tensor) -> Tensor:
        targets = targets.float()
        if isinstance(outputs, Tensor):
            return pixels(outputs, targets)
        loss = pixels(outputs.logits, targets)
        for level in outputs.levels:
            loss = loss + LEVEL * pixels(level, targets)
        if outputs.empty is not None:
            empty = (targets.flatten(1).amax(1) < 0.5).float()
            loss = loss + EMPTY * F.binary_cross_entropy_with_logits(outputs.empty.float(), empty)
        return loss

    return total

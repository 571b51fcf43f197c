"""Losses on logits (n, 1, h, w) and targets in 0..1 of the same shape; a model's loss is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tgs_salt.settings import parse_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """One less the soft Dice coefficient of each tile, averaged (Milletari et al. 2016, V-Net).

    Tile by tile, as the competition scores; `smooth` lets an empty tile with an empty prediction lose nothing.
    """
    salt = torch.sigmoid(logits).flatten(1)
    targets = targets.flatten(1)
    overlap = (salt * targets).sum(1)
    return (1 - (2 * overlap + smooth) / (salt.sum(1) + targets.sum(1) + smooth)).mean()


def lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """The Lovász hinge of each tile, averaged (Berman et al. 2018, algorithm 1), all tiles in one sort.

    Errors pass through elu + 1 in place of relu, as the competition's best teams had it: a pixel that is right by a
    margin still pulls a little. Soft targets count as salt from 0.5 on.
    """
    logits = logits.flatten(1)
    truth = (targets.flatten(1) >= 0.5).to(logits.dtype)
    errors, order = torch.sort(1 - logits * (2 * truth - 1), dim=1, descending=True)
    truth = truth.gather(1, order)
    missed = truth.cumsum(1)
    salt = missed[:, -1:]
    jaccard = 1 - (salt - missed) / (salt + (1 - truth).cumsum(1))
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return ((F.elu(errors) + 1) * steps).sum(1).mean()


TERMS: dict[str, Loss] = {"bce": F.binary_cross_entropy_with_logits, "dice": dice, "lovasz": lovasz}


def loss_of(text: str) -> Loss:
    """The loss that a sum such as `0.2*bce + lovasz` names."""
    terms = [(factor, TERMS[name]) for name, factor in parse_loss(text).items()]

    def total(logits: Tensor, targets: Tensor) -> Tensor:
        # Sums over ten thousand pixels want full precision, also under autocast.
        logits, targets = logits.float(), targets.float()
        return torch.stack([factor * term(logits, targets) for factor, term in terms]).sum()

    return total

"""The optimiser of a model, and how its learning rate goes."""

from __future__ import annotations

from typing import Any

import torch

from tgs_salt.learning.network import TileNetwork
from tgs_salt.settings import Model

Schedule = torch.optim.lr_scheduler.LRScheduler
PATIENCE, FACTOR, SMALLEST_RATE = 5, 0.1, 1e-5  # of the plateau schedule: the article's


def optimiser_of(network: TileNetwork, settings: Model) -> torch.optim.Optimizer:
    """One fused kernel a step; an encoder learns at its own rate."""
    encoder = getattr(network.inner, "encoder", None)
    slow = list(encoder.parameters()) if encoder is not None else []
    known = set(map(id, slow))
    groups: list[dict[str, Any]] = [
        {"params": slow, "lr": settings.learning_rate * settings.encoder_rate},
        {"params": [p for p in network.parameters() if id(p) not in known], "lr": settings.learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    decay = settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, eps=1e-7, weight_decay=decay, fused=True)  # Keras' epsilon, as the article's
    return torch.optim.AdamW(groups, weight_decay=decay, fused=True)


def schedule_of(optimiser: torch.optim.Optimizer, settings: Model, steps: int) -> Schedule:
    """The schedule over `steps` optimiser steps; `plateau` is stepped once an epoch, with the validation loss."""
    rates = [group["lr"] for group in optimiser.param_groups]
    schedules = torch.optim.lr_scheduler
    if settings.schedule == "one-cycle":
        return schedules.OneCycleLR(optimiser, rates, total_steps=steps + 1, pct_start=0.15, cycle_momentum=False)
    if settings.schedule == "cosine":
        return schedules.CosineAnnealingLR(optimiser, T_max=steps)
    if settings.schedule == "plateau":
        # Keras cuts in the fifth epoch without progress, torch in the one after `patience`.
        return schedules.ReduceLROnPlateau(
            optimiser, factor=FACTOR, patience=PATIENCE - 1, threshold=1e-4, threshold_mode="abs", min_lr=SMALLEST_RATE
        )
    return schedules.ConstantLR(optimiser, factor=1.0, total_iters=0)

"""The optimizer of a model, and how its learning rate goes."""

from __future__ import annotations

from typing import Any

import torch

from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.settings import Model

Schedule = torch.optim.lr_scheduler.LRScheduler
PATIENCE, FACTOR, MIN_LR = 5, 0.1, 1e-5  # of the plateau schedule: the article's


def build_optimizer(network: TileNetwork, settings: Model) -> torch.optim.Optimizer:
    """One fused kernel a step; an encoder learns at its own rate."""
    encoder = getattr(network.inner, "encoder", None)
    slow = list(encoder.parameters()) if encoder is not None else []
    known = set(map(id, slow))
    groups: list[dict[str, Any]] = [
        {"params": slow, "lr": settings.learning_rate * settings.encoder_lr_multiplier},
        {"params": [p for p in network.parameters() if id(p) not in known], "lr": settings.learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, eps=1e-7, weight_decay=decay, fused=True)  # Keras' epsilon, as the article's
    return torch.optim.AdamW(groups, weight_decay=decay, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, settings: Model, steps: int) -> Schedule:
    """The schedule over `steps` optimizer steps; `plateau` is stepped once an epoch, with the validation loss."""
    rates = [group["lr"] for group in optimizer.param_groups]
    schedules = torch.optim.lr_scheduler
    if settings.lr_scheduler == "onecycle":
        return schedules.OneCycleLR(optimizer, rates, total_steps=steps + 1, pct_start=0.15, cycle_momentum=False)
    if settings.lr_scheduler == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=steps)
    if settings.lr_scheduler == "plateau":
        # Keras cuts in the fifth epoch without progress, torch in the one after `patience`.
        return schedules.ReduceLROnPlateau(
            optimizer, factor=FACTOR, patience=PATIENCE - 1, threshold=1e-4, threshold_mode="abs", min_lr=MIN_LR
        )
    return schedules.ConstantLR(optimizer, factor=1.0, total_iters=0)

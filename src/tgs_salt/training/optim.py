"""The optimizer and the learning rate scheduler of a model.

"The article" is the Medium article with a Keras notebook that the preset article.yaml reproduces
(docs/how-it-works.md).
"""

from __future__ import annotations

from typing import Any

import torch

from tgs_salt.models.tile_model import TileModel
from tgs_salt.settings import Model

Scheduler = torch.optim.lr_scheduler.LRScheduler
# ReduceLROnPlateau as in the article.
PLATEAU_PATIENCE, PLATEAU_FACTOR, PLATEAU_MIN_LR = 5, 0.1, 1e-5


def build_optimizer(network: TileModel, settings: Model) -> torch.optim.Optimizer:
    """Return the fused optimizer; the encoder is a parameter group with its own learning rate."""
    encoder = getattr(network.inner, "encoder", None)
    encoder_params = list(encoder.parameters()) if encoder is not None else []
    encoder_ids = set(map(id, encoder_params))
    groups: list[dict[str, Any]] = [
        {"params": encoder_params, "lr": settings.learning_rate * settings.encoder_lr_multiplier},
        {"params": [p for p in network.parameters() if id(p) not in encoder_ids], "lr": settings.learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, eps=1e-7, weight_decay=decay, fused=True)  # epsilon of Keras, as in the article
    return torch.optim.AdamW(groups, weight_decay=decay, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, settings: Model, steps: int) -> Scheduler:
    """Return the scheduler over `steps` optimizer steps.

    Step `plateau` once per epoch, with the validation loss, and all others after each optimizer step.
    """
    lrs = [group["lr"] for group in optimizer.param_groups]
    schedulers = torch.optim.lr_scheduler
    if settings.lr_scheduler == "onecycle":
        return schedulers.OneCycleLR(optimizer, lrs, total_steps=steps + 1, pct_start=0.15, cycle_momentum=False)
    if settings.lr_scheduler == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=steps)
    if settings.lr_scheduler == "plateau":
        # Keras lowers the learning rate after `patience` epochs without improvement, torch after `patience + 1`.
        return schedulers.ReduceLROnPlateau(
            optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE - 1, threshold=1e-4, threshold_mode="abs",
            min_lr=PLATEAU_MIN_LR,
        )  # fmt: skip
    return schedulers.ConstantLR(optimizer, factor=1.0, total_iters=0)

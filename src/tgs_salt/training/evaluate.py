"""How good a network is on the fold's own tiles, as they are: 101 x 101, unflipped, at probability 0.5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tgs_salt.compute.amp import autocast
from tgs_salt.inference.predict import quantize_probabilities, to_float
from tgs_salt.kernels import iou_score
from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.training.fold_data import FoldData

BATCH = 64


@dataclass(frozen=True)
class Validation:
    """`score`: the competition's. `loss`: mean log loss a pixel. `accuracy`: share of pixels that are right."""

    score: float
    loss: float
    accuracy: float


def validate(network: TileNetwork, data: FoldData, pause: Callable[[], None] = lambda: None) -> Validation:
    """Judge `network` on the fold's own tiles, on the device where they lie, against their masks.

    `pause` is called after each batch, and may end it by an exception; nothing is changed by then.
    """
    network.eval()
    tiles, depths, masks = data.held_out_images, data.held_out_depths, data.held_out_masks
    truth = torch.from_numpy(np.ascontiguousarray(masks)).to(tiles.device)
    loss = torch.zeros((), device=tiles.device)
    right = torch.zeros((), device=tiles.device)
    salt_bytes = []
    for first in range(0, len(tiles), BATCH):
        part = slice(first, first + BATCH)
        mask = truth[part].unsqueeze(1).float()
        with torch.inference_mode(), autocast(tiles.device):
            logits = network(to_float(tiles[part]), depths[part]).float()
        loss += F.binary_cross_entropy_with_logits(logits, mask, reduction="sum")
        right += ((logits > 0) == (mask > 0)).sum()
        salt_bytes.append(quantize_probabilities(torch.sigmoid(logits), tiles[part]))
        pause()
    scores = iou_score.score_bytes(torch.cat(salt_bytes).cpu().numpy(), masks, iou_score.BYTE_HALF)
    return Validation(float(scores.mean()), float(loss) / truth.numel(), float(right) / truth.numel())

"""Evaluation of a network on the held-out tiles at their original size, without TTA, at probability 0.5.

The score is the mean average precision over IoU thresholds 0.50 to 0.95 (not the plain IoU); see `kernels.iou_score`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tgs_salt.compute.amp import autocast
from tgs_salt.inference.predict import quantize_probabilities, to_float
from tgs_salt.kernels import iou_score
from tgs_salt.models.tile_model import TileModel
from tgs_salt.training.fold_data import FoldData

BATCH_SIZE = 64


@dataclass(frozen=True)
class EvaluationResult:
    """The metrics of the held-out tiles.

    Attributes:
        score: Mean average precision over IoU thresholds 0.50 to 0.95, the mean over tiles.
        loss: Mean log loss per pixel.
        accuracy: Fraction of correctly classified pixels.
    """

    score: float
    loss: float
    accuracy: float


def evaluate(network: TileModel, data: FoldData, on_batch: Callable[[], None] = lambda: None) -> EvaluationResult:
    """Evaluate `network` on the held-out tiles, on the device that holds them.

    `on_batch` is called after each batch. It may raise to stop the evaluation, which changes no training state.
    """
    network.eval()
    tiles, depths, masks = data.held_out_images, data.held_out_depths, data.held_out_masks
    targets = torch.from_numpy(np.ascontiguousarray(masks)).to(tiles.device)
    loss = torch.zeros((), device=tiles.device)
    correct = torch.zeros((), device=tiles.device)
    probabilities = []
    for start in range(0, len(tiles), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        target = targets[batch].unsqueeze(1).float()
        with torch.inference_mode(), autocast(tiles.device):
            logits = network(to_float(tiles[batch]), depths[batch]).float()
        loss += F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        correct += ((logits > 0) == (target > 0)).sum()
        probabilities.append(quantize_probabilities(torch.sigmoid(logits), tiles[batch]))
        on_batch()
    scores = iou_score.score_bytes(torch.cat(probabilities).cpu().numpy(), masks, iou_score.BYTE_HALF)
    pixels = targets.numel()
    return EvaluationResult(float(scores.mean()), float(loss) / pixels, float(correct) / pixels)

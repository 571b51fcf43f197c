"""Training and validation data with one fold held out: uint8 tensors on the training device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgs_salt import files
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_masks, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.kernels.iou_score import BYTE_HALF
from tgs_salt.log import logger
from tgs_salt.settings import Model

UNCERTAIN_BYTES = (51, 205)  # half-open range of uint8 probabilities, about 0.2 <= p < 0.8


@dataclass
class Teacher:
    """The teacher's predictions of the same fold, and the images of the test tiles."""

    oof: Path
    test: Path
    test_images: Path


@dataclass
class FoldData:
    """Training and validation data with one fold held out; tensors are on the training device.

    Images and targets (salt = 255) are (n, tile_size, tile_size) uint8, depths are (n,) float32 as in tiles.csv.
    `held_out_masks` is (n, tile_size, tile_size) uint8 of 0 and 1.
    """

    images: Tensor
    targets: Tensor
    depths: Tensor
    held_out_images: Tensor
    held_out_depths: Tensor
    held_out_masks: np.ndarray
    fold_hash: str
    data_hash: str


def read_fold(
    images: Path, masks: Path, tiles: Path, folds: Path, fold: int, settings: Model, teacher: Teacher | None,
    device: torch.device,
) -> FoldData:  # fmt: skip
    """Read the training and validation data with `fold` held out.

    With a teacher, the test tiles and the held-out tiles are added with pseudo-labels (the teacher's predictions). The
    true masks of the held-out tiles are never used for training.

    Raises:
        UserError: A file is missing or does not match the others, or the fold contains none or all of the tiles.
    """
    table = read_tiles(tiles, "train")
    fold_of_tile = read_folds(folds, table["id"])
    held_out = fold_of_tile == fold
    if not held_out.any() or held_out.all():
        raise UserError(
            f"{folds}: fold {fold} contains {int(held_out.sum())} of {len(held_out)} tiles; choose another fold."
        )
    all_images = files.read_array(images, (len(table), None, None))
    all_masks = read_masks(masks, all_images.shape)
    held_out_images, held_out_masks = np.asarray(all_images[held_out]), np.asarray(all_masks[held_out])
    all_depths = table["depth"].to_numpy(np.float32)
    held_out_depths = all_depths[held_out]

    train_images, train_targets = all_images[~held_out], all_masks[~held_out] * np.uint8(255)
    train_depths = all_depths[~held_out]
    if teacher is not None:
        test_images = files.read_array(teacher.test_images, (None, *all_images.shape[1:]))
        candidates = np.concatenate([held_out_images, test_images])
        predictions = [
            files.read_array(teacher.oof, held_out_images.shape),
            files.read_array(teacher.test, test_images.shape),
        ]
        selected, labels = select_pseudo_labels(np.concatenate(predictions), settings)
        logger.info(f"pseudo-labels: {len(labels):,} of {len(selected):,} tiles selected")
        train_images = np.concatenate([train_images, candidates[selected]])
        train_targets = np.concatenate([train_targets, labels])
        test_depths = read_tiles(tiles, "test")["depth"].to_numpy(np.float32)
        train_depths = np.concatenate([train_depths, np.concatenate([held_out_depths, test_depths])[selected]])
    # The held-out tiles are included because the metrics in the history depend on them.
    arrays = (train_images, train_targets, train_depths, held_out_images, held_out_masks, held_out_depths)
    return FoldData(
        images=torch.from_numpy(train_images).to(device),
        targets=torch.from_numpy(train_targets).to(device),
        depths=torch.from_numpy(train_depths).to(device),
        held_out_images=torch.from_numpy(held_out_images).to(device),
        held_out_depths=torch.from_numpy(held_out_depths).to(device),
        held_out_masks=held_out_masks,
        fold_hash=files.digest("\n".join(table["id"][held_out]))[:16],
        data_hash=files.digest(*arrays)[:16],
    )


def select_pseudo_labels(predictions: np.ndarray, settings: Model) -> tuple[np.ndarray, np.ndarray]:
    """Select the tiles with enough confident pixels from the teacher's (n, tile_size, tile_size) uint8 probabilities.

    Return the selection, (n,) bool, and the targets of the selected tiles, (m, tile_size, tile_size) uint8. A pixel is
    confident outside `UNCERTAIN_BYTES`, the rule of the competition's winners.
    """
    confident = ((predictions < UNCERTAIN_BYTES[0]) | (predictions >= UNCERTAIN_BYTES[1])).mean(axis=(1, 2))
    selected = confident >= settings.pseudo_label_min_confidence
    labels = predictions[selected]
    if settings.pseudo_labels == "hard":
        labels = np.where(labels >= BYTE_HALF, np.uint8(255), np.uint8(0))
    return selected, labels

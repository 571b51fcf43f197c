"""What a fold learns from: tiles and targets as uint8, resident on the device that trains."""

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

UNSURE = (51, 205)  # bytes of probabilities 0.2 and 0.8


@dataclass
class Teacher:
    """Same-fold predictions of the model that teaches, and the test tiles that they are of."""

    oof: Path
    test: Path
    test_images: Path


@dataclass
class FoldData:
    """Learning tiles, (n, side, side) uint8 images and targets (255 is salt), and the fold's own with their 0/1 masks.
    Depths are (n,) float32, as in tiles.csv. Tensors lie on the device that trains."""

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
    """Read the data of one fold. A teacher adds the test tiles and the fold's own tiles with its predictions of them,
    never with their labels.

    Raises UserError if a file is missing or does not fit the others, or if no tile is in the fold.
    """
    train = read_tiles(tiles, "train")
    fold_of = read_folds(folds, train["id"])
    own = fold_of == fold
    if not own.any() or own.all():
        raise UserError(f"{folds}: fold {fold} holds {int(own.sum())} of {len(own)} tiles; choose another fold.")
    pictures = files.read_array(images, (len(train), None, None))
    truth = read_masks(masks, pictures.shape)
    held_out_images, held_out_masks = np.asarray(pictures[own]), np.asarray(truth[own])

    depths = train["depth"].to_numpy(np.float32)

    learn_images, learn_targets, learn_depths = pictures[~own], truth[~own] * np.uint8(255), depths[~own]
    if teacher is not None:
        test_pictures = files.read_array(teacher.test_images, (None, *pictures.shape[1:]))
        more_images = np.concatenate([held_out_images, test_pictures])
        said = [
            files.read_array(teacher.oof, held_out_images.shape),
            files.read_array(teacher.test, test_pictures.shape),
        ]
        taught, lessons = select_pseudo_labels(np.concatenate(said), settings)
        logger.info(f"the teacher teaches {len(lessons):,} of {len(taught):,} tiles")
        learn_images = np.concatenate([learn_images, more_images[taught]])
        learn_targets = np.concatenate([learn_targets, lessons])
        test_depths = read_tiles(tiles, "test")["depth"].to_numpy(np.float32)
        learn_depths = np.concatenate([learn_depths, np.concatenate([depths[own], test_depths])[taught]])
    # The held-out tiles are in it for the scores in the history.
    all_data = (learn_images, learn_targets, learn_depths, held_out_images, held_out_masks, depths[own])
    return FoldData(
        images=torch.from_numpy(learn_images).to(device),
        targets=torch.from_numpy(learn_targets).to(device),
        depths=torch.from_numpy(learn_depths).to(device),
        held_out_images=torch.from_numpy(held_out_images).to(device),
        held_out_depths=torch.from_numpy(depths[own]).to(device),
        held_out_masks=held_out_masks,
        fold_hash=files.digest("\n".join(train["id"][own]))[:16],
        data_hash=files.digest(*all_data)[:16],
    )


def select_pseudo_labels(said: np.ndarray, settings: Model) -> tuple[np.ndarray, np.ndarray]:
    """Which of a teacher's tiles, (n, side, side) probability bytes, are learnt, (n,) bool, and as what targets.

    A pixel is sure below probability 0.2 and from 0.8 on (the rule of the competition's winners).
    """
    sure = ((said < UNSURE[0]) | (said >= UNSURE[1])).mean(axis=(1, 2))
    taught = sure >= settings.pseudo_label_min_confidence
    lessons = said[taught]
    return taught, np.where(
        lessons >= BYTE_HALF, np.uint8(255), np.uint8(0)
    ) if settings.pseudo_labels == "hard" else lessons

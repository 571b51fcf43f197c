"""What a fold learns from: tiles and targets as uint8, resident on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.survey.folds import read_folds
from tgs_salt.survey.tiles import read_tiles


@dataclass
class Teacher:
    """Same-fold predictions of the model that teaches, and the test tiles that they are of."""

    oof: Path
    test: Path
    test_images: Path


@dataclass
class FoldData:
    """Learning tiles: (n, side, side) uint8 images and targets (255 is salt); held-out tiles of the fold with masks."""

    images: Tensor
    targets: Tensor
    held_out_images: np.ndarray
    held_out_masks: np.ndarray
    fold_hash: str
    data_hash: str


def read_fold(
    images: Path, masks: Path, tiles: Path, folds: Path, fold: int, teacher: Teacher | None, device: torch.device
) -> FoldData:
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
    truth = files.read_array(masks, pictures.shape)

    learn_images, learn_targets = [pictures[~own]], [truth[~own] * np.uint8(255)]
    if teacher is not None:
        test_pictures = files.read_array(teacher.test_images, (None, *pictures.shape[1:]))
        learn_images += [pictures[own], test_pictures]
        learn_targets += [
            files.read_array(teacher.oof, (int(own.sum()), *pictures.shape[1:])),
            files.read_array(teacher.test, test_pictures.shape),
        ]
    stacked_images, stacked_targets = np.concatenate(learn_images), np.concatenate(learn_targets)
    return FoldData(
        images=torch.from_numpy(stacked_images).to(device),
        targets=torch.from_numpy(stacked_targets).to(device),
        held_out_images=np.asarray(pictures[own]),
        held_out_masks=np.asarray(truth[own]),
        fold_hash=files.digest("\n".join(train["id"][own]))[:16],
        # The held-out tiles are in it for the scores in the history.
        data_hash=files.digest(stacked_images, stacked_targets, np.asarray(pictures[own]), np.asarray(truth[own]))[:16],
    )

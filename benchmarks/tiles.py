"""Masks and probability maps to measure on: the real masks where they are at hand, smooth blobs elsewhere."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np

from tgs_salt.kernels import rle

SIZE = 101
EMPTY = 0.39  # share of empty masks in the competition


def masks(count: int) -> tuple[np.ndarray, str]:
    """(count, 101, 101) uint8 of 0 and 1, and what they are.

    With TGS_DATA (a folder with Kaggle's train.csv) the training masks, repeated as often as it takes.
    """
    if "TGS_DATA" in os.environ:
        with (Path(os.environ["TGS_DATA"]) / "train.csv").open(newline="") as file:
            real = np.stack([rle.decode(row["rle_mask"]) for row in csv.DictReader(file)]).view(np.uint8)
        return real[np.arange(count) % len(real)], f"{len(real):,} real training masks, repeated"
    made = blobs(min(count, 1000))
    return made[np.arange(count) % len(made)], f"{len(made):,} synthetic blobs, repeated"


def blobs(count: int) -> np.ndarray:
    """Smooth random shapes, as often empty as the competition's masks and about as broken up."""
    random = np.random.default_rng(0)
    made = np.zeros((count, SIZE, SIZE), np.uint8)
    for k in np.flatnonzero(random.random(count) >= EMPTY):
        field = cv2.GaussianBlur(random.normal(size=(SIZE, SIZE)), (0, 0), random.uniform(8, 25))
        made[k] = field > np.quantile(field, random.uniform(0.05, 0.95))
    return made


def probabilities(truth: np.ndarray) -> np.ndarray:
    """Maps as a trained network might give for these masks, uint8: blurred edges, shifted, sure away from them."""
    random = np.random.default_rng(1)
    maps = np.empty(truth.shape, np.uint8)
    for k, mask in enumerate(truth):
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), random.uniform(1, 4)) - 0.5
        moved = np.roll(soft, random.integers(-3, 4, size=2), axis=(0, 1))
        maps[k] = np.minimum(255, np.floor(256 / (1 + np.exp(-14 * moved + random.normal(0, 2)))))
    return maps

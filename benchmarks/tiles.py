"""Masks and probability maps to measure on: the real masks where they are at hand, the embedded dataset's elsewhere."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np

from tgs_salt.kernels import rle
from tgs_salt.synthetic.synthesize import draw_tiles

DRAWN = 600  # tiles of the embedded dataset


def masks(count: int) -> tuple[np.ndarray, str]:
    """(count, 101, 101) uint8 of 0 and 1, and what they are.

    With TGS_DATA (a folder with Kaggle's train.csv) its masks, repeated as often as it takes; else those of tiles that
    the embedded dataset draws.
    """
    if "TGS_DATA" in os.environ:
        with (Path(os.environ["TGS_DATA"]) / "train.csv").open(newline="") as file:
            texts, kind = [row["rle_mask"] for row in csv.DictReader(file)], "real training"
    else:
        texts, kind = [tile.rle for tile in draw_tiles(seed=0, counts=[DRAWN])[0]], "drawn"
    known = np.stack([rle.decode(text) for text in texts]).view(np.uint8)
    return known[np.arange(count) % len(known)], f"{len(known):,} {kind} masks, repeated"


def probabilities(truth: np.ndarray) -> np.ndarray:
    """Maps as a trained network might give for these masks, uint8: blurred edges, shifted, sure away from them."""
    random = np.random.default_rng(1)
    maps = np.empty(truth.shape, np.uint8)
    for k, mask in enumerate(truth):
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), random.uniform(1, 4)) - 0.5
        moved = np.roll(soft, random.integers(-3, 4, size=2), axis=(0, 1))
        maps[k] = np.minimum(255, np.floor(256 / (1 + np.exp(-14 * moved + random.normal(0, 2)))))
    return maps

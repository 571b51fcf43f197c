"""Masks and probability maps for benchmarks: of the competition's masks if available, else of synthetic ones."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np

from tgs_salt.kernels import rle
from tgs_salt.synthetic.synthesize import generate_tiles

SYNTHETIC_TILES = 600


def load_masks(count: int) -> tuple[np.ndarray, str]:
    """Return (count, 101, 101) uint8 masks of 0 and 1, and their description.

    They are the masks in train.csv of the folder TGS_DATA, if that variable is set, else those of synthetic tiles. They
    are repeated up to `count`.
    """
    if "TGS_DATA" in os.environ:
        with (Path(os.environ["TGS_DATA"]) / "train.csv").open(newline="") as file:
            codes, kind = [row["rle_mask"] for row in csv.DictReader(file)], "competition"
    else:
        codes, kind = [tile.rle for tile in generate_tiles(seed=0, counts=[SYNTHETIC_TILES])[0]], "synthetic"
    masks = np.stack([rle.decode(code) for code in codes]).view(np.uint8)
    return masks[np.arange(count) % len(masks)], f"{len(masks):,} {kind} masks, repeated"


def simulate_probabilities(masks: np.ndarray) -> np.ndarray:
    """Return uint8 probabilities as of a trained network: blurred and shifted masks, confident away from edges."""
    rng = np.random.default_rng(1)
    probabilities = np.empty(masks.shape, np.uint8)
    for k, mask in enumerate(masks):
        blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(1, 4)) - 0.5
        shifted = np.roll(blurred, rng.integers(-3, 4, size=2), axis=(0, 1))
        probabilities[k] = np.minimum(255, np.floor(256 / (1 + np.exp(-14 * shifted + rng.normal(0, 2)))))
    return probabilities

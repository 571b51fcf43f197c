"""The embedded synthetic dataset in Kaggle's layout; importing this package does not import OpenCV."""

from __future__ import annotations

import hashlib

from tgs_salt.settings import Data

# Increase when the generator produces other tiles from the same seed; the dataset then gets a new folder.
GENERATOR_VERSION = 1
SYNTHETIC_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")


def synthetic_folder(settings: Data) -> str:
    """Return the folder of a synthetic dataset, named by a hash of its settings and the generator's version."""
    content = (GENERATOR_VERSION, settings.seed, settings.train_tiles, settings.test_tiles, settings.tile_size)
    return f"data/synthetic-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"

"""The embedded dataset: synthetic tiles in Kaggle's layout. This module imports no OpenCV."""

from __future__ import annotations

import hashlib

from tgs_salt.settings import Data

# Bump when the generator draws other tiles from the same seed: the dataset then gets a folder of its own.
GENERATOR_VERSION = 1
SYNTHETIC_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")


def synthetic_folder(settings: Data) -> str:
    """The folder of a synthetic dataset: one for each content, so that experiments share it and never mix."""
    content = (GENERATOR_VERSION, settings.seed, settings.train_tiles, settings.test_tiles, settings.tile_size)
    return f"data/synthetic-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"

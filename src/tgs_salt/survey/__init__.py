"""Where tiles come from and what they are."""

from __future__ import annotations

import hashlib

from tgs_salt.settings import Survey

# Bump when the generator draws other tiles from the same seed: the survey then gets a folder of its own.
SYNTHESIS_RECIPE = 1
SYNTHETIC_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")


def synthetic_folder(settings: Survey) -> str:
    """The folder of a synthetic survey: one for each content, so that experiments share it and never mix."""
    content = (SYNTHESIS_RECIPE, settings.seed, settings.train_tiles, settings.test_tiles, settings.tile_size)
    return f"data/synthetic-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"

"""Where tiles come from and what they are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tgs_salt.settings import Survey

# Bump when the generator draws other tiles from the same seed: the survey then gets a folder of its own.
SYNTHESIS_RECIPE = 1
SYNTHETIC_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")


def synthetic_folder(settings: Survey) -> str:
    """The folder of a synthetic survey: one for each content, so that experiments share it and never mix."""
    content = (SYNTHESIS_RECIPE, settings.seed, settings.train_tiles, settings.test_tiles, settings.tile_size)
    return f"data/synthetic-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"


def mounted(competition: str) -> str | None:
    """The competition's folder in a Kaggle notebook that has it as an input, where Kaggle mounts it now or used to."""
    root = os.environ.get("TGS_SALT_KAGGLE_INPUT", "/kaggle/input")
    places = (Path(root) / "competitions" / competition, Path(root) / competition)
    return next((str(place) for place in places if place.is_dir()), None)

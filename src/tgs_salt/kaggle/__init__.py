"""The official Kaggle client and what a Kaggle notebook mounts."""

from __future__ import annotations

import os
from pathlib import Path


def kaggle_input_dir(competition: str) -> str | None:
    """The competition's folder in a Kaggle notebook that has it as an input, where Kaggle mounts it now or used to."""
    root = os.environ.get("TGS_SALT_KAGGLE_INPUT", "/kaggle/input")
    places = (Path(root) / "competitions" / competition, Path(root) / competition)
    return next((str(place) for place in places if place.is_dir()), None)

"""The official Kaggle client: credentials, download, submit; and the input folder of a Kaggle notebook."""

from __future__ import annotations

import os
from pathlib import Path


def kaggle_input_dir(competition: str) -> str | None:
    """Return the folder where a Kaggle notebook mounts the competition's data, or None outside such a notebook."""
    root = Path(os.environ.get("TGS_SALT_KAGGLE_INPUT", "/kaggle/input"))
    folders = (root / "competitions" / competition, root / competition)  # the current and the former mount point
    return next((str(folder) for folder in folders if folder.is_dir()), None)

"""Where a download goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from kaggle_server import SLUG, KaggleServer
from kaggle_user import survey_archive


@pytest.fixture
def archive(server: KaggleServer, tmp_path: Path) -> Path:
    """Where a download goes; Kaggle hands out a small survey."""
    server.archive = survey_archive()
    return tmp_path / "data" / SLUG / f"{SLUG}.zip"

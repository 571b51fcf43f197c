"""How the tests run: hypothesis without clocks, so that a busy machine fails nothing, and with examples that repeat.

And for those who talk to Kaggle: a server on loopback that is all of Kaggle, and a user who types commands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.kaggle_server import SLUG, KaggleServer
from helpers.kaggle_user import User, dataset_archive
from hypothesis import HealthCheck, settings

# Two test processes with two busy threads each would take turns on two cores. Jobs that tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("here", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer() as server:
        server.stand_in(monkeypatch, tmp_path / "home")
        yield server


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    return User(monkeypatch, capsys)


@pytest.fixture
def archive(server: KaggleServer, tmp_path: Path) -> Path:
    """The path of a download; the server offers a small dataset."""
    server.archive = dataset_archive()
    return tmp_path / "data" / SLUG / f"{SLUG}.zip"

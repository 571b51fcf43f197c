"""Hypothesis without deadlines and with reproducible examples; fixtures for tests against a fake Kaggle server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.kaggle_server import SLUG, KaggleServer
from helpers.kaggle_user import User, dataset_archive
from hypothesis import HealthCheck, settings

# Two test processes with two threads each would oversubscribe two cores. Subprocesses inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer() as server:
        server.patch_environment(monkeypatch, tmp_path / "home")
        yield server


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    return User(monkeypatch, capsys)


@pytest.fixture
def archive(server: KaggleServer, tmp_path: Path) -> Path:
    """The path of a download; the server provides a small dataset."""
    server.archive = dataset_archive()
    return tmp_path / "data" / SLUG / f"{SLUG}.zip"

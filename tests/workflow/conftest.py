"""Finished experiments: one that really ran, and one of several stages that only looks so to Snakemake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import Finished


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny experiment, run from drawn dataset to submission on the CPU."""
    folder = tmp_path_factory.mktemp("finished")
    experiment = workflow_runner.tiny()
    run = workflow_runner.run(folder, experiment, "--resources", "gpu=0")
    assert run.code == 0, run.output
    return Finished(folder, experiment, made_by=run)


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two voters, one that starts from `base` and one that learns from it, and an idle model; made by touch."""
    folder = tmp_path_factory.mktemp("staged")
    stages = {
        "tuned": {"extends": "base", "init_from": "base", "loss": "lovasz", "epochs": 1},
        "student": {"extends": "base", "teacher": "base", "epochs": 1},
        "idle": {"extends": "base", "epochs": 3},
    }
    experiment = workflow_runner.tiny(models=stages, ensemble={"models": ["tuned", "student"]})
    workflow_runner.finish_by_touch(folder, experiment)
    return Finished(folder, experiment)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Finished], Finished]:
    """A copy of a finished experiment, with the times of its files and with Snakemake's own records."""

    def copied(original: Finished) -> Finished:
        folder = shutil.copytree(original.folder, tmp_path / "copy")
        return Finished(folder, original.experiment)

    return copied

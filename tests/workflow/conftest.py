"""Finished experiments: one that has run, and one with several stages whose files are placeholders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    """The tiny experiment after a run on the CPU, from the synthetic dataset to the submission."""
    folder = tmp_path_factory.mktemp("finished")
    experiment = workflow_runner.tiny()
    run = workflow_runner.run(folder, experiment, "--resources", "gpu=0")
    assert run.code == 0, run.output
    return FinishedExperiment(folder, experiment, first_run=run)


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    """Placeholder files of `base` and an ensemble of `tuned` (init_from) and `student` (teacher); `idle` is unused."""
    folder = tmp_path_factory.mktemp("staged")
    stages = {
        "tuned": {"extends": "base", "init_from": "base", "loss": "lovasz", "epochs": 1},
        "student": {"extends": "base", "teacher": "base", "epochs": 1},
        "idle": {"extends": "base", "epochs": 3},
    }
    experiment = workflow_runner.tiny(models=stages, ensemble={"models": ["tuned", "student"]})
    workflow_runner.finish_by_touch(folder, experiment)
    return FinishedExperiment(folder, experiment)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[FinishedExperiment], FinishedExperiment]:
    """Return a function that copies a finished experiment, with file times and Snakemake's metadata."""

    def copy_experiment(original: FinishedExperiment) -> FinishedExperiment:
        folder = shutil.copytree(original.folder, tmp_path / "copy")
        return FinishedExperiment(folder, original.experiment)

    return copy_experiment

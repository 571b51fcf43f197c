"""Finished experiments: one that has run, and one with several stages whose files are placeholders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    """The tiny experiment after a run on the CPU, from the synthetic dataset to the submission.

    It runs once: each further process of pytest-xdist copies it.
    """
    experiment = workflow_runner.tiny()
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with FileLock(f"{shared}.lock"):
        output = shared.with_suffix(".txt")
        if not output.exists():
            run = workflow_runner.run(shared, experiment, "--resources", "gpu=0")
            assert run.code == 0, run.output
            output.write_text(run.output, encoding="utf-8")
    folder = shutil.copytree(shared, tmp_path_factory.mktemp("finished") / "experiment")
    return FinishedExperiment(folder, experiment, first_output=output.read_text(encoding="utf-8"))


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

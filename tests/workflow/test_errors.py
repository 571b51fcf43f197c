"""Errors are one sentence without a traceback, and invalid settings are reported before any job runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment, model_file

Copy = Callable[[FinishedExperiment], FinishedExperiment]


def error_output(run: workflow_runner.Run) -> str:
    """Return the output of a failed run on one line; it must not contain a traceback."""
    assert run.code != 0, run.output
    assert "Traceback" not in run.output, run.output
    return " ".join(run.output.split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"treshold": {"value": 128}}, "treshold: unknown key, did you mean threshold?"),
        ({"models": {"base": {"epochz": 3}}}, "models.base.epochz: unknown key, did you mean models.base.epochs?"),
        ({"folds": {"n_splits": 1}}, "folds.n_splits: expected an integer, at least 2, at most 1000, found 1."),
        (
            {"folds": {"selected": [2]}},
            "folds.selected: expected distinct folds from 0 to 1 (folds.n_splits is 2), found [2].",
        ),
        ({"data": {"source": "directory"}}, "data.directory: set the folder or zip of the dataset"),
        ({"data": {"source": "directory", "directory": "nowhere"}}, "there is no folder or zip nowhere"),
        ({"ensemble": {"models": ["bass"]}}, "ensemble.models: unknown model 'bass'; available models:"),
        ({"models": {"base": {"init_from": "base"}}}, "base -> base is circular"),
    ],
    ids=lambda value: None if isinstance(value, dict) else re.sub(r"[^\w.]+", " ", value)[:30].strip(),
)
def test_invalid_settings_are_reported_before_any_job(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    failed = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(**changes))
    assert sentence in error_output(failed)
    assert not failed.jobs and not (tmp_path / "results").exists()


def test_an_unknown_key_on_the_command_line(tmp_path: Path) -> None:
    failed = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "--config", "runtme={'log_level': 'info'}")
    assert "runtme: unknown key, did you mean runtime?" in error_output(failed)
    failed = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "--config", "folds={'n_spilts': 3}")
    assert "folds.n_spilts: unknown key, did you mean folds.n_splits?" in error_output(failed)


def test_nested_values_on_the_command_line(tmp_path: Path) -> None:
    # Snakemake passes them as strings and merges them.
    values = ["--config", "folds={'n_splits': 3, 'selected': [0, 2]}", "models={'base': {'learning_rate': 1e-4}}"]
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), *values)
    assert fresh.code == 0, fresh.output
    assert {name for name in fresh.names if name.startswith("train")} == workflow_runner.train_jobs(
        "base", folds=[0, 2]
    )


def test_the_configuration_file_may_be_in_any_folder(tmp_path: Path) -> None:
    overlay = tmp_path / "my experiments" / "tiny.yaml"
    overlay.parent.mkdir()
    overlay.write_text(yaml.safe_dump(workflow_runner.tiny(name="spaced")))
    fresh = workflow_runner.dry_run(tmp_path / "a folder", overlay)
    assert fresh.code == 0, fresh.output
    assert "results/spaced/submission.csv" in {path for job in fresh.jobs for path in job.output}


@pytest.mark.slow
def test_a_missing_gpu_is_reported(copy: Copy, finished: FinishedExperiment) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    failed = copy(finished).run_again(model_file("base", 0), "--force", "--resources", "gpu=1")
    assert failed.names == {"train base 0"}
    output = error_output(failed)
    assert "error: this job requested a GPU, but torch finds no CUDA device" in output
    assert "run snakemake with --resources gpu=0" in output
    assert "A job failed or was stopped. See the last line of its log." in output


@pytest.mark.slow
def test_an_unknown_encoder_is_reported(copy: Copy, finished: FinishedExperiment) -> None:
    network = {"architecture": "unet", "encoder": "resnet43", "encoder_weights": "none"}
    experiment = copy(finished)
    failed = experiment.run_again(model_file("base", 0), "--resources", "gpu=0", models={"base": network})
    output = error_output(failed)
    sentence = r"error: models\.\S+encoder: unknown encoder 'resnet43'; did you mean resnet34,"
    assert re.search(sentence, output), output[-2000:]
    log = (experiment.results / "models/base/fold0/train.log").read_text().splitlines()
    assert log[-1].startswith("error: ") and "resnet43" in log[-1]


def test_a_tile_without_depth_is_reported(tmp_path: Path, finished: FinishedExperiment) -> None:
    (synthetic,) = (finished.folder / "data").iterdir()
    dataset = shutil.copytree(synthetic, tmp_path / "data")
    lines = (dataset / "train.csv").read_text().splitlines()
    tile = lines[1].partition(",")[0]
    depths = (dataset / "depths.csv").read_text().splitlines()
    (dataset / "depths.csv").write_text("\n".join(line for line in depths if not line.startswith(tile)) + "\n")
    source = {"source": "directory", "directory": str(dataset)}
    failed = workflow_runner.run(tmp_path, workflow_runner.tiny(data=source), "--resources", "gpu=0")
    assert failed.names == {"preprocess"}
    output = error_output(failed)
    assert re.search(rf"error: \S+: depths\.csv has no depth for .*{tile}", output), output[-2000:]
    assert not (tmp_path / "results/tiny/data/tiles.csv").exists()

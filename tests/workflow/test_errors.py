"""What is wrong is said in one sentence, before any work where that is possible, and the exit code tells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import workflow_runner
from helpers.workflow_runner import Finished, model_file

Copy = Callable[[Finished], Finished]


def told(run: workflow_runner.Run) -> str:
    """What a failed run says, in one line; it may not be a traceback."""
    assert run.code != 0, run.output
    assert "Traceback" not in run.output, run.output
    return " ".join(run.output.split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"treshold": {"value": 128}}, "treshold: unknown key, did you mean threshold?"),
        ({"models": {"base": {"epochz": 3}}}, "models.base.epochz: unknown key, did you mean models.base.epochs?"),
        ({"folds": {"n_splits": 1}}, "folds.n_splits: expected a whole number, at least 2, at most 1000, found 1."),
        (
            {"folds": {"selected": [2]}},
            "folds.selected: name each fold once, from 0 to 1 (folds.n_splits is 2), found [2].",
        ),
        ({"data": {"source": "directory"}}, "data.directory: name the folder or zip that holds the dataset"),
        ({"data": {"source": "directory", "directory": "nowhere"}}, "there is no folder or zip nowhere"),
        ({"ensemble": {"models": ["bass"]}}, "ensemble.models: there is no model 'bass'; models are"),
        ({"models": {"base": {"init_from": "base"}}}, "base -> base is a circle"),
    ],
    ids=lambda value: None if isinstance(value, dict) else re.sub(r"[^\w.]+", " ", value)[:30].strip(),
)
def test_a_wrong_configuration_is_told_at_once(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    wrong = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(**changes))
    assert sentence in told(wrong)
    assert not wrong.jobs and not (tmp_path / "results").exists()


def test_a_wrong_key_on_the_command_line(tmp_path: Path) -> None:
    wrong = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "--config", "runtme={'log_level': 'info'}")
    assert "runtme: unknown key, did you mean runtime?" in told(wrong)
    wrong = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "--config", "folds={'n_spilts': 3}")
    assert "folds.n_spilts: unknown key, did you mean folds.n_splits?" in told(wrong)


def test_nested_values_on_the_command_line(tmp_path: Path) -> None:
    # Snakemake hands them over as strings, and merges them.
    values = ["--config", "folds={'n_splits': 3, 'selected': [0, 2]}", "models={'base': {'learning_rate': 1e-4}}"]
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), *values)
    assert fresh.code == 0, fresh.output
    assert {name for name in fresh.names if name.startswith("train")} == workflow_runner.trains("base", folds=[0, 2])


def test_an_experiment_may_lie_anywhere(tmp_path: Path) -> None:
    overlay = tmp_path / "my experiments" / "tiny.yaml"
    overlay.parent.mkdir()
    overlay.write_text(yaml.safe_dump(workflow_runner.tiny(name="spaced")))
    fresh = workflow_runner.dry_run(tmp_path / "a folder", overlay)
    assert fresh.code == 0, fresh.output
    assert "results/spaced/submission.csv" in {path for job in fresh.jobs for path in job.output}


@pytest.mark.slow
def test_a_gpu_that_is_not_there(copy: Copy, finished: Finished) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    failed = copy(finished).go_on(model_file("base", 0), "--force", "--resources", "gpu=1")
    assert failed.names == {"train base 0"}
    said = told(failed)
    assert "error: this job was given a GPU, but torch finds no CUDA device here" in said
    assert "run snakemake with --resources gpu=0" in said
    assert "A job failed or was stopped: its log is above" in said


@pytest.mark.slow
def test_an_encoder_that_does_not_exist(copy: Copy, finished: Finished) -> None:
    network = {"architecture": "unet", "encoder": "resnet43", "encoder_weights": "none"}
    wrong = copy(finished)
    failed = wrong.go_on(model_file("base", 0), "--resources", "gpu=0", models={"base": network})
    said = told(failed)
    sentence = r"error: models\.\S+encoder: there is no encoder 'resnet43'; the nearest are resnet34,"
    assert re.search(sentence, said), said[-2000:]
    log = (wrong.results / "models/base/fold0/train.log").read_text().splitlines()
    assert log[-1].startswith("error: ") and "resnet43" in log[-1]


def test_a_dataset_with_a_tile_without_depth(tmp_path: Path, finished: Finished) -> None:
    (drawn,) = (finished.folder / "data").iterdir()
    dataset = shutil.copytree(drawn, tmp_path / "data")
    lines = (dataset / "train.csv").read_text().splitlines()
    tile = lines[1].partition(",")[0]
    depths = (dataset / "depths.csv").read_text().splitlines()
    (dataset / "depths.csv").write_text("\n".join(line for line in depths if not line.startswith(tile)) + "\n")
    place = {"source": "directory", "directory": str(dataset)}
    failed = workflow_runner.run(tmp_path, workflow_runner.tiny(data=place), "--resources", "gpu=0")
    assert failed.names == {"preprocess"}
    said = told(failed)
    assert re.search(rf"error: \S+: depths\.csv has no depth for .*{tile}", said), said[-2000:]
    assert not (tmp_path / "results/tiny/data/tiles.csv").exists()

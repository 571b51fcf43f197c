"""What is wrong is said in one sentence, before any work where that is possible, and the exit code tells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snakes
import yaml
from snakes import Finished, model_file

Copy = Callable[[Finished], Finished]


def told(run: snakes.Run) -> str:
    """What a failed run says, in one line; it may not be a traceback."""
    assert run.code != 0, run.output
    assert "Traceback" not in run.output, run.output
    return " ".join(run.output.split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"treshold": {"level": 128}}, "treshold: unknown key, did you mean threshold?"),
        ({"models": {"base": {"epochz": 3}}}, "models.base.epochz: unknown key, did you mean models.base.epochs?"),
        ({"folds": {"count": 1}}, "folds.count: expected a whole number, at least 2, at most 1000, found 1."),
        ({"folds": {"use": [2]}}, "folds.use: name each fold once, from 0 to 1 (folds.count is 2), found [2]."),
        ({"survey": {"source": "directory"}}, "survey.directory: name the folder or zip that holds the survey"),
        ({"survey": {"source": "directory", "directory": "nowhere"}}, "there is no folder or zip nowhere"),
        ({"ensemble": {"models": ["bass"]}}, "ensemble.models: there is no model 'bass'; models are"),
        ({"models": {"base": {"init_from": "base"}}}, "base -> base is a circle"),
    ],
    ids=lambda value: None if isinstance(value, dict) else re.sub(r"[^\w.]+", " ", value)[:30].strip(),
)
def test_a_wrong_configuration_is_told_at_once(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    wrong = snakes.dry_run(tmp_path, snakes.tiny(**changes))
    assert sentence in told(wrong)
    assert not wrong.jobs and not (tmp_path / "results").exists()


def test_a_wrong_key_on_the_command_line(tmp_path: Path) -> None:
    wrong = snakes.dry_run(tmp_path, snakes.tiny(), "--config", "runtme={'log_level': 'info'}")
    assert "runtme: unknown key, did you mean runtime?" in told(wrong)
    wrong = snakes.dry_run(tmp_path, snakes.tiny(), "--config", "folds={'cuont': 3}")
    assert "folds.cuont: unknown key, did you mean folds.count?" in told(wrong)


def test_nested_values_on_the_command_line(tmp_path: Path) -> None:
    # Snakemake hands them over as strings, and merges them.
    values = ["--config", "folds={'count': 3, 'use': [0, 2]}", "models={'base': {'learning_rate': 1e-4}}"]
    fresh = snakes.dry_run(tmp_path, snakes.tiny(), *values)
    assert fresh.code == 0, fresh.output
    assert {name for name in fresh.names if name.startswith("train")} == snakes.trains("base", folds=[0, 2])


def test_an_experiment_may_lie_anywhere(tmp_path: Path) -> None:
    overlay = tmp_path / "my experiments" / "tiny.yaml"
    overlay.parent.mkdir()
    overlay.write_text(yaml.safe_dump(snakes.tiny(name="spaced")))
    fresh = snakes.dry_run(tmp_path / "a folder", overlay)
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
    network = {"network": "unet", "encoder": "resnet43", "weights": "none"}
    wrong = copy(finished)
    failed = wrong.go_on(model_file("base", 0), "--resources", "gpu=0", models={"base": network})
    said = told(failed)
    sentence = r"error: models\.\S+encoder: there is no encoder 'resnet43'; the nearest are resnet34,"
    assert re.search(sentence, said), said[-2000:]
    log = (wrong.results / "models/base/fold0/train.log").read_text().splitlines()
    assert log[-1].startswith("error: ") and "resnet43" in log[-1]


def test_a_survey_with_a_tile_without_depth(tmp_path: Path, finished: Finished) -> None:
    (drawn,) = (finished.folder / "data").iterdir()
    survey = shutil.copytree(drawn, tmp_path / "survey")
    lines = (survey / "train.csv").read_text().splitlines()
    tile = lines[1].partition(",")[0]
    depths = (survey / "depths.csv").read_text().splitlines()
    (survey / "depths.csv").write_text("\n".join(line for line in depths if not line.startswith(tile)) + "\n")
    place = {"source": "directory", "directory": str(survey)}
    failed = snakes.run(tmp_path, snakes.tiny(survey=place), "--resources", "gpu=0")
    assert failed.names == {"pack"}
    said = told(failed)
    assert re.search(rf"error: \S+: depths\.csv has no depth for .*{tile}", said), said[-2000:]
    assert not (tmp_path / "results/tiny/survey/tiles.csv").exists()

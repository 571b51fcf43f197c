"""The outputs of one run of the tiny experiment, from the synthetic dataset to the submission."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from helpers.workflow_runner import FinishedExperiment

DATASET_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")
FOLD_FILES = ("model.pt", "history.csv", "timing.json", "oof.npy", "test.npy")
FILES = (
    *(f"data/{name}" for name in ("train_images.npy", "train_masks.npy", "test_images.npy", "tiles.csv")),
    "folds.csv",
    *(f"models/base/fold{fold}/{name}" for fold in (0, 1) for name in FOLD_FILES),
    *(f"ensemble/{name}" for name in ("oof.npy", "test.npy", "weights.json")),
    *("threshold.json", "threshold.csv", "scores.csv", "submission.csv", "report.html", "settings.json"),
)
LOGS = (
    "data/preprocess.log",
    "folds.log",
    *(f"models/base/fold{fold}/{name}.log" for fold in (0, 1) for name in ("train", "predict_oof", "predict_test")),
    *("ensemble/ensemble.log", "threshold.log", "submission.log", "report.log"),
)


def dataset_folder(finished: FinishedExperiment) -> Path:
    (dataset,) = (finished.folder / "data").iterdir()
    return dataset


def test_exactly_these_files_are_written(finished: FinishedExperiment) -> None:
    dataset = dataset_folder(finished)
    assert {path.name for path in dataset.iterdir()} == {*DATASET_FILES, "synthesize.log"}
    files = {str(path.relative_to(finished.results)) for path in finished.results.rglob("*") if path.is_file()}
    assert files == {*FILES, *LOGS}, "no partial files, no checkpoints of finished trainings"


def test_logs_end_with_a_result(finished: FinishedExperiment) -> None:
    for path in [*(finished.results / name for name in LOGS), dataset_folder(finished) / "synthesize.log"]:
        lines = path.read_text().splitlines()
        assert lines, f"{path} is empty"
        assert re.match(r"\d\d:\d\d:\d\d \S+", lines[-1]), lines[-1]
        assert "Traceback" not in path.read_text() and "Warning" not in path.read_text(), path.read_text()


def test_arrays_have_the_rows_of_the_dataset(finished: FinishedExperiment) -> None:
    tiles = pd.read_csv(finished.results / "data/tiles.csv")
    counts = tiles["split"].value_counts()
    assert (counts["train"], counts["test"]) == (24, 8)
    assert set(pd.read_csv(finished.results / "folds.csv")["fold"]) == {0, 1}
    shapes = {"data/train_images": 24, "data/train_masks": 24, "data/test_images": 8}
    shapes |= {"ensemble/oof": 24, "ensemble/test": 8}
    shapes |= {f"models/base/fold{fold}/{split}": n for fold in (0, 1) for split, n in (("oof", 12), ("test", 8))}
    for name, rows in shapes.items():
        array = np.load(finished.results / f"{name}.npy")
        assert (array.dtype, array.shape) == (np.uint8, (rows, 32, 32)), name


def test_the_terminal_ends_with_scores_and_the_next_commands(finished: FinishedExperiment) -> None:
    output = finished.first_output
    for fold in (0, 1):
        assert f"base fold {fold}: epoch 1/1, loss" in output
        assert re.search(rf"│ base +│ +{fold} │ +12 │ +\d\.\d+ │ +\d\.\d+ │", output), output[-3000:]
    decision = json.loads((finished.results / "threshold.json").read_text())
    assert re.search(rf"^cross-fitted score +{decision['cross_fitted_score']:.4f} ", output, re.MULTILINE)
    threshold = rf"^threshold +byte >= {decision['threshold']}, minimum area {decision['min_area']} pixels"
    assert re.search(threshold, output, re.MULTILINE)
    assert re.search(r"^submission +results/tiny/submission.csv$", output, re.MULTILINE)
    assert re.search(r"^report +results/tiny/report.html$", output, re.MULTILINE)
    commands = output.partition("\nnext:\n")[2]
    assert re.search(r"^  snakemake --cores all", commands, re.MULTILINE)


def test_the_submission_is_valid(finished: FinishedExperiment) -> None:
    submission, sample = finished.results / "submission.csv", dataset_folder(finished) / "sample_submission.csv"
    command = [sys.executable, "-m", "tgs_salt", "check-submission", str(submission), str(sample), "--tile-size", "32"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "valid" in checked.stdout, checked.stderr
    assert list(pd.read_csv(submission)["id"]) == list(pd.read_csv(sample)["id"])


def test_the_report_links_to_no_other_file(finished: FinishedExperiment) -> None:
    page = (finished.results / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(\s*[\"']?([^)\"']*)", page)
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert str(finished.folder) not in page


def test_a_second_run_reruns_nothing(finished: FinishedExperiment) -> None:
    again = finished.run_again("--resources", "gpu=0")
    assert again.code == 0 and not again.jobs, again.output
    assert "Nothing to be done" in again.output


def test_the_number_of_gpus_reruns_nothing(finished: FinishedExperiment) -> None:
    assert not finished.dry_run("--resources", "gpu=1").jobs
    assert not finished.dry_run("--resources", "gpu=4").jobs

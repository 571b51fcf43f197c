"""One tiny experiment that really ran, from the drawn dataset to the submission."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from helpers.workflow_runner import Finished

SURVEY_FILES = ("train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip")
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


def drawn(finished: Finished) -> Path:
    (dataset,) = (finished.folder / "data").iterdir()
    return dataset


def test_files(finished: Finished) -> None:
    dataset = drawn(finished)
    assert {path.name for path in dataset.iterdir()} == {*SURVEY_FILES, "synthesize.log"}
    found = {str(path.relative_to(finished.results)) for path in finished.results.rglob("*") if path.is_file()}
    assert found == {*FILES, *LOGS}, "also nothing half-written, and no checkpoint of a finished training"


def test_logs_end_with_what_came_of_it(finished: Finished) -> None:
    for path in [*(finished.results / name for name in LOGS), drawn(finished) / "synthesize.log"]:
        lines = path.read_text().splitlines()
        assert lines, f"{path} is empty"
        assert re.match(r"\d\d:\d\d:\d\d \S+", lines[-1]), lines[-1]
        assert "Traceback" not in path.read_text() and "Warning" not in path.read_text(), path.read_text()


def test_arrays_are_of_one_dataset(finished: Finished) -> None:
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


def test_the_terminal_ends_with_scores_and_the_next_commands(finished: Finished) -> None:
    assert finished.made_by is not None
    output = finished.made_by.output
    for fold in (0, 1):
        assert f"base fold {fold}: epoch 1/1, loss" in output
        assert re.search(rf"│ base +│ +{fold} │ +12 │ +\d\.\d+ │ +\d\.\d+ │", output), output[-3000:]
    decision = json.loads((finished.results / "threshold.json").read_text())
    assert re.search(rf"^cross-fitted score +{decision['cross_fitted_score']:.4f} ", output, re.MULTILINE)
    wanted = rf"^threshold +byte >= {decision['threshold']}, at least {decision['min_area']} pixels"
    assert re.search(wanted, output, re.MULTILINE)
    assert re.search(r"^submission +results/tiny/submission.csv$", output, re.MULTILINE)
    assert re.search(r"^report +results/tiny/report.html$", output, re.MULTILINE)
    following = output.partition("\nnext:\n")[2]
    assert re.search(r"^  snakemake --cores all", following, re.MULTILINE), "commands to paste"


def test_the_submission_is_valid(finished: Finished) -> None:
    submission, sample = finished.results / "submission.csv", drawn(finished) / "sample_submission.csv"
    command = [sys.executable, "-m", "tgs_salt", "check-submission", str(submission), str(sample), "--tile-size", "32"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "valid" in checked.stdout, checked.stderr
    assert list(pd.read_csv(submission)["id"]) == list(pd.read_csv(sample)["id"])


def test_the_report_needs_no_other_file(finished: Finished) -> None:
    page = (finished.results / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(\s*[\"']?([^)\"']*)", page)
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert str(finished.folder) not in page


def test_a_second_run_has_nothing_to_do(finished: Finished) -> None:
    again = finished.go_on("--resources", "gpu=0")
    assert again.code == 0 and not again.jobs, again.output
    assert "Nothing to be done" in again.output


def test_gpu_or_not_is_no_reason_to_run(finished: Finished) -> None:
    assert not finished.dry_run("--resources", "gpu=1").jobs
    assert not finished.dry_run("--resources", "gpu=4").jobs

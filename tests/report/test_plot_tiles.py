"""`plot-tiles`: the panels of a tile and their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.command_line import error_message, tgs_salt
from helpers.experiments import make_experiment

from tgs_salt.errors import UserError
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.report import plot_tiles


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("plot") / "salt")


def test_labeled_tile_has_four_panels_and_its_out_of_fold_predictions(experiment: Path) -> None:
    folds = pd.read_csv(experiment / "folds.csv")
    decision = json.loads((experiment / "threshold.json").read_text())
    row = 7
    fold = folds["fold"][row]
    panels = plot_tiles._panels(Experiment(experiment), "train", row)
    true = np.load(experiment / "data/train_masks.npy")[row] > 0
    probabilities = np.load(experiment / "ensemble/oof.npy")[row]
    predicted = probabilities >= decision["threshold"]
    predicted &= predicted.sum() >= decision["min_area"]
    assert [panel.title.split(",")[0] for panel in panels] == [
        "seismic", "true mask", "probability", "predicted mask", f"first fold {fold}", f"second fold {fold}"
    ]  # fmt: skip
    assert np.array_equal(panels[0].pixels, np.load(experiment / "data/train_images.npy")[row])
    for (outlined, _color), expected in zip(panels[0].outlines, (true, predicted), strict=True):
        assert np.array_equal(outlined, expected)
    assert np.array_equal(panels[1].pixels > 0, true) and np.array_equal(panels[3].pixels > 0, predicted)
    assert np.array_equal(panels[2].pixels, probabilities)
    index = list(folds["id"][folds["fold"] == fold]).index(folds["id"][row])
    for panel, model in zip(panels[4:], ("first", "second"), strict=True):
        assert np.array_equal(panel.pixels, np.load(experiment / f"models/{model}/fold{fold}/oof.npy")[index])


def test_test_tile_has_every_prediction_and_no_true_mask(experiment: Path) -> None:
    panels = plot_tiles._panels(Experiment(experiment), "test", 3)
    predictions = [f"{model} fold {fold}" for model in ("first", "second") for fold in range(3)]
    assert [panel.title.split(",")[0] for panel in panels] == ["seismic", "probability", "predicted mask", *predictions]
    for panel, name in zip(panels[3:], predictions, strict=True):
        model, _word, fold = name.split()
        assert np.array_equal(panel.pixels, np.load(experiment / f"models/{model}/fold{fold}/test.npy")[3])


def test_written_files_and_their_printed_paths(experiment: Path, tmp_path: Path) -> None:
    done = tgs_salt("plot-tiles", experiment, "t0007", "u0003", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "t0007.png"), str(tmp_path / "u0003.png")]
    # The seismic panel and the background are gray.
    image = cv2.imread(str(tmp_path / "u0003.png"))
    gray = (image == image[..., :1]).all(axis=2)
    assert image.shape[1] > 1000 and gray.mean() > 0.2


def test_experiment_before_training(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="not preprocessed yet"):
        plot_tiles.plot_tiles(tmp_path / "new", ["t0007"], tmp_path)
    (tmp_path / "new/data").symlink_to(experiment / "data")
    panels = plot_tiles._panels(Experiment(tmp_path / "new"), "train", 7)
    assert [panel.title.split(",")[0] for panel in panels] == ["seismic", "true mask"]


def test_unknown_tile(experiment: Path) -> None:
    message = error_message(tgs_salt("plot-tiles", experiment, "t00007"))
    assert message == f"t00007: {experiment} has no such tile, did you mean t0007?"

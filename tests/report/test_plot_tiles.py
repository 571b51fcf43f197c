"""Pictures of single tiles: which panels, and that the pixels are the tile's."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.command_line import refused, tgs_salt
from helpers.experiments import make_experiment

from tgs_salt.errors import UserError
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.report import plot_tiles


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("show") / "salt")


def test_a_labelled_tile_has_four_panels_and_the_votes_that_did_not_learn_it(experiment: Path) -> None:
    folds = pd.read_csv(experiment / "folds.csv")
    decision = json.loads((experiment / "threshold.json").read_text())
    row = 7
    fold = folds["fold"][row]
    panels = plot_tiles._panels(Experiment(experiment), "train", row)
    truth = np.load(experiment / "data/train_masks.npy")[row] > 0
    together = np.load(experiment / "ensemble/oof.npy")[row]
    mask = together >= decision["threshold"]
    mask &= mask.sum() >= decision["min_area"]
    assert [panel.title.split(",")[0] for panel in panels] == [
        "seismic", "truth", "probability", "decision", f"first fold {fold}", f"second fold {fold}"
    ]  # fmt: skip
    assert np.array_equal(panels[0].pixels, np.load(experiment / "data/train_images.npy")[row])
    for (outlined, _), wanted in zip(panels[0].outlines, (truth, mask), strict=True):
        assert np.array_equal(outlined, wanted)
    assert np.array_equal(panels[1].pixels > 0, truth) and np.array_equal(panels[3].pixels > 0, mask)
    assert np.array_equal(panels[2].pixels, together)
    place = list(folds["id"][folds["fold"] == fold]).index(folds["id"][row])
    for panel, model in zip(panels[4:], ("first", "second"), strict=True):
        assert np.array_equal(panel.pixels, np.load(experiment / f"models/{model}/fold{fold}/oof.npy")[place])


def test_a_test_tile_has_every_vote_and_no_truth(experiment: Path) -> None:
    panels = plot_tiles._panels(Experiment(experiment), "test", 3)
    votes = [f"{model} fold {fold}" for model in ("first", "second") for fold in range(3)]
    assert [panel.title.split(",")[0] for panel in panels] == ["seismic", "probability", "decision", *votes]
    for panel, name in zip(panels[3:], votes, strict=True):
        model, _, fold = name.split()
        assert np.array_equal(panel.pixels, np.load(experiment / f"models/{model}/fold{fold}/test.npy")[3])


def test_pictures_are_written_and_named(experiment: Path, tmp_path: Path) -> None:
    done = tgs_salt("plot-tiles", experiment, "t0007", "u0003", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "t0007.png"), str(tmp_path / "u0003.png")]
    # The first panel's middle is the tile's middle pixel, as gray as it is.
    picture = cv2.imread(str(tmp_path / "u0003.png"))
    gray = (picture == picture[..., :1]).all(axis=2)
    assert picture.shape[1] > 1000 and gray.mean() > 0.2


def test_before_anything_is_trained(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="not packed yet"):
        plot_tiles.plot_tiles(tmp_path / "new", ["t0007"], tmp_path)
    (tmp_path / "new/data").symlink_to(experiment / "data")
    panels = plot_tiles._panels(Experiment(tmp_path / "new"), "train", 7)
    assert [panel.title.split(",")[0] for panel in panels] == ["seismic", "truth"]


def test_no_such_tile(experiment: Path) -> None:
    said = refused(tgs_salt("plot-tiles", experiment, "t00007"))
    assert said == f"t00007: {experiment} has no such tile, did you mean t0007?"

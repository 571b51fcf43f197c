"""`compare` against scores computed tile by tile."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import tgs_salt
from helpers.experiments import make_experiment

from tgs_salt.errors import UserError
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.kernels import iou_score
from tgs_salt.report.compare import compare_experiments, diff_settings, pair_scores

FIXED = {"value": 120, "min_area": 5}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two experiments on one dataset with fixed thresholds; the second has a poor one and two of the folds."""
    folder = tmp_path_factory.mktemp("compare")
    make_experiment(folder / "first", threshold_settings=FIXED)
    make_experiment(folder / "second", threshold_settings={"value": 30, "min_area": 0}, selected=[0, 2])
    return folder / "first", folder / "second"


def test_paired_scores(two: tuple[Path, Path]) -> None:
    pair = pair_scores(*map(Experiment, two))
    rows = [int(tile[1:]) for tile in pair.ids]
    masks = np.load(two[0] / "data/train_masks.npy")[rows]
    fold = np.array([line.rsplit(",", 1)[1] for line in (two[0] / "folds.csv").read_text().split()[1:]])[rows]
    assert set(fold) == {"0", "2"} and len(rows) == 40
    for folder, threshold, min_area, scores in ((two[0], 120, 5, pair.first), (two[1], 30, 0, pair.second)):
        expected = iou_score.score_bytes(np.load(folder / "ensemble/oof.npy")[rows], masks, threshold, min_area)
        assert np.array_equal(scores, expected)


def test_printed_comparison(two: tuple[Path, Path]) -> None:
    first, second = two
    done = tgs_salt("compare", first, second, "--threads", 2)
    assert done.returncode == 0, done.stderr
    difference = pair_scores(Experiment(first), Experiment(second)).difference
    output = done.stdout
    assert f"difference  {difference.mean():+.4f}, 95 % interval over tiles" in output
    wins, losses, ties = (difference > 0).sum(), (difference < 0).sum(), (difference == 0).sum()
    assert f"{second} better on {wins}, {first} better on {losses}, equal on {ties}" in output
    assert f"{first} is better" in output and difference.mean() < 0
    assert "threshold.value" in output and "folds.selected" in output and "folds.n_splits" not in output


def test_experiment_against_itself(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare_experiments(two[0], two[0])
    output = capsys.readouterr().out
    assert "no setting differs" in output and "no significant difference" in output
    assert "better on 0" in output and "largest gains" not in output


def test_diff_settings_yields_dotted_keys() -> None:
    left = {"folds": {"selected": None, "n_splits": 5}, "models": {"a": {"epochs": 3}}}
    right = {"folds": {"selected": [0], "n_splits": 5}, "models": {"b": {"epochs": 3}}}
    assert dict(diff_settings(left, right)) == {
        "folds.selected": ("None", "[0]"),
        "models.a.epochs": ("3", "-"),
        "models.b.epochs": ("-", "3"),
    }


def test_experiments_that_cannot_be_compared(two: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(two[1], tmp_path / "copy")
    masks = np.load(copy / "data/train_masks.npy")
    np.save(copy / "data/train_masks.npy", np.roll(masks, 1, axis=0))
    with pytest.raises(
        UserError, match=r"^tile t\d+ has \d+ salt pixels in .* and \d+ in .*; compare .* on the same dataset\.$"
    ):
        compare_experiments(two[0], copy)
    (copy / "threshold.json").unlink()
    with pytest.raises(UserError, match=r"copy: no score yet; run the workflow to the end first \(snakemake\)\.$"):
        compare_experiments(two[0], copy)


def test_models_of_one_experiment(two: tuple[Path, Path], tmp_path: Path) -> None:
    """The threshold is fixed; there is no ensemble and no threshold.json."""
    experiment = shutil.copytree(two[0], tmp_path / "first", ignore=shutil.ignore_patterns("ensemble", "threshold.*"))
    done = tgs_salt("compare", experiment)
    assert done.returncode == 0, done.stderr
    masks = np.load(two[0] / "data/train_masks.npy")
    fold = np.array([line.rsplit(",", 1)[1] for line in (two[0] / "folds.csv").read_text().split()[1:]])
    scores = {model: np.empty(len(masks)) for model in ("first", "second")}
    for model, model_scores in scores.items():
        for k in "012":
            oof = np.load(two[0] / f"models/{model}/fold{k}/oof.npy")
            model_scores[fold == k] = iou_score.score_bytes(oof, masks[fold == k], FIXED["value"], FIXED["min_area"])
    difference = scores["second"] - scores["first"]
    row = next(line for line in done.stdout.splitlines() if " second " in line)
    cells = [cell.strip() for cell in row.strip("│|").split("│")]
    assert cells[:3] == ["second", f"{scores['second'].mean():.4f}", f"{difference.mean():+.4f}"]
    assert cells[4:] == [str((difference > 0).sum()), str((difference < 0).sum())]
    low, high = map(float, cells[3].split(" to "))
    assert low < difference.mean() < high


def test_single_model_is_an_error(tmp_path: Path) -> None:
    make_experiment(tmp_path / "single", models=["unet"], threshold_settings=FIXED)
    done = tgs_salt("compare", tmp_path / "single")
    assert done.returncode == 1
    assert (
        "unet is its only model with predictions of all folds; name a second experiment, or add models" in done.stderr
    )

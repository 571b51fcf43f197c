"""Two experiments side by side, against scores taken tile by tile."""

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
from tgs_salt.report.compare import compare, differences, paired

PAIR = {"value": 120, "min_area": 5}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same dataset, decided by fixed pairs: the other one by a poor one, and with one fold alone."""
    folder = tmp_path_factory.mktemp("compare")
    make_experiment(folder / "one", decide=PAIR)
    make_experiment(folder / "other", decide={"value": 30, "min_area": 0}, use=[0, 2])
    return folder / "one", folder / "other"


def test_paired_scores(two: tuple[Path, Path]) -> None:
    pair = paired(*map(Experiment, two))
    rows = [int(tile[1:]) for tile in pair.ids]
    truth = np.load(two[0] / "data/train_masks.npy")[rows]
    fold = np.array([line.rsplit(",", 1)[1] for line in (two[0] / "folds.csv").read_text().split()[1:]])[rows]
    assert set(fold) == {"0", "2"} and len(rows) == 40
    for folder, level, area, scores in ((two[0], 120, 5, pair.one), (two[1], 30, 0, pair.other)):
        wanted = iou_score.score_bytes(np.load(folder / "ensemble/oof.npy")[rows], truth, level, area)
        assert np.array_equal(scores, wanted)


def test_what_is_printed(two: tuple[Path, Path]) -> None:
    one, other = two
    done = tgs_salt("compare", one, other, "--threads", 2)
    assert done.returncode == 0, done.stderr
    pair = paired(Experiment(one), Experiment(other))
    gain = pair.gain
    lines = done.stdout
    assert f"difference  {gain.mean():+.4f}, 95 % interval over tiles" in lines
    assert f"{other} wins {(gain > 0).sum()}, {one} wins {(gain < 0).sum()}, {(gain == 0).sum()} are equal" in lines
    assert f"{one} is better" in lines and gain.mean() < 0
    assert "threshold.value" in lines and "folds.selected" in lines and "folds.n_splits" not in lines


def test_the_same_twice(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare(two[0], two[0])
    lines = capsys.readouterr().out
    assert "no setting differs" in lines and "these tiles cannot tell which is better" in lines
    assert "wins 0" in lines and "most won" not in lines


def test_differences_are_dotted() -> None:
    left = {"folds": {"selected": None, "n_splits": 5}, "models": {"a": {"epochs": 3}}}
    right = {"folds": {"selected": [0], "n_splits": 5}, "models": {"b": {"epochs": 3}}}
    assert dict(differences(left, right)) == {
        "folds.selected": ("None", "[0]"),
        "models.a.epochs": ("3", "-"),
        "models.b.epochs": ("-", "3"),
    }


def test_what_cannot_be_compared(two: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(two[1], tmp_path / "copy")
    masks = np.load(copy / "data/train_masks.npy")
    np.save(copy / "data/train_masks.npy", np.roll(masks, 1, axis=0))
    with pytest.raises(UserError, match=r"^tile t\d+ has other salt in .*; compare experiments on one dataset\.$"):
        compare(two[0], copy)
    (copy / "threshold.json").unlink()
    with pytest.raises(UserError, match=r"copy: no decision yet; run snakemake to the end first\.$"):
        compare(two[0], copy)


def test_the_models_of_one_experiment(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Against scores taken tile by tile, with a fixed pair, so that nothing is chosen; no test tile is predicted."""
    undecided = shutil.copytree(two[0], tmp_path / "one", ignore=shutil.ignore_patterns("ensemble", "threshold.*"))
    done = tgs_salt("compare", undecided)
    assert done.returncode == 0, done.stderr
    truth = np.load(two[0] / "data/train_masks.npy")
    fold = np.array([line.rsplit(",", 1)[1] for line in (two[0] / "folds.csv").read_text().split()[1:]])
    scores = {model: np.empty(len(truth)) for model in ("first", "second")}
    for model, own in scores.items():
        for k in "012":
            oof = np.load(two[0] / f"models/{model}/fold{k}/oof.npy")
            own[fold == k] = iou_score.score_bytes(oof, truth[fold == k], PAIR["value"], PAIR["min_area"])
    gain = scores["second"] - scores["first"]
    row = next(line for line in done.stdout.splitlines() if " second " in line)
    cells = [cell.strip() for cell in row.strip("│|").split("│")]
    assert cells[:3] == ["second", f"{scores['second'].mean():.4f}", f"{gain.mean():+.4f}"]
    assert cells[4:] == [str((gain > 0).sum()), str((gain < 0).sum())]
    low, high = map(float, cells[3].split(" to "))
    assert low < gain.mean() < high


def test_a_single_model_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    make_experiment(tmp_path / "lone", models=["unet"], decide=PAIR)
    done = tgs_salt("compare", tmp_path / "lone")
    assert done.returncode == 1
    assert "unet is its only model; name a second experiment, or train more models" in done.stderr

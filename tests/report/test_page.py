"""The page's numbers against plain numpy and pandas on the artefacts, and pages of what is not finished."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.experiments import FOLDS, make_experiment
from helpers.report_parser import Page
from scipy.stats import ks_2samp

from tgs_salt.errors import UserError
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import evaluate_oof, summarize_test
from tgs_salt.files import digest
from tgs_salt.provenance import rule_digest
from tgs_salt.report import notices, sections
from tgs_salt.report.page import page

SECTIONS = {"header", "score", "failures", "tiles", "threshold", "learning", "folds", "submission", "settings"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("report") / "salt")


@pytest.fixture(scope="module")
def found(experiment: Path) -> Page:
    return read(experiment)


@pytest.fixture
def copy(experiment: Path, tmp_path: Path) -> Path:
    return shutil.copytree(experiment, tmp_path / "salt")


def read(folder: Path) -> Page:
    page(folder, folder / "report.html")
    return Page(folder / "report.html")


def tenths(probabilities: np.ndarray, truth: np.ndarray, level: int, min_area: int) -> np.ndarray:
    """Scores by the words of the competition, in tenths."""
    scores = []
    for tile, salt in zip(probabilities >= level, truth, strict=True):
        mask = tile if tile.sum() >= min_area else np.zeros_like(tile)
        union = (mask | salt).sum()
        hits = sum((mask & salt).sum() * 20 > k * union for k in range(10, 20))
        scores.append(10 if union == 0 else hits)
    return np.array(scores)


def best_pair(probabilities: np.ndarray, truth: np.ndarray, levels: range, areas: range) -> tuple[int, int]:
    """Every pair, the smallest area of the best, then the lower middle of the longest run of levels."""
    sums = np.zeros((len(levels), len(areas)), int)
    salt = truth.reshape(len(truth), -1)
    for row, level in enumerate(levels):
        mask = (probabilities >= level).reshape(len(truth), -1)
        area, both = mask.sum(axis=1), (mask & salt).sum(axis=1)
        union = area + salt.sum(axis=1) - both
        found = np.where(union == 0, 10, sum((20 * both > k * union).astype(int) for k in range(10, 20)))
        empty = np.where(salt.any(axis=1), 0, 10)
        for column, smallest in enumerate(areas):
            sums[row, column] = np.where(area < smallest, empty, found).sum()
    column = int(np.argmax((sums == sums.max()).any(axis=0)))
    runs: list[list[int]] = []
    for row in np.flatnonzero(sums[:, column] == sums.max()):
        if runs and runs[-1][-1] == row - 1:
            runs[-1].append(int(row))
        else:
            runs.append([int(row)])
    longest = max(runs, key=len)
    return levels[longest[(len(longest) - 1) // 2]], areas[column]


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fold = pd.read_csv(folder / "folds.csv")["fold"].to_numpy()
    return np.load(folder / "ensemble/oof.npy"), np.load(folder / "data/train_masks.npy") > 0, fold


@pytest.fixture(scope="module")
def by_hand(experiment: Path) -> pd.DataFrame:
    """One row a tile: its score with the pair chosen on the other folds, and pixels of truth, decision and both."""
    oof, truth, fold = arrays(experiment)
    rows = []
    for own in range(FOLDS):
        others = fold != own
        level, area = best_pair(oof[others], truth[others], range(256), range(truth[0].size + 1))
        for tile in np.flatnonzero(fold == own):
            mask = oof[tile] >= level
            mask &= mask.sum() >= area
            score = tenths(oof[tile : tile + 1], truth[tile : tile + 1], level, area)[0] / 10
            rows.append((tile, score, truth[tile].sum(), mask.sum(), (mask & truth[tile]).sum()))
    table = pd.DataFrame(rows, columns=["row", "score", "salt", "area", "both"]).set_index("row").sort_index()
    return table.join(pd.read_csv(experiment / "folds.csv")[["id", "depth", "coverage_class", "fold"]])


def test_the_score_and_what_it_is_lost_on(found: Page, by_hand: pd.DataFrame) -> None:
    assert f"{by_hand['score'].mean():.4f} cross-fitted score" in found.text["score"]
    salt, predicted = by_hand["salt"] > 0, by_hand["area"] > 0
    for name, these in {
        "salt taken for empty": salt & ~predicted,
        "empty taken for salt": ~salt & predicted,
        "salt found, its outline off": salt & predicted,
        "empty found": ~salt & ~predicted,
    }.items():
        cost = (1 - by_hand["score"][these]).sum() / len(by_hand)
        assert found.row("failures", name) == [str(these.sum()), f"{cost:.4f}"]
    assert found.row("failures", "all") == [str(len(by_hand)), f"{1 - by_hand['score'].mean():.4f}"]
    for name, these in (("without", ~salt), ("with", salt)):
        wanted = f"The {these.sum()} tiles {name} salt score {by_hand['score'][these].mean():.4f}."
        assert wanted in found.text["failures"]


def test_scores_of_folds_are_those_of_the_table(experiment: Path, found: Page, by_hand: pd.DataFrame) -> None:
    oof, truth, fold = arrays(experiment)
    for own, mean in by_hand.groupby("fold")["score"].mean().items():
        half = tenths(oof[fold == own], truth[fold == own], 128, 0).mean() / 10
        assert found.row("score", "ensemble", str(own)) == [str((fold == own).sum()), f"{half:.4f}", f"{mean:.4f}"]


def test_optimism(experiment: Path, found: Page) -> None:
    oof, truth, fold = arrays(experiment)
    every, any_area, half = range(256), range(1), range(128, 129)
    for name, levels, areas in (
        ("nothing: 0.5, any area", half, any_area),
        ("the threshold, any area", every, any_area),
        ("the minimum area, at 0.5", half, range(truth[0].size + 1)),
    ):
        flattered = tenths(oof, truth, *best_pair(oof, truth, levels, areas)).mean() / 10
        fitted = 0
        for own in range(FOLDS):
            pair = best_pair(oof[fold != own], truth[fold != own], levels, areas)
            fitted += tenths(oof[fold == own], truth[fold == own], *pair).sum()
        honest = fitted / (10 * len(fold))
        assert found.row("score", name) == [f"{flattered:.4f}", f"{honest:.4f}", f"{flattered - honest:+.4f}"]


def test_the_interval_is_that_of_resampled_tiles(found: Page, by_hand: pd.DataFrame) -> None:
    shown = re.search(r"(0\.\d+)\W+(0\.\d+) 95 % interval", found.text["score"])
    assert shown
    rng = np.random.default_rng(1)
    means = rng.choice(by_hand["score"].to_numpy(), (20_000, len(by_hand))).mean(axis=1)
    assert [float(number) for number in shown.groups()] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_strata_and_calibration(experiment: Path, found: Page, by_hand: pd.DataFrame) -> None:
    edges = by_hand["depth"].quantile([0, 0.2, 0.4, 0.6, 0.8, 1]).to_numpy()
    stratum = pd.cut(by_hand["depth"], edges, right=False, labels=False).fillna(4)  # the deepest belong to the last one
    for k, score in by_hand.groupby(stratum)["score"].mean().items():
        assert f"{edges[int(k)]:.0f} to {edges[int(k) + 1]:.0f}: {score:.3f}" in found.source
    for k, score in by_hand.groupby("coverage_class")["score"].mean().items():
        assert f"{'none' if k == 0 else f'to {10 * k} %'}: {score:.3f}" in found.source
    oof, truth, _ = arrays(experiment)
    pixels = pd.DataFrame({"p": (oof.ravel() + 0.5) / 256, "salt": truth.ravel(), "bin": oof.ravel() // 16})
    bins = pixels.groupby("bin").agg(p=("p", "mean"), salt=("salt", "mean"), n=("p", "size"))
    error = ((bins["salt"] - bins["p"]).abs() * bins["n"]).sum() / len(pixels)
    assert f"calibration error of a pixel's probability: {error:.4f}" in found.text["failures"]


def test_folds_and_learning(experiment: Path, found: Page) -> None:
    folds = pd.read_csv(experiment / "folds.csv").merge(pd.read_csv(experiment / "data/tiles.csv"), on="id")
    for fold, own in folds.groupby("fold"):
        wanted = [
            str(len(own)), f"{100 * (own['coverage'] == 0).mean():.1f} %", f"{own['depth_x'].mean():.1f}",
            f"{ks_2samp(own['depth_x'], folds['depth_x']).statistic:.4f}",
            f"{ks_2samp(own['coverage'], folds['coverage']).statistic:.4f}",
        ]  # fmt: skip
        assert found.row("folds", str(fold)) == wanted
    scores = [pd.read_csv(path)["score"] for path in experiment.glob("models/*/fold*/history.csv")]
    rise = np.mean([score[7] - score[5] for score in scores])
    assert f"over the last quarter of the epochs (by {rise:.3f} on average)" in found.text["score"]
    assert found.row("learning", "second", "1") == ["trained", "8", "0:12 min", "40", "500 MB", "cpu"]


def test_threshold(experiment: Path, found: Page) -> None:
    oof, truth, _ = arrays(experiment)
    level, area = best_pair(oof, truth, range(256), range(truth[0].size + 1))
    text = found.text["threshold"]
    assert f"at least {level} (probability {level / 256:.2f}); a tile with fewer than {area} salt pixels" in text
    best = tenths(oof, truth, level, area).sum()

    def near(level: int, area: int) -> bool:
        return best - tenths(oof, truth, level, area).sum() <= 0.001 * 10 * len(oof)

    low, high = map(int, re.search(r"thresholds (\d+) to (\d+) are within", text).groups())  # type: ignore[union-attr]
    assert all(near(k, area) for k in range(low, high + 1)) and not near(low - 1, area) and not near(high + 1, area)
    low, high = map(int, re.search(r"areas (\d+) to (\d+)\.", text).groups())  # type: ignore[union-attr]
    assert (
        near(level, low) and near(level, high) and not near(level, high + 1) and (low == 0 or not near(level, low - 1))
    )


def test_submission(experiment: Path, found: Page, by_hand: pd.DataFrame) -> None:
    decision = json.loads((experiment / "threshold.json").read_text())
    masks = np.load(experiment / "ensemble/test.npy") >= decision["threshold"]
    masks[masks.sum(axis=(1, 2)) < decision["min_area"]] = False
    submitted = pd.read_csv(experiment / "submission.csv")
    assert (~masks.any(axis=(1, 2))).tolist() == submitted["rle_mask"].isna().tolist()
    coverage = {
        "train, truth": by_hand["salt"] / masks[0].size,
        "train, out of fold": by_hand["area"] / masks[0].size,
        "test, submitted": masks.mean(axis=(1, 2)),
    }
    for name, values in coverage.items():
        assert found.row("submission", name) == [f"{100 * (values == 0).mean():.1f} %", f"{100 * values.mean():.1f} %"]
    distance = ks_2samp(coverage["train, out of fold"], coverage["test, submitted"]).statistic
    assert f"out-of-fold and test tiles: {distance:.4f}" in found.text["submission"]
    assert f"20 rows, checked, {submitted['rle_mask'].isna().sum()} masks without salt" in found.text["submission"]
    assert "kaggle competitions submit -c salt -f" in found.text["submission"]


def test_tiles(experiment: Path, found: Page, by_hand: pd.DataFrame) -> None:
    worst, rest = found.text["tiles"].split("The median ")
    shown = re.findall(r"(t\d{4}) depth", worst)
    wrong = by_hand["area"] + by_hand["salt"] - 2 * by_hand["both"]
    order = by_hand.assign(wrong=-wrong).sort_values(["score", "wrong"], kind="stable")
    assert shown == list(order["id"][: len(shown)]) and len(shown) == 8
    salt = by_hand[by_hand["salt"] > 0]
    iou = salt["both"] / (salt["area"] + salt["salt"] - salt["both"])
    best = re.findall(r"(t\d{4}) depth", rest.split("The best ")[1])
    assert best == list(salt["id"][iou.sort_values(ascending=False, kind="stable").index][: len(best)])

    test = np.load(experiment / "ensemble/test.npy").astype(float)
    uncertainty = np.minimum(test + 0.5, 255.5 - test).mean(axis=(1, 2)) / 256
    unsure = re.findall(r"(u\d{4}) depth", rest.split("The most uncertain ")[1])
    assert unsure == [f"u{k:04d}" for k in np.argsort(-uncertainty, kind="stable")[: len(unsure)]] and unsure
    level = json.loads((experiment / "threshold.json").read_text())["threshold"]
    votes = np.stack([np.load(path) >= level for path in experiment.glob("models/*/fold*/test.npy")])
    disagreement = (votes.any(axis=0) & ~votes.all(axis=0)).mean(axis=(1, 2))
    least = re.findall(r"(u\d{4}) depth", rest.split("The most disputed ")[1].split("The most uncertain ")[0])
    assert least == [f"u{k:04d}" for k in np.argsort(-disagreement, kind="stable")[: len(least)]] and least


def test_the_same_files_give_the_same_page(experiment: Path, found: Page, tmp_path: Path) -> None:
    page(experiment, tmp_path / "again.html", threads=2)
    assert (tmp_path / "again.html").read_text() == found.source


def test_a_single_fold_is_parted(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "single", use=[1], models=["only"])
    decision = json.loads((folder / "threshold.json").read_text())
    found = read(folder)
    assert f"{decision['cross_fitted_score']:.4f} cross-fitted" in found.text["score"]
    assert "of each part were chosen on the others" in found.text["score"]
    assert "threshold.json says" not in found.text["header"]
    assert "Only 1 of 3 folds are trained" in found.text["score"]


def test_a_fixed_pair(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "fixed", decide={"value": 100, "min_area": 9})
    oof, truth, _ = arrays(folder)
    score = tenths(oof, truth, 100, 9).mean() / 10
    found = read(folder)
    assert f"{score:.4f} cross-fitted" in found.text["score"] and f"{score:.4f} in-sample" in found.text["score"]
    assert "at least 100 (probability 0.39); a tile with fewer than 9 salt pixels" in found.text["threshold"]


# What is taken away, and what its sections say instead.
GONE: list[tuple[tuple[str, ...], dict[str, str]]] = [
    (
        ("submission.csv", "scores.csv", "settings.json", "ensemble/weights.json", "models/first/fold1/timing.json"),
        {"submission": "There is no submission yet.", "settings": "The settings were not written down"},
    ),
    (
        ("ensemble/test.npy", "models/first/fold1/model.pt"),
        {
            "submission": "There is no submission yet.",
            "learning": "Not trained yet: first fold 1.",
            "score": "Finish first fold 1",
        },
    ),
    (("data/test_images.npy", "models/first/fold1/test.npy"), {"submission": "20 rows, checked"}),
    (
        ("ensemble/oof.npy",),
        {"score": "No score yet", "tiles": "no out-of-fold predictions", "threshold": "No threshold is chosen"},
    ),
    (
        ("threshold.json", "data/test_images.npy"),
        {"score": "No score yet", "failures": "before there is a decision", "submission": "no submission yet"},
    ),
    (("data/train_masks.npy", "folds.csv"), {"folds": "There are no folds yet.", "score": "No score yet"}),
    (("data", "models"), {"folds": "There are no folds yet.", "learning": "No fold has finished an epoch yet."}),
]


@pytest.mark.parametrize(("names", "sentences"), GONE, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_what_is_not_there_leaves_a_sentence(copy: Path, names: tuple[str, ...], sentences: dict[str, str]) -> None:
    for gone in (copy / name for name in names):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    left = read(copy)
    for section, sentence in sentences.items():
        assert sentence in left.text[section]
    assert set(left.text) == SECTIONS


def test_nothing_but_a_folder(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert "No score yet" in read(tmp_path / "new").text["score"]


def test_a_fold_in_training_is_on_the_curves(copy: Path) -> None:
    fold = copy / "models/second/fold2"
    (fold / "checkpoints").mkdir()
    (fold / "history.csv").rename(fold / "checkpoints/history.csv")
    (fold / "model.pt").unlink()
    found = read(copy)
    assert found.row("learning", "second", "2")[:2] == ["in training", "8"]
    assert "Not trained yet: second fold 2." in found.text["learning"]
    assert re.search(r'aria-label="Training loss over the epochs[^"]*second fold 2', found.source)


def test_the_receipt(copy: Path) -> None:
    sha256 = digest((copy / "submission.csv").read_bytes())
    receipt = {"sha256": sha256, "ref": "77", "status": "COMPLETE", "public_score": "0.81", "private_score": "0.83"}
    (copy / "submitted.json").write_text(json.dumps(receipt))
    text = read(copy).text["submission"]
    assert "Submission 77, complete: public score 0.81 , private score 0.83" in text
    assert "kaggle competitions submit" not in text and "another submission.csv" not in text
    (copy / "submitted.json").write_text(json.dumps({**receipt, "sha256": "other"}))
    assert not submission(copy)["receipt_fits"]


def submission(folder: Path) -> sections.Section:
    experiment = Experiment(folder)
    return sections.submission(experiment, evaluate_oof(experiment), summarize_test(experiment))


def told(folder: Path) -> str:
    experiment = Experiment(folder)
    return " ".join(notices.notices(experiment, evaluate_oof(experiment)))


def test_notices(copy: Path) -> None:
    said = told(copy)
    assert "All folds were trained on the CPU." in said
    assert "1 training and 0 test tiles are blank" in said
    assert "trained again" not in said and "flattered" not in said and "newer" not in said
    settings = json.loads((copy / "settings.json").read_text())
    settings["models"]["first"]["keep_weights"] = "best_score"
    settings["models"]["second"]["teacher"] = "stage"
    settings["models"]["stage"] = {"init_from": "first"}
    (copy / "settings.json").write_text(json.dumps(settings))
    later = (copy / "submission.csv").stat().st_mtime + 5
    os.utime(copy / "models/first/fold1/model.pt", (later, later))
    os.utime(copy / "threshold.json", (later - 1, later - 1))
    said = told(copy)
    assert "first fold 1 was trained again after its tiles were predicted" in said
    assert "first looked at the fold that it is scored on (keep_weights: best_score)" in said
    assert "second learnt from first, so its score is flattered as well" in said
    assert "The decision is newer than submission.csv" in said


def test_folds_that_older_code_has_trained_are_told_at_once(copy: Path) -> None:
    def stamp(code: str | None, *names: str) -> None:
        for name in names:
            path = copy / "models" / name / "timing.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **({"code": code} if code else {})}))

    now = rule_digest("train")
    stamp(now, "first/fold0", "first/fold2", "second/fold1", "second/fold2")
    # first/fold1 and second/fold0 do not say what trained them.
    assert "older code" not in told(copy)
    stamp("0123456789abcdef", "first/fold1")
    said = told(copy)
    assert "first fold 1 was trained by older code." in said
    assert f"snakemake --cores all -R {copy}/models/first/fold1/model.pt" in said
    stamp("0123456789abcdef", "second/fold1", "second/fold2")
    said = told(copy)
    assert said.count("older code") == 1
    assert "first fold 1; second folds 1, 2 were trained by older code." in said
    stamp("0123456789abcdef", *(f"{model}/fold{fold}" for model in ("first", "second") for fold in range(3)))
    assert told(copy).count("snakemake --cores all -R train") == 1
    (copy / "models/second/fold1/model.pt").unlink()
    assert "second folds 0, 2 were trained" in told(copy), "what is not there is of no age"


def test_files_of_two_runs_are_told(copy: Path) -> None:
    assert "threshold.json says" not in told(copy)
    np.save(copy / "ensemble/oof.npy", 255 - np.load(copy / "ensemble/oof.npy"))
    assert "threshold.json says" in told(copy)
    decision = json.loads((copy / "threshold.json").read_text())
    (copy / "threshold.json").write_text(json.dumps({**decision, "cross_fitted_weights": {"0": {"first": 1}}}))
    assert "votes were searched on these tiles too" in told(copy) and "threshold.json says" not in told(copy)


def test_a_submission_that_is_not_valid(copy: Path) -> None:
    lines = (copy / "submission.csv").read_text().splitlines()
    (copy / "submission.csv").write_text("\n".join([*lines[:-1], "u9999,1 1"]) + "\n")
    text = read(copy).text["submission"]
    assert "Not valid:" in text and "u9999" in text


def test_a_shift_of_the_test_tiles_is_flagged(copy: Path, found: Page) -> None:
    assert "within what chance" in found.text["submission"]
    np.save(copy / "ensemble/test.npy", np.full_like(np.load(copy / "ensemble/test.npy"), 255))
    text = read(copy).text["submission"]
    assert "more than chance and ensembling explain" in text
    assert "It is not what the present predictions and decision would give" in text


def test_a_damaged_file_is_named(copy: Path) -> None:
    (copy / "scores.csv").write_text("model,fold\n")
    for arguments, sentence in (
        ((copy,), r"scores\.csv: no column 'tiles'"),
        ((copy / "nowhere",), r"nowhere: no such folder; name an experiment's results"),
        ((copy, "{"), r"--settings: not JSON"),
    ):
        with pytest.raises(UserError, match=sentence):
            page(arguments[0], copy / "new.html", *arguments[1:])
    np.save(copy / "ensemble/oof.npy", np.load(copy / "ensemble/oof.npy")[1:])
    with pytest.raises(UserError, match=r"oof\.npy: expected uint8 60x24x24, found uint8 59x24x24"):
        page(copy, copy / "new.html")
    assert not (copy / "new.html").exists()

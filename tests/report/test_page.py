"""The report's numbers against numpy and pandas on the artifacts, and reports of unfinished experiments."""

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
from tgs_salt.report.page import write_report

SECTIONS = {"header", "score", "errors", "tiles", "threshold", "training", "folds", "submission", "settings"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("report") / "salt")


@pytest.fixture(scope="module")
def report(experiment: Path) -> Page:
    return read(experiment)


@pytest.fixture
def copy(experiment: Path, tmp_path: Path) -> Path:
    return shutil.copytree(experiment, tmp_path / "salt")


def read(folder: Path) -> Page:
    write_report(folder, folder / "report.html")
    return Page(folder / "report.html")


def tile_scores(probabilities: np.ndarray, masks: np.ndarray, threshold: int, min_area: int) -> np.ndarray:
    """Return the competition's score of each tile in tenths, by its definition."""
    scores = []
    for thresholded, true in zip(probabilities >= threshold, masks, strict=True):
        predicted = thresholded if thresholded.sum() >= min_area else np.zeros_like(thresholded)
        union = (predicted | true).sum()
        hits = sum((predicted & true).sum() * 20 > k * union for k in range(10, 20))
        scores.append(10 if union == 0 else hits)
    return np.array(scores)


def best_pair(probabilities: np.ndarray, masks: np.ndarray, thresholds: range, areas: range) -> tuple[int, int]:
    """Try every pair; ties: smallest area, then the lower middle of the longest run of thresholds."""
    sums = np.zeros((len(thresholds), len(areas)), int)
    true = masks.reshape(len(masks), -1)
    for row, threshold in enumerate(thresholds):
        predicted = (probabilities >= threshold).reshape(len(masks), -1)
        area, intersection = predicted.sum(axis=1), (predicted & true).sum(axis=1)
        union = area + true.sum(axis=1) - intersection
        scores = np.where(union == 0, 10, sum((20 * intersection > k * union).astype(int) for k in range(10, 20)))
        empty_scores = np.where(true.any(axis=1), 0, 10)
        for column, min_area in enumerate(areas):
            sums[row, column] = np.where(area < min_area, empty_scores, scores).sum()
    column = int(np.argmax((sums == sums.max()).any(axis=0)))
    runs: list[list[int]] = []
    for row in np.flatnonzero(sums[:, column] == sums.max()):
        if runs and runs[-1][-1] == row - 1:
            runs[-1].append(int(row))
        else:
            runs.append([int(row)])
    longest = max(runs, key=len)
    return thresholds[longest[(len(longest) - 1) // 2]], areas[column]


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return out-of-fold probabilities, true masks, and the fold of each tile."""
    fold = pd.read_csv(folder / "folds.csv")["fold"].to_numpy()
    return np.load(folder / "ensemble/oof.npy"), np.load(folder / "data/train_masks.npy") > 0, fold


@pytest.fixture(scope="module")
def reference(experiment: Path) -> pd.DataFrame:
    """Return a row per tile: its cross-fitted score, true and predicted area, and their intersection."""
    oof, masks, fold = arrays(experiment)
    rows = []
    for k in range(FOLDS):
        threshold, min_area = best_pair(oof[fold != k], masks[fold != k], range(256), range(masks[0].size + 1))
        for tile in np.flatnonzero(fold == k):
            predicted = oof[tile] >= threshold
            predicted &= predicted.sum() >= min_area
            score = tile_scores(oof[tile : tile + 1], masks[tile : tile + 1], threshold, min_area)[0] / 10
            rows.append((tile, score, masks[tile].sum(), predicted.sum(), (predicted & masks[tile]).sum()))
    table = (
        pd.DataFrame(rows, columns=["row", "score", "true_area", "predicted_area", "intersection"])
        .set_index("row")
        .sort_index()
    )
    return table.join(pd.read_csv(experiment / "folds.csv")[["id", "depth", "coverage_class", "fold"]])


def test_score_and_error_breakdown(report: Page, reference: pd.DataFrame) -> None:
    assert f"{reference['score'].mean():.4f} cross-fitted score" in report.text["score"]
    salt, predicted = reference["true_area"] > 0, reference["predicted_area"] > 0
    for name, selected in {
        "salt missed": salt & ~predicted,
        "false salt": ~salt & predicted,
        "salt found, outline inexact": salt & predicted,
        "empty tile found empty": ~salt & ~predicted,
    }.items():
        cost = (1 - reference["score"][selected]).sum() / len(reference)
        assert report.row("errors", name) == [str(selected.sum()), f"{cost:.4f}"]
    assert report.row("errors", "all") == [str(len(reference)), f"{1 - reference['score'].mean():.4f}"]
    for name, selected in (("without", ~salt), ("with", salt)):
        expected = f"{selected.sum()} tiles {name} salt: mean score {reference['score'][selected].mean():.4f}."
        assert expected in report.text["errors"]


def test_scores_of_folds(experiment: Path, report: Page, reference: pd.DataFrame) -> None:
    oof, masks, fold = arrays(experiment)
    for k, mean in reference.groupby("fold")["score"].mean().items():
        half = tile_scores(oof[fold == k], masks[fold == k], 128, 0).mean() / 10
        assert report.row("score", "ensemble", str(k)) == [str((fold == k).sum()), f"{half:.4f}", f"{mean:.4f}"]


def test_optimism(experiment: Path, report: Page) -> None:
    oof, masks, fold = arrays(experiment)
    all_thresholds, no_min_area, half = range(256), range(1), range(128, 129)
    for name, thresholds, areas in (
        ("nothing (0.5, no minimum area)", half, no_min_area),
        ("threshold", all_thresholds, no_min_area),
        ("minimum area (at 0.5)", half, range(masks[0].size + 1)),
    ):
        in_sample = tile_scores(oof, masks, *best_pair(oof, masks, thresholds, areas)).mean() / 10
        total = 0
        for k in range(FOLDS):
            pair = best_pair(oof[fold != k], masks[fold != k], thresholds, areas)
            total += tile_scores(oof[fold == k], masks[fold == k], *pair).sum()
        fitted = total / (10 * len(fold))
        assert report.row("score", name) == [f"{in_sample:.4f}", f"{fitted:.4f}", f"{in_sample - fitted:+.4f}"]


def test_interval_is_a_bootstrap_over_tiles(report: Page, reference: pd.DataFrame) -> None:
    match = re.search(r"(0\.\d+)\W+(0\.\d+) 95 % interval", report.text["score"])
    assert match
    rng = np.random.default_rng(1)
    means = rng.choice(reference["score"].to_numpy(), (20_000, len(reference))).mean(axis=1)
    assert [float(number) for number in match.groups()] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_groups_and_calibration(experiment: Path, report: Page, reference: pd.DataFrame) -> None:
    edges = reference["depth"].quantile([0, 0.2, 0.4, 0.6, 0.8, 1]).to_numpy()
    group = pd.cut(reference["depth"], edges, right=False, labels=False).fillna(4)  # the deepest tiles
    for k, score in reference.groupby(group)["score"].mean().items():
        assert f"{edges[int(k)]:.0f} to {edges[int(k) + 1]:.0f}: {score:.3f}" in report.source
    for k, score in reference.groupby("coverage_class")["score"].mean().items():
        assert f"{'none' if k == 0 else f'to {10 * k} %'}: {score:.3f}" in report.source
    oof, masks, _fold = arrays(experiment)
    pixels = pd.DataFrame({"p": (oof.ravel() + 0.5) / 256, "salt": masks.ravel(), "bin": oof.ravel() // 16})
    bins = pixels.groupby("bin").agg(p=("p", "mean"), salt=("salt", "mean"), n=("p", "size"))
    error = ((bins["salt"] - bins["p"]).abs() * bins["n"]).sum() / len(pixels)
    assert f"calibration error of pixel probabilities: {error:.4f}" in report.text["errors"]


def test_folds_and_training(experiment: Path, report: Page) -> None:
    folds = pd.read_csv(experiment / "folds.csv").merge(pd.read_csv(experiment / "data/tiles.csv"), on="id")
    for fold, tiles in folds.groupby("fold"):
        expected = [
            str(len(tiles)), f"{100 * (tiles['coverage'] == 0).mean():.1f} %", f"{tiles['depth_x'].mean():.1f}",
            f"{ks_2samp(tiles['depth_x'], folds['depth_x']).statistic:.4f}",
            f"{ks_2samp(tiles['coverage'], folds['coverage']).statistic:.4f}",
        ]  # fmt: skip
        assert report.row("folds", str(fold)) == expected
    scores = [pd.read_csv(path)["score"] for path in experiment.glob("models/*/fold*/history.csv")]
    rise = np.mean([score[7] - score[5] for score in scores])
    assert f"over the last quarter of the epochs (by {rise:.3f} on average)" in report.text["score"]
    assert report.row("training", "second", "1") == ["trained", "8", "0:12 min", "40", "500 MB", "cpu"]


def test_threshold(experiment: Path, report: Page) -> None:
    oof, masks, _fold = arrays(experiment)
    threshold, min_area = best_pair(oof, masks, range(256), range(masks[0].size + 1))
    text = report.text["threshold"]
    assert f"at least {threshold} (probability {threshold / 256:.2f})" in text
    assert f"a tile with fewer than {min_area} salt pixels" in text
    best = tile_scores(oof, masks, threshold, min_area).sum()

    def near(threshold: int, min_area: int) -> bool:
        return best - tile_scores(oof, masks, threshold, min_area).sum() <= 0.001 * 10 * len(oof)

    low, high = map(int, re.search(r"thresholds (\d+) to (\d+) are within", text).groups())  # type: ignore[union-attr]
    assert all(near(k, min_area) for k in range(low, high + 1))
    assert not near(low - 1, min_area) and not near(high + 1, min_area)
    low, high = map(int, re.search(r"areas (\d+) to (\d+)\.", text).groups())  # type: ignore[union-attr]
    assert near(threshold, low) and near(threshold, high)
    assert not near(threshold, high + 1) and (low == 0 or not near(threshold, low - 1))


def test_submission(experiment: Path, report: Page, reference: pd.DataFrame) -> None:
    decision = json.loads((experiment / "threshold.json").read_text())
    masks = np.load(experiment / "ensemble/test.npy") >= decision["threshold"]
    masks[masks.sum(axis=(1, 2)) < decision["min_area"]] = False
    submitted = pd.read_csv(experiment / "submission.csv")
    assert (~masks.any(axis=(1, 2))).tolist() == submitted["rle_mask"].isna().tolist()
    coverage = {
        "train, true": reference["true_area"] / masks[0].size,
        "train, out-of-fold": reference["predicted_area"] / masks[0].size,
        "test, predicted": masks.mean(axis=(1, 2)),
    }
    for name, values in coverage.items():
        assert report.row("submission", name) == [f"{100 * (values == 0).mean():.1f} %", f"{100 * values.mean():.1f} %"]
    distance = ks_2samp(coverage["train, out-of-fold"], coverage["test, predicted"]).statistic
    assert f"out-of-fold and test tiles: {distance:.4f}" in report.text["submission"]
    assert f"20 rows, valid, {submitted['rle_mask'].isna().sum()} empty masks" in report.text["submission"]
    assert "kaggle competitions submit -c salt -f" in report.text["submission"]


def test_tiles(experiment: Path, report: Page, reference: pd.DataFrame) -> None:
    worst, rest = report.text["tiles"].split("Median IoU ")
    worst_ids = re.findall(r"(t\d{4}) depth", worst)
    wrong = reference["predicted_area"] + reference["true_area"] - 2 * reference["intersection"]
    order = reference.assign(wrong=-wrong).sort_values(["score", "wrong"], kind="stable")
    assert worst_ids == list(order["id"][: len(worst_ids)]) and len(worst_ids) == 8
    salt = reference[reference["true_area"] > 0]
    iou = salt["intersection"] / (salt["predicted_area"] + salt["true_area"] - salt["intersection"])
    best = re.findall(r"(t\d{4}) depth", rest.split("Highest IoU ")[1])
    assert best == list(salt["id"][iou.sort_values(ascending=False, kind="stable").index][: len(best)])

    test = np.load(experiment / "ensemble/test.npy").astype(float)
    uncertainty = np.minimum(test + 0.5, 255.5 - test).mean(axis=(1, 2)) / 256
    uncertain = re.findall(r"(u\d{4}) depth", rest.split("Highest uncertainty ")[1])
    assert uncertain == [f"u{k:04d}" for k in np.argsort(-uncertainty, kind="stable")[: len(uncertain)]] and uncertain
    threshold = json.loads((experiment / "threshold.json").read_text())["threshold"]
    masks = np.stack([np.load(path) >= threshold for path in experiment.glob("models/*/fold*/test.npy")])
    disagreement = (masks.any(axis=0) & ~masks.all(axis=0)).mean(axis=(1, 2))
    disputed = re.findall(r"(u\d{4}) depth", rest.split("Highest disagreement ")[1].split("Highest uncertainty ")[0])
    assert disputed == [f"u{k:04d}" for k in np.argsort(-disagreement, kind="stable")[: len(disputed)]] and disputed


def test_report_is_deterministic(experiment: Path, report: Page, tmp_path: Path) -> None:
    write_report(experiment, tmp_path / "again.html", threads=2)
    assert (tmp_path / "again.html").read_text() == report.source


def test_single_fold_is_split(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "single", selected=[1], models=["only"])
    decision = json.loads((folder / "threshold.json").read_text())
    report = read(folder)
    assert f"{decision['cross_fitted_score']:.4f} cross-fitted" in report.text["score"]
    assert "of each split were chosen on the others" in report.text["score"]
    assert "threshold.json has" not in report.text["header"]
    assert "Only 1 of 3 folds are trained" in report.text["score"]


def test_fixed_threshold(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "fixed", threshold_settings={"value": 100, "min_area": 9})
    oof, masks, _fold = arrays(folder)
    score = tile_scores(oof, masks, 100, 9).mean() / 10
    report = read(folder)
    assert f"{score:.4f} cross-fitted" in report.text["score"] and f"{score:.4f} in-sample" in report.text["score"]
    assert "at least 100 (probability 0.39); a tile with fewer than 9 salt pixels" in report.text["threshold"]


# Files to delete, and the text of their sections without them.
DELETED: list[tuple[tuple[str, ...], dict[str, str]]] = [
    (
        ("submission.csv", "scores.csv", "settings.json", "ensemble/weights.json", "models/first/fold1/timing.json"),
        {"submission": "No submission yet.", "settings": "settings.json is missing"},
    ),
    (
        ("ensemble/test.npy", "models/first/fold1/model.pt"),
        {
            "submission": "No submission yet.",
            "training": "Not trained yet: first fold 1.",
            "score": "Finish first fold 1",
        },
    ),
    (("data/test_images.npy", "models/first/fold1/test.npy"), {"submission": "20 rows, valid"}),
    (
        ("ensemble/oof.npy",),
        {"score": "No score yet", "tiles": "No out-of-fold predictions", "threshold": "No threshold yet."},
    ),
    (
        ("threshold.json", "data/test_images.npy"),
        {"score": "No score yet", "errors": "No error analysis yet", "submission": "No submission yet"},
    ),
    (("data/train_masks.npy", "folds.csv"), {"folds": "No folds yet.", "score": "No score yet"}),
    (("data", "models"), {"folds": "No folds yet.", "training": "No epoch has finished yet."}),
]


@pytest.mark.parametrize(("names", "messages"), DELETED, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_section_without_its_files_has_a_message(copy: Path, names: tuple[str, ...], messages: dict[str, str]) -> None:
    for path in (copy / name for name in names):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = read(copy)
    for section, message in messages.items():
        assert message in report.text[section]
    assert set(report.text) == SECTIONS


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert "No score yet" in read(tmp_path / "new").text["score"]


def test_curves_include_running_trainings(copy: Path) -> None:
    fold = copy / "models/second/fold2"
    (fold / "checkpoints").mkdir()
    (fold / "history.csv").rename(fold / "checkpoints/history.csv")
    (fold / "model.pt").unlink()
    report = read(copy)
    assert report.row("training", "second", "2")[:2] == ["started", "8"]
    assert "Not trained yet: second fold 2." in report.text["training"]
    assert re.search(r'aria-label="Training loss by epoch[^"]*second fold 2', report.source)


def test_receipt(copy: Path) -> None:
    sha256 = digest((copy / "submission.csv").read_bytes())
    receipt = {"sha256": sha256, "ref": "77", "status": "COMPLETE", "public_score": "0.81", "private_score": "0.83"}
    (copy / "submitted.json").write_text(json.dumps(receipt))
    text = read(copy).text["submission"]
    assert "Submission 77, complete: public score 0.81 , private score 0.83" in text
    assert "kaggle competitions submit" not in text and "different submission.csv" not in text
    (copy / "submitted.json").write_text(json.dumps({**receipt, "sha256": "other"}))
    assert not submission(copy)["receipt_fits"]


def submission(folder: Path) -> sections.Section:
    experiment = Experiment(folder)
    return sections.submission(experiment, evaluate_oof(experiment), summarize_test(experiment))


def notices_text(folder: Path) -> str:
    experiment = Experiment(folder)
    return " ".join(notices.notices(experiment, evaluate_oof(experiment)))


def test_notices(copy: Path) -> None:
    text = notices_text(copy)
    assert "All folds were trained on the CPU." in text
    assert "1 training and 0 test tiles are blank" in text
    assert "retrained" not in text and "optimistic" not in text and "newer" not in text
    settings = json.loads((copy / "settings.json").read_text())
    settings["models"]["first"]["keep_weights"] = "best_score"
    settings["models"]["second"]["teacher"] = "stage"
    settings["models"]["stage"] = {"init_from": "first"}
    (copy / "settings.json").write_text(json.dumps(settings))
    newer = (copy / "submission.csv").stat().st_mtime + 5
    os.utime(copy / "models/first/fold1/model.pt", (newer, newer))
    os.utime(copy / "threshold.json", (newer - 1, newer - 1))
    text = notices_text(copy)
    assert "first fold 1 was retrained after its predictions were written" in text
    assert "first uses its held-out fold during training (keep_weights: best_score)" in text
    assert "second was trained from first: its score is optimistic, too" in text
    assert "threshold.json is newer than submission.csv" in text


def test_folds_trained_by_an_older_version_are_in_one_notice(copy: Path) -> None:
    def set_code(code: str, *names: str) -> None:
        for name in names:
            path = copy / "models" / name / "timing.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "code": code}))

    now = rule_digest("train")
    set_code(now, "first/fold0", "first/fold2", "second/fold1", "second/fold2")
    # first/fold1 and second/fold0 have no recorded digest.
    assert "older version" not in notices_text(copy)
    set_code("0123456789abcdef", "first/fold1")
    text = notices_text(copy)
    assert "first fold 1 was trained by an older version." in text
    assert f"snakemake --cores all -R {copy}/models/first/fold1/model.pt" in text
    set_code("0123456789abcdef", "second/fold1", "second/fold2")
    text = notices_text(copy)
    assert text.count("older version") == 1
    assert "first fold 1; second folds 1, 2 were trained by an older version." in text
    set_code("0123456789abcdef", *(f"{model}/fold{fold}" for model in ("first", "second") for fold in range(3)))
    assert notices_text(copy).count("snakemake --cores all -R train") == 1
    (copy / "models/second/fold1/model.pt").unlink()
    assert "second folds 0, 2 were trained" in notices_text(copy)


def test_files_of_two_runs_give_a_notice(copy: Path) -> None:
    assert "threshold.json has" not in notices_text(copy)
    np.save(copy / "ensemble/oof.npy", 255 - np.load(copy / "ensemble/oof.npy"))
    assert "threshold.json has" in notices_text(copy)
    decision = json.loads((copy / "threshold.json").read_text())
    (copy / "threshold.json").write_text(json.dumps({**decision, "cross_fitted_weights": {"0": {"first": 1}}}))
    assert "ensemble weights, which were searched on the same tiles" in notices_text(
        copy
    ) and "threshold.json has" not in notices_text(copy)


def test_invalid_submission(copy: Path) -> None:
    lines = (copy / "submission.csv").read_text().splitlines()
    (copy / "submission.csv").write_text("\n".join([*lines[:-1], "u9999,1 1"]) + "\n")
    text = read(copy).text["submission"]
    assert "Not valid:" in text and "u9999" in text


def test_shifted_test_tiles_are_flagged(copy: Path, report: Page) -> None:
    assert "within the range that chance" in report.text["submission"]
    np.save(copy / "ensemble/test.npy", np.full_like(np.load(copy / "ensemble/test.npy"), 255))
    text = read(copy).text["submission"]
    assert "larger than chance and ensembling explain" in text
    assert "It does not match the current predictions and threshold" in text


def test_damaged_file_is_an_error_with_its_name(copy: Path) -> None:
    (copy / "scores.csv").write_text("model,fold\n")
    for arguments, message in (
        ((copy,), r"scores\.csv: no column 'tiles'"),
        ((copy / "nowhere",), r"nowhere: no such folder; name an experiment's results"),
        ((copy, "{"), r"--settings: not JSON"),
    ):
        with pytest.raises(UserError, match=message):
            write_report(arguments[0], copy / "new.html", *arguments[1:])
    np.save(copy / "ensemble/oof.npy", np.load(copy / "ensemble/oof.npy")[1:])
    with pytest.raises(UserError, match=r"oof\.npy: expected uint8 60x24x24, found uint8 59x24x24"):
        write_report(copy, copy / "new.html")
    assert not (copy / "new.html").exists()

"""Evaluate tiles one by one: out-of-fold tiles against their masks, and test tiles as they are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgs_salt import files
from tgs_salt.data.folds import assign_folds
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.kernels import iou_score, threshold_table
from tgs_salt.postprocessing.threshold_search import IntOrSearch, ThresholdChoice, choose_threshold, cross_fit

INNER_SPLITS = 5  # default of threshold.inner_splits, if the experiment has no settings


@dataclass(frozen=True)
class OutOfFoldEvaluation:
    """Results of n out-of-fold tiles, each with the pair (threshold, min_area) chosen on the other splits."""

    rows: np.ndarray  # (n,) int64, indices into the arrays of the dataset
    split_of: np.ndarray  # (n,) int64, the fold of a tile, or its inner split if there is a single fold
    split_kind: str  # "folds" or "inner_splits"
    scores: np.ndarray  # (n,) float64, 0..1
    threshold: np.ndarray  # (n,) uint8
    min_area: np.ndarray  # (n,) int64
    true_area: np.ndarray  # (n,) int64, salt pixels of the mask
    predicted_area: np.ndarray  # (n,) int64, salt pixels of the prediction
    intersection: np.ndarray  # (n,) int64, salt pixels of both
    counts: np.ndarray  # (n, 2, 256) uint32, see kernels.threshold_table.histograms
    table: np.ndarray  # (256, h * w + 1) int64, see kernels.threshold_table.score_table
    choice: ThresholdChoice  # chosen on all tiles

    @property
    def iou(self) -> np.ndarray:
        """Return the intersection over union, (n,) float64; 1 if both masks are empty."""
        union = self.predicted_area + self.true_area - self.intersection
        return np.where(union == 0, 1.0, self.intersection / np.maximum(union, 1))

    @property
    def wrong_pixels(self) -> np.ndarray:
        """Return the number of pixels that are salt in exactly one of the two masks, (n,) int64."""
        return self.predicted_area + self.true_area - 2 * self.intersection


def evaluate_oof(experiment: Experiment, threads: int = 1) -> OutOfFoldEvaluation | None:
    """Evaluate the out-of-fold tiles of the ensemble; return None before the threshold is chosen."""
    oof, folds, decision = experiment.array(experiment.paths.ensemble("oof")), experiment.folds, experiment.decision
    if oof is None or folds is None or decision is None or experiment.array(experiment.paths.train_masks) is None:
        return None
    rows = np.flatnonzero(np.isin(folds["fold"], decision["folds"]))
    return evaluate_predictions(experiment, decision["folds"], np.asarray(oof[rows]), threads)


def evaluate_predictions(
    experiment: Experiment, selected_folds: list[int], probabilities: np.ndarray, threads: int = 1
) -> OutOfFoldEvaluation:
    """Evaluate out-of-fold predictions with the experiment's `threshold` settings.

    Args:
        experiment: Must have masks and folds; a chosen threshold is not needed.
        selected_folds: Folds of the predictions.
        probabilities: Probability bytes, (n, h, w) uint8, of all tiles of these folds in the order of the dataset.
        threads: Number of threads.
    """
    train_masks, folds = experiment.array(experiment.paths.train_masks), experiment.folds
    assert train_masks is not None and folds is not None
    rows = np.flatnonzero(np.isin(folds["fold"], selected_folds))
    masks = np.asarray(train_masks[rows]).view(bool)
    split_kind = "folds" if len(selected_folds) > 1 else "inner_splits"
    settings = experiment.settings.get("threshold", {})
    if split_kind == "folds":
        split_of = folds["fold"].to_numpy()[rows]
    else:
        seed = experiment.settings.get("folds", {}).get("seed", 0)
        split_of = assign_folds(folds.iloc[rows], settings.get("inner_splits", INNER_SPLITS), seed)
    fixed = settings.get("value", "search"), settings.get("min_area", "search")
    return _evaluate(rows, probabilities, masks, split_of, split_kind, fixed, threads)


def _evaluate(
    rows: np.ndarray, probabilities: np.ndarray, masks: np.ndarray, split_of: np.ndarray, split_kind: str,
    fixed: tuple[IntOrSearch, IntOrSearch], threads: int,
) -> OutOfFoldEvaluation:  # fmt: skip
    counts = threshold_table.histograms(probabilities, masks, threads)
    table = threshold_table.score_table(counts, threads=threads)
    scores = np.empty(len(rows))
    threshold, min_area = np.empty(len(rows), np.uint8), np.empty(len(rows), np.int64)
    for split in np.unique(split_of):
        inside = split_of == split
        others = table - threshold_table.score_table(counts, inside, threads)
        pair = choose_threshold(others, int((~inside).sum()), *fixed)
        scores[inside] = iou_score.score_bytes(
            probabilities[inside], masks[inside], pair.threshold, pair.min_area, threads
        )
        threshold[inside], min_area[inside] = pair.threshold, pair.min_area
    # Pixels at or above each byte: cumulative sums from the highest byte down.
    at_or_above = counts[:, :, ::-1].cumsum(axis=2, dtype=np.int64)[:, :, ::-1]
    false_positives, intersection = at_or_above[np.arange(len(rows)), :, threshold].T
    predicted_area = false_positives + intersection
    large_enough = predicted_area >= min_area
    return OutOfFoldEvaluation(
        rows=rows, split_of=split_of, split_kind=split_kind, scores=scores, threshold=threshold, min_area=min_area,
        true_area=at_or_above[:, 1, 0], predicted_area=np.where(large_enough, predicted_area, 0),
        intersection=np.where(large_enough, intersection, 0),
        counts=counts, table=table, choice=choose_threshold(table, len(rows), *fixed),
    )  # fmt: skip


@dataclass(frozen=True)
class Optimism:
    """Mean scores of one kind of choice: on the tiles that it was made on, and cross-fitted."""

    name: str
    in_sample: float
    cross_fitted: float


def optimism(experiment: Experiment, evaluation: OutOfFoldEvaluation, threads: int = 1) -> list[Optimism]:
    """Return the scores without any choice (probability 0.5, no minimum area), of single choices, and of the pair."""
    oof, train_masks = (
        experiment.array(experiment.paths.ensemble("oof")),
        experiment.array(experiment.paths.train_masks),
    )
    assert oof is not None and train_masks is not None
    probabilities, masks = np.asarray(oof[evaluation.rows]), np.asarray(train_masks[evaluation.rows]).view(bool)
    choices: list[tuple[str, IntOrSearch, IntOrSearch]] = [
        ("nothing (0.5, no minimum area)", iou_score.BYTE_HALF, 0),
        ("threshold", "search", 0),
        ("minimum area (at 0.5)", iou_score.BYTE_HALF, "search"),
        ("both", "search", "search"),
    ]
    rows = []
    for name, threshold, min_area in choices:
        choice, cross_fitted, _ = cross_fit(probabilities, masks, evaluation.split_of, threshold, min_area, threads)
        rows.append(Optimism(name, choice.score, cross_fitted.score))
    return rows


@dataclass(frozen=True)
class TestSummary:
    """Predictions of n test tiles, summarized by tile."""

    predicted_area: np.ndarray  # (n,) int64, salt pixels of the submission
    uncertainty: np.ndarray  # (n,) float64, mean over pixels of min(p, 1 - p)
    disagreement: np.ndarray | None  # (n,) float64, share of pixels on which the models and folds disagree


def summarize_test(experiment: Experiment, chunk: int = 1024) -> TestSummary | None:
    """Summarize the predictions of the test tiles, reading `chunk` tiles at a time; return None without predictions.

    Memory maps are reopened for each chunk: the pages of an open map count as memory of this process.
    """
    ensemble_test, decision = experiment.array(experiment.paths.ensemble("test")), experiment.decision
    if ensemble_test is None or decision is None:
        return None
    count, threshold = len(ensemble_test), decision["threshold"]
    predicted_area, uncertainty, disagreement = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    paths = [run.predictions("test") for run in experiment.ensemble_runs]
    has_disagreement = len(paths) > 1 and all(path.exists() for path in paths)
    uncertainty_of_byte = np.minimum(np.arange(256) + 0.5, 255.5 - np.arange(256)) / 256
    for first in range(0, count, chunk):
        rows = slice(first, first + chunk)
        mean = np.array(files.read_array(experiment.paths.ensemble("test"))[rows])
        pixels = mean.reshape(len(mean), -1)
        predicted_area[rows] = np.count_nonzero(pixels >= threshold, axis=1)
        uncertainty[rows] = uncertainty_of_byte.take(pixels).mean(axis=1)
        if has_disagreement:
            any_salt, all_salt = np.zeros(mean.shape, bool), np.ones(mean.shape, bool)
            for path in paths:
                salt = files.read_array(path, ensemble_test.shape)[rows] >= threshold
                any_salt |= salt
                all_salt &= salt
            disagreement[rows] = (any_salt & ~all_salt).reshape(len(mean), -1).mean(axis=1)
    predicted_area[predicted_area < decision["min_area"]] = 0
    return TestSummary(predicted_area, uncertainty, disagreement if has_disagreement else None)

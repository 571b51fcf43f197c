"""The tiles one by one: out-of-fold tiles under the score, test tiles as they are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgs_salt import files
from tgs_salt.data.folds import assign
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.kernels import iou_score, threshold_table
from tgs_salt.postprocessing.threshold_search import Fixed, ThresholdChoice, choose, cross_fit

PARTS = 5  # threshold.inner_splits, where no settings say otherwise


@dataclass(frozen=True)
class OutOfFoldEvaluation:
    """Out-of-fold tiles, each under the pair (level, min_area) that was chosen without its fold. n tiles."""

    rows: np.ndarray  # (n,) int64, in the arrays of the dataset
    part: np.ndarray  # (n,) int64, the fold of a tile, or its part where there is one fold alone
    over: str  # folds or parts
    scores: np.ndarray  # (n,) float64, 0..1
    level: np.ndarray  # (n,) uint8
    min_area: np.ndarray  # (n,) int64
    salt: np.ndarray  # (n,) int64, true salt pixels
    area: np.ndarray  # (n,) int64, predicted salt pixels
    both: np.ndarray  # (n,) int64, pixels of both
    counts: np.ndarray  # (n, 2, 256) uint32, see kernels.histogram
    table: np.ndarray  # (256, h * w + 1) int64, see kernels.histogram
    choice: ThresholdChoice  # on all tiles

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union, (n,) float64; two empty masks have 1."""
        union = self.area + self.salt - self.both
        return np.where(union == 0, 1.0, self.both / np.maximum(union, 1))

    @property
    def wrong(self) -> np.ndarray:
        """Pixels of one mask alone, (n,) int64."""
        return self.area + self.salt - 2 * self.both


def evaluate_oof(experiment: Experiment, threads: int = 1) -> OutOfFoldEvaluation | None:
    """Score the ensemble's out-of-fold tiles one by one; None while there is no decision."""
    oof, folds, decision = experiment.array("ensemble/oof.npy"), experiment.folds, experiment.decision
    if oof is None or folds is None or decision is None or experiment.array("data/train_masks.npy") is None:
        return None
    rows = np.flatnonzero(np.isin(folds["fold"], decision["folds"]))
    return evaluate_predictions(experiment, decision["folds"], np.asarray(oof[rows]), threads)


def evaluate_predictions(
    experiment: Experiment, used: list[int], probabilities: np.ndarray, threads: int = 1
) -> OutOfFoldEvaluation:
    """Score (n, h, w) uint8 `probabilities` of the n tiles of the folds `used`, in the order of the dataset's arrays.

    By the rule by which this experiment decides, whether it has or not; its masks and folds have to be there.
    """
    masks, folds = experiment.array("data/train_masks.npy"), experiment.folds
    assert masks is not None and folds is not None
    rows = np.flatnonzero(np.isin(folds["fold"], used))
    truth = np.asarray(masks[rows]).view(bool)
    over = "folds" if len(used) > 1 else "parts"
    settings = experiment.settings.get("threshold", {})
    if over == "folds":
        part = folds["fold"].to_numpy()[rows]
    else:
        seed = experiment.settings.get("folds", {}).get("seed", 0)
        part = assign(folds.iloc[rows], settings.get("inner_splits", PARTS), seed)
    counts = threshold_table.histograms(probabilities, truth, threads)
    fixed = settings.get("value", "search"), settings.get("min_area", "search")
    return _judged(rows, probabilities, truth, part, over, counts, fixed, threads)


def _judged(
    rows: np.ndarray, probabilities: np.ndarray, truth: np.ndarray, part: np.ndarray, over: str, counts: np.ndarray,
    fixed: tuple[Fixed, Fixed], threads: int,
) -> OutOfFoldEvaluation:  # fmt: skip
    table = threshold_table.score_table(counts, threads=threads)
    scores = np.empty(len(rows))
    level, min_area = np.empty(len(rows), np.uint8), np.empty(len(rows), np.int64)
    for name in np.unique(part):
        own = part == name
        others = table - threshold_table.score_table(counts, own, threads)
        picked = choose(others, int((~own).sum()), *fixed)
        scores[own] = iou_score.score_bytes(probabilities[own], truth[own], picked.threshold, picked.min_area, threads)
        level[own], min_area[own] = picked.threshold, picked.min_area
    reaching = counts[:, :, ::-1].cumsum(axis=2, dtype=np.int64)[:, :, ::-1]  # pixels from each byte on
    outside, both = reaching[np.arange(len(rows)), :, level].T
    kept = outside + both >= min_area
    return OutOfFoldEvaluation(
        rows=rows, part=part, over=over, scores=scores, level=level, min_area=min_area,
        salt=reaching[:, 1, 0], area=np.where(kept, outside + both, 0), both=np.where(kept, both, 0),
        counts=counts, table=table, choice=choose(table, len(rows), *fixed),
    )  # fmt: skip


@dataclass(frozen=True)
class Optimism:
    """What a choice is worth on the tiles that it was made on, and on others."""

    what: str
    in_sample: float
    cross_fitted: float


def optimism(experiment: Experiment, evaluation: OutOfFoldEvaluation, threads: int = 1) -> list[Optimism]:
    """From no choice at all (probability 0.5, any area) to the pair, one choice more in each row."""
    oof, masks = experiment.array("ensemble/oof.npy"), experiment.array("data/train_masks.npy")
    assert oof is not None and masks is not None
    probabilities, truth = np.asarray(oof[evaluation.rows]), np.asarray(masks[evaluation.rows]).view(bool)
    choices: list[tuple[str, Fixed, Fixed]] = [
        ("0.5, any area", iou_score.BYTE_HALF, 0),
        ("the threshold, any area", "search", 0),
        ("the minimum area, at 0.5", iou_score.BYTE_HALF, "search"),
        ("both", "search", "search"),
    ]
    rows = []
    for what, level, min_area in choices:
        choice, fitted, _ = cross_fit(probabilities, truth, evaluation.part, level, min_area, threads)
        rows.append(Optimism(what, choice.score, fitted.score))
    return rows


@dataclass(frozen=True)
class TestSummary:
    """What is said of n test tiles."""

    area: np.ndarray  # (n,) int64, salt pixels of the submission
    uncertainty: np.ndarray  # (n,) float64, mean over pixels of min(p, 1 - p)
    disagreement: np.ndarray | None  # (n,) float64, share of pixels on which not all models and folds agree


def summarize_test(experiment: Experiment, chunk: int = 1024) -> TestSummary | None:
    """Read all predictions of the test tiles once, a chunk at a time; None where there are none.

    Maps are opened anew for each chunk: pages of a map that stays open count as this process's memory.
    """
    together, decision = experiment.array("ensemble/test.npy"), experiment.decision
    if together is None or decision is None:
        return None
    count, level = len(together), decision["threshold"]
    area, uncertainty, disagreement = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    paths = [training.predictions("test") for training in experiment.voters]
    several = len(paths) > 1 and all(path.exists() for path in paths)
    doubts = np.minimum(np.arange(256) + 0.5, 255.5 - np.arange(256)) / 256
    for first in range(0, count, chunk):
        part = slice(first, first + chunk)
        mean = np.array(files.read_array(experiment.folder / "ensemble/test.npy")[part])
        pixels = mean.reshape(len(mean), -1)
        area[part] = np.count_nonzero(pixels >= level, axis=1)
        uncertainty[part] = doubts.take(pixels).mean(axis=1)
        if several:
            any_salt, all_salt = np.zeros(mean.shape, bool), np.ones(mean.shape, bool)
            for path in paths:
                salt = files.read_array(path, together.shape)[part] >= level
                any_salt |= salt
                all_salt &= salt
            disagreement[part] = (any_salt & ~all_salt).reshape(len(mean), -1).mean(axis=1)
    area[area < decision["min_area"]] = 0
    return TestSummary(area, uncertainty, disagreement if several else None)

"""Statistics of evaluated tiles: confidence interval, distribution distance, error breakdown and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation


def bootstrap_interval(
    scores: np.ndarray, confidence: float = 0.95, resamples: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of `scores`, (n,) float64 multiples of 0.1 in -1..1.

    The scores have few distinct values, so a resample of the tiles is one multinomial draw of the count of each value.
    """
    values, counts = np.unique(np.rint(scores * 10).astype(np.int64), return_counts=True)
    resampled = np.random.default_rng(seed).multinomial(len(scores), counts / len(scores), resamples)
    quantiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(resampled @ values / (10 * len(scores)), quantiles)
    return float(low), float(high)


def ks_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance: the largest gap between two empirical distribution functions."""
    points = np.concatenate([first, second])
    gap = np.searchsorted(np.sort(first), points, "right") / len(first)
    gap = gap - np.searchsorted(np.sort(second), points, "right") / len(second)
    return float(np.abs(gap).max())


@dataclass(frozen=True)
class ErrorGroup:
    """Tiles with one kind of outcome and their cost: the sum of 1 - score, divided by the number of all tiles."""

    name: str
    tiles: int
    cost: float


def error_breakdown(evaluation: OutOfFoldEvaluation) -> list[ErrorGroup]:
    """Group the tiles by outcome; the costs add up to 1 - the cross-fitted score."""
    salt, predicted = evaluation.true_area > 0, evaluation.predicted_area > 0
    groups = {
        "salt missed": salt & ~predicted,
        "false salt": ~salt & predicted,
        "salt found, outline inexact": salt & predicted,
        "empty tile found empty": ~salt & ~predicted,
    }
    total = len(evaluation.scores)
    return [
        ErrorGroup(name, int(selected.sum()), float((1 - evaluation.scores[selected]).sum()) / total)
        for name, selected in groups.items()
    ]


@dataclass(frozen=True)
class Group:
    """Number of tiles and mean score of a group of tiles."""

    name: str
    tiles: int
    score: float


def score_by_depth(evaluation: OutOfFoldEvaluation, depth: np.ndarray, bins: int = 5) -> list[Group]:
    """Return the mean score in depth bins of about equal size; `depth` is (n,) float64."""
    edges = np.unique(np.quantile(depth, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return [Group(f"{depth[0]:.0f}", len(depth), float(evaluation.scores.mean()))]
    bin_of = np.clip(np.searchsorted(edges, depth, "right") - 1, 0, len(edges) - 2)
    names = [f"{low:.0f} to {high:.0f}" for low, high in pairwise(edges)]
    return _mean_scores(evaluation.scores, bin_of, names)


def score_by_coverage(evaluation: OutOfFoldEvaluation, coverage_class: np.ndarray) -> list[Group]:
    """Return the mean score by coverage class, (n,) int in 0..10: no salt, then tenths of the tile."""
    names = ["none", *(f"to {10 * k} %" for k in range(1, 11))]
    return _mean_scores(evaluation.scores, coverage_class, names)


def _mean_scores(scores: np.ndarray, group_of: np.ndarray, names: list[str]) -> list[Group]:
    return [
        Group(name, int((group_of == k).sum()), float(scores[group_of == k].mean()))
        for k, name in enumerate(names)
        if (group_of == k).any()
    ]


@dataclass(frozen=True)
class Calibration:
    """Reliability diagram: mean predicted probability and observed share of salt, by bin of predicted probability."""

    predicted: np.ndarray  # (bins,) float64
    observed: np.ndarray  # (bins,) float64
    pixels: np.ndarray  # (bins,) int64

    @property
    def error(self) -> float:
        """Return the expected calibration error: the mean of |observed - predicted|, weighted by pixels."""
        return float((np.abs(self.observed - self.predicted) * self.pixels).sum() / self.pixels.sum())


def calibration(counts: np.ndarray, bins: int = 16) -> Calibration:
    """Return the calibration of the non-empty bins from histograms, (n, 2, 256) uint32.

    A byte b stands for the center of its interval of probabilities, (b + 0.5) / 256.
    """
    background, salt = counts.sum(axis=0, dtype=np.int64).reshape(2, bins, -1)
    centers = ((np.arange(256) + 0.5) / 256).reshape(bins, -1)
    pixels = (background + salt).sum(axis=1)
    nonempty = pixels > 0
    predicted = ((background + salt) * centers).sum(axis=1)
    return Calibration(
        predicted[nonempty] / pixels[nonempty], salt.sum(axis=1)[nonempty] / pixels[nonempty], pixels[nonempty]
    )

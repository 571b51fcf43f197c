"""Numbers about judged tiles: how far a mean may be trusted, where the score is lost, how true probabilities are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation


def interval(scores: np.ndarray, share: float = 0.95, draws: int = 20_000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap over tiles of the mean of `scores`, whole tenths from -1 to 1.

    Tenths have few values, so a resample of the tiles is one multinomial draw of how often each value comes.
    """
    values, counts = np.unique(np.rint(scores * 10).astype(np.int64), return_counts=True)
    resampled = np.random.default_rng(seed).multinomial(len(scores), counts / len(scores), draws)
    low, high = np.quantile(resampled @ values / (10 * len(scores)), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def ks_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance: the largest gap between two empirical distribution functions."""
    points = np.concatenate([one, other])
    gap = np.searchsorted(np.sort(one), points, "right") / len(one)
    gap = gap - np.searchsorted(np.sort(other), points, "right") / len(other)
    return float(np.abs(gap).max())


@dataclass(frozen=True)
class ErrorGroup:
    """Tiles of one kind of outcome and the score that they cost: 1 - score, summed and over all tiles."""

    what: str
    tiles: int
    cost: float


def error_breakdown(evaluation: OutOfFoldEvaluation) -> list[ErrorGroup]:
    """Where the score is lost; the costs sum up to 1 - the cross-fitted score."""
    salt, predicted = evaluation.salt > 0, evaluation.area > 0
    kinds = {
        "salt taken for empty": salt & ~predicted,
        "empty taken for salt": ~salt & predicted,
        "salt found, its outline off": salt & predicted,
        "empty found": ~salt & ~predicted,
    }
    total = len(evaluation.scores)
    return [
        ErrorGroup(what, int(these.sum()), float((1 - evaluation.scores[these]).sum()) / total)
        for what, these in kinds.items()
    ]


@dataclass(frozen=True)
class Group:
    name: str
    tiles: int
    score: float


def by_depth(evaluation: OutOfFoldEvaluation, depth: np.ndarray, strata: int = 5) -> list[Group]:
    """Mean score in strata of depth with about as many tiles each."""
    edges = np.unique(np.quantile(depth, np.linspace(0, 1, strata + 1)))
    if len(edges) < 2:
        return [Group(f"{depth[0]:.0f}", len(depth), float(evaluation.scores.mean()))]
    stratum = np.clip(np.searchsorted(edges, depth, "right") - 1, 0, len(edges) - 2)
    names = [f"{low:.0f} to {high:.0f}" for low, high in pairwise(edges)]
    return _groups(evaluation.scores, stratum, names)


def by_coverage(evaluation: OutOfFoldEvaluation, coverage_class: np.ndarray) -> list[Group]:
    """Mean score by coverage class: no salt, then tenths of the tile."""
    names = ["none", *(f"to {10 * k} %" for k in range(1, 11))]
    return _groups(evaluation.scores, coverage_class, names)


def _groups(scores: np.ndarray, group: np.ndarray, names: list[str]) -> list[Group]:
    return [
        Group(name, int((group == k).sum()), float(scores[group == k].mean()))
        for k, name in enumerate(names)
        if (group == k).any()
    ]


@dataclass(frozen=True)
class Calibration:
    """Pixels by predicted probability: what was predicted on average, and how many were salt."""

    predicted: np.ndarray  # (bins,) float64
    observed: np.ndarray  # (bins,) float64
    pixels: np.ndarray  # (bins,) int64

    @property
    def error(self) -> float:
        """Expected calibration error: |observed - predicted|, weighted by pixels."""
        return float((np.abs(self.observed - self.predicted) * self.pixels).sum() / self.pixels.sum())


def calibration(counts: np.ndarray, bins: int = 16) -> Calibration:
    """From histograms (n, 2, 256); a byte b stands for the middle of its probabilities, (b + 0.5) / 256."""
    outside, inside = counts.sum(axis=0, dtype=np.int64).reshape(2, bins, -1)
    middle = ((np.arange(256) + 0.5) / 256).reshape(bins, -1)
    pixels = (outside + inside).sum(axis=1)
    some = pixels > 0
    predicted = ((outside + inside) * middle).sum(axis=1)
    return Calibration(predicted[some] / pixels[some], inside.sum(axis=1)[some] / pixels[some], pixels[some])

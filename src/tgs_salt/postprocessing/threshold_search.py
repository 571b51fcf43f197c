"""Search of the best (threshold, minimum area) in a score table, and its cross-fitted score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.kernels import threshold_table
from tgs_salt.postprocessing.ensemble_selection import EnsembleScorer, Weights, weighted_mean

IntOrSearch = int | Literal["search"]


@dataclass(frozen=True)
class ThresholdChoice:
    """The best pair and its mean score on the tiles that it was chosen on."""

    score: float
    threshold: int
    min_area: int


def choose_threshold(
    table: np.ndarray, tiles: int, threshold: IntOrSearch = "search", min_area: IntOrSearch = "search"
) -> ThresholdChoice:
    """Return the best pair of a score table.

    Ties are resolved by the smallest minimum area, then by the lower middle of the longest run of best thresholds.

    Args:
        table: Tenths of score, summed over tiles, at [threshold, min_area]: (256, h * w + 1) int64.
        tiles: Number of tiles in the sums.
        threshold: A fixed threshold, or "search".
        min_area: A fixed minimum area (at most h * w is used), or "search".
    """
    thresholds = np.arange(256) if threshold == "search" else np.array([threshold])
    areas = np.arange(table.shape[1]) if min_area == "search" else np.array([min(min_area, table.shape[1] - 1)])
    candidates = table if threshold == min_area == "search" else table[np.ix_(thresholds, areas)]
    best = candidates.max()
    area = int(np.argmax((candidates == best).any(axis=0)))
    best_threshold = int(thresholds[_middle_of_longest_run(candidates[:, area] == best)])
    return ThresholdChoice(float(best) / (10 * tiles), best_threshold, int(areas[area]))


@dataclass(frozen=True)
class CrossFit:
    """Mean scores of splits with everything chosen on the other splits: over all tiles, and by split."""

    score: float
    by_split: dict[int, float]


def cross_fit(
    probabilities: np.ndarray, masks: np.ndarray, split_of: np.ndarray,
    threshold: IntOrSearch = "search", min_area: IntOrSearch = "search", threads: int = 1,
) -> tuple[ThresholdChoice, CrossFit, np.ndarray]:  # fmt: skip
    """Choose the best pair on all tiles, and score each split with the pair chosen on the other splits.

    Args:
        probabilities: Probability bytes, (n, h, w) uint8.
        masks: Ground-truth masks, (n, h, w) bool.
        split_of: Split of each tile, (n,) int.
        threshold: A fixed threshold, or "search".
        min_area: A fixed minimum area, or "search".
        threads: Number of threads.

    Returns:
        The pair chosen on all tiles, the cross-fitted scores, and the score table of all tiles.

    Raises:
        UserError: If there is no tile or the shapes differ.
    """
    counts = _histograms(probabilities, masks, threads)
    tables = {split: threshold_table.score_table(counts, split_of == split, threads) for split in _split_ids(split_of)}
    total = sum(tables.values())
    assert isinstance(total, np.ndarray)
    tenths = {}
    for split, table in tables.items():
        choice = choose_threshold(total - table, int((split_of != split).sum()), threshold, min_area)
        tenths[split] = int(table[choice.threshold, choice.min_area])
    return choose_threshold(total, len(masks), threshold, min_area), _mean_scores(tenths, split_of), total


def cross_fit_weights(
    scorer: EnsembleScorer, split_of: np.ndarray, threshold: IntOrSearch = "search", min_area: IntOrSearch = "search"
) -> tuple[CrossFit, dict[int, Weights]]:
    """Cross-fit the weights of the ensemble together with the threshold and the minimum area.

    All are chosen on the other splits. `scorer` must have been created with the same `split_of`, (n,) int.

    Returns:
        The scores, and the weights that each split was scored with.
    """
    tenths, weights = {}, {}
    for split in _split_ids(split_of):
        weights[split] = scorer.search(left_out=split)
        mean = weighted_mean(scorer.predictions, list(weights[split]), scorer.threads)
        counts = _histograms(mean, scorer.masks, scorer.threads)
        others = threshold_table.score_table(counts, split_of != split, scorer.threads)
        choice = choose_threshold(others, int((split_of != split).sum()), threshold, min_area)
        table = threshold_table.score_table(counts, split_of == split, scorer.threads)
        tenths[split] = int(table[choice.threshold, choice.min_area])
    return _mean_scores(tenths, split_of), weights


def _split_ids(split_of: np.ndarray) -> list[int]:
    return [int(split) for split in np.unique(split_of)]


def _mean_scores(tenths: dict[int, int], split_of: np.ndarray) -> CrossFit:
    """Convert tenths of score, summed over the tiles of each split, to mean scores."""
    by_split = {split: total / (10 * int((split_of == split).sum())) for split, total in tenths.items()}
    return CrossFit(sum(tenths.values()) / (10 * len(split_of)), by_split)


def _histograms(probabilities: np.ndarray, masks: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return `threshold_table.histograms`; raise UserError if there is no tile or the shapes differ."""
    if len(masks) == 0 or probabilities.shape != masks.shape:
        raise UserError(
            "threshold: probabilities and masks must have the same, non-empty shape; "
            f"got {probabilities.shape} and {masks.shape}."
        )
    return threshold_table.histograms(probabilities, masks, threads)


def _middle_of_longest_run(best: np.ndarray) -> int:
    """Return the index of the lower middle of the longest run of True; if several are as long, of the first one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest] + (ends[longest] - starts[longest] - 1) // 2)

"""The best (threshold, minimum area) of a score table, and what such a choice is worth on tiles it was not made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.kernels import threshold_table
from tgs_salt.postprocessing.ensemble_selection import Scores, Weights, weighted_mean

Fixed = int | Literal["search"]


@dataclass(frozen=True)
class ThresholdChoice:
    """The best pair and the mean score over tiles that it reaches on the tiles it was chosen on."""

    score: float
    threshold: int
    min_area: int


def choose(table: np.ndarray, tiles: int, level: Fixed = "search", min_area: Fixed = "search") -> ThresholdChoice:
    """The best pair of a score table (256, h*w + 1), tenths of score summed over `tiles`, at [threshold, min_area]."""
    levels = np.arange(256) if level == "search" else np.array([level])
    areas = np.arange(table.shape[1]) if min_area == "search" else np.array([min(min_area, table.shape[1] - 1)])
    allowed = table if level == min_area == "search" else table[np.ix_(levels, areas)]
    best = allowed.max()
    area = int(np.argmax((allowed == best).any(axis=0)))
    threshold = int(levels[_middle_of_longest_run(allowed[:, area] == best)])
    return ThresholdChoice(float(best) / (10 * tiles), threshold, int(areas[area]))


@dataclass(frozen=True)
class CrossFit:
    """Scores with everything chosen on the other parts: over all tiles, and per part."""

    score: float
    by_part: dict[int, float]


def cross_fit(
    probabilities: np.ndarray, truth: np.ndarray, part: np.ndarray,
    level: Fixed = "search", min_area: Fixed = "search", threads: int = 1,
) -> tuple[ThresholdChoice, CrossFit, np.ndarray]:  # fmt: skip
    """The best pair on all tiles, the scores when each of the parts (`part`: (n,) int) is left out, and the table."""
    of_tiles = histograms(probabilities, truth, threads)
    tables = {name: threshold_table.score_table(of_tiles, part == name, threads) for name in _names(part)}
    total = sum(tables.values())
    assert isinstance(total, np.ndarray)
    reached = {}
    for name, table in tables.items():
        picked = choose(total - table, int((part != name).sum()), level, min_area)
        reached[name] = int(table[picked.threshold, picked.min_area])
    return choose(total, len(truth), level, min_area), _cross_fit(reached, part), total


def cross_fit_votes(
    scores: Scores, part: np.ndarray, level: Fixed = "search", min_area: Fixed = "search"
) -> tuple[CrossFit, dict[int, Weights]]:
    """As `cross_fit`, of models whose weights are searched too: per part, all are chosen on the others.

    Returns the scores and the weights that each part was scored with. `scores` knows the same parts.
    """
    reached, weights = {}, {}
    for name in _names(part):
        weights[name] = scores.search(left_out=name)
        mean = weighted_mean(scores.votes, list(weights[name]), scores.threads)
        of_tiles = histograms(mean, scores.truth, scores.threads)
        others = threshold_table.score_table(of_tiles, part != name, scores.threads)
        picked = choose(others, int((part != name).sum()), level, min_area)
        own = threshold_table.score_table(of_tiles, part == name, scores.threads)
        reached[name] = int(own[picked.threshold, picked.min_area])
    return _cross_fit(reached, part), weights


def _names(part: np.ndarray) -> list[int]:
    return [int(name) for name in np.unique(part)]


def _cross_fit(tenths: dict[int, int], part: np.ndarray) -> CrossFit:
    """From tenths of score, summed over the tiles of each part."""
    by_part = {name: reached / (10 * int((part == name).sum())) for name, reached in tenths.items()}
    return CrossFit(sum(tenths.values()) / (10 * len(part)), by_part)


def histograms(probabilities: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Per-tile histograms of the bytes; UserError if there is no tile or the shapes differ."""
    if len(truth) == 0 or probabilities.shape != truth.shape:
        raise UserError(
            f"threshold: probabilities {probabilities.shape} and masks {truth.shape} have to be alike, and some."
        )
    return threshold_table.histograms(probabilities, truth, threads)


def _middle_of_longest_run(best: np.ndarray) -> int:
    """Index of the lower middle of the longest run of True; of several as long, the first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest] + (ends[longest] - starts[longest] - 1) // 2)

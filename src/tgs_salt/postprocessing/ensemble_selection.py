"""Votes of models as whole numbers: their mean, exact, and the search for the numbers that score best.

The search is forward selection with replacement (Caruana et al., Ensemble Selection from Libraries of Models, ICML
2004): the vote that helps most is added, ten times over, and the best mean on the way is kept. A mean is judged by its
best score over the 256 thresholds, without a minimum area, so votes do not depend on the settings of `threshold`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from pathlib import Path

import numpy as np

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.kernels import threshold_table
from tgs_salt.kernels.jit import map_chunks

Weights = tuple[int, ...]

CHUNK = 64  # tiles averaged at a time: the sums of these stay in a core's cache
MAX_VOTES = (2**32 - 1) // (2 * 255 + 1)  # twice their sum and the rounding fit an uint32
VOTES = 10  # that a search gives out


def weighted_mean(votes: list[np.ndarray], weights: list[int], threads: int = 1) -> np.ndarray:
    """The mean of uint8 arrays of one shape, weighted by whole numbers, rounded half up; uint8.

    A byte b stands for probabilities from b/256 to (b+1)/256, so rounding keeps the mean of the middles.
    """
    total = sum(weights)
    if total > MAX_VOTES:
        raise UserError(
            f"ensemble.weights: {total:,} votes are too many; set smaller whole numbers of the same ratios."
        )
    counted = [(vote, weight) for vote, weight in zip(votes, weights, strict=True) if weight]
    mean = np.empty(votes[0].shape, np.uint8)

    def average(first: int, last: int) -> None:
        summed = np.full(mean[first:last].shape, total, np.uint32)
        for vote, weight in counted:
            summed += np.multiply(vote[first:last], 2 * weight, dtype=np.uint32)
        mean[first:last] = summed // np.uint32(2 * total)

    map_chunks(average, len(mean), threads, CHUNK)
    return mean


def out_of_fold(paths: list[Path], used: list[int], fold_of: np.ndarray, side: tuple[int, ...]) -> np.ndarray:
    """One model's predictions of the folds `used`, put together: (n, h, w) uint8, in the order of `fold_of` (n,)."""
    together = np.empty((len(fold_of), *side), np.uint8)
    for path, fold in zip(paths, used, strict=True):
        rows = np.flatnonzero(fold_of == fold)
        together[rows] = files.read_array(path, (len(rows), *side))
    return together


class Scores:
    """Scores of weighted means of `votes`, (n, h, w) uint8 each, at the 256 thresholds; each mean is scored once.

    `part` (n,) int tells the tiles apart that a search may have to leave out.
    """

    def __init__(self, votes: list[np.ndarray], truth: np.ndarray, part: np.ndarray, threads: int = 1) -> None:
        self.votes, self.truth, self.threads = votes, truth, threads
        self.rows = {int(name): np.flatnonzero(part == name) for name in np.unique(part)}
        self.known: dict[Weights, dict[int, np.ndarray]] = {}

    def tenths(self, weights: Weights, left_out: int | None = None) -> np.ndarray:
        """Tenths of score, summed over all tiles but those of part `left_out`, at each threshold: (256,) int64."""
        weights = reduced(weights)
        if weights not in self.known:
            mean = weighted_mean(self.votes, list(weights), self.threads)
            counts = threshold_table.histograms(mean, self.truth, self.threads)
            self.known[weights] = {
                name: threshold_table.score_by_threshold(counts, rows, self.threads) for name, rows in self.rows.items()
            }
        kept = [tenths for name, tenths in self.known[weights].items() if name != left_out]
        return np.sum(kept, axis=0)

    def search(self, left_out: int | None = None) -> Weights:
        """The best weights on all tiles but those of part `left_out`."""
        return search(lambda weights: int(self.tenths(weights, left_out).max()), len(self.votes))


def search(score: Callable[[Weights], int], models: int) -> Weights:
    """Weights by forward selection; equal ones unless others score higher, the fewest votes of those that do.

    Of several votes that help alike, the first model gets it. A model that never helps has weight 0.
    """
    best = (1,) * models
    grown = (0,) * models
    for _ in range(VOTES):
        more = [tuple(weight + (k == model) for k, weight in enumerate(grown)) for model in range(models)]
        grown = max(more, key=score)
        if score(grown) > score(best):
            best = grown
    return reduced(best)


def reduced(weights: Weights) -> Weights:
    """The smallest whole numbers of the same ratios."""
    return tuple(weight // gcd(*weights) for weight in weights)

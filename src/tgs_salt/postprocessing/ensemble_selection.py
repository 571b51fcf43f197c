"""Integer weights of the models: their exact weighted mean, and the search for the weights with the best score.

The search is forward selection with replacement (Caruana et al., Ensemble Selection from Libraries of Models, ICML
2004). Ten times, the model that improves the score most gets one more vote; the best ensemble along the way is kept.
The score of an ensemble is its best score over the 256 thresholds without a minimum area, so the weights do not depend
on the settings of `threshold`.
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

CHUNK = 64  # tiles averaged at a time: their uint32 sums fit into a core's cache
MAX_TOTAL_WEIGHT = (2**32 - 1) // (2 * 255 + 1)  # twice the weighted sum plus the rounding term fits uint32
SEARCH_ROUNDS = 10


def weighted_mean(predictions: list[np.ndarray], weights: list[int], threads: int = 1) -> np.ndarray:
    """Return the mean of uint8 arrays of equal shape with integer weights, rounded half up, as uint8.

    A byte b stands for probabilities from b/256 to (b+1)/256. Rounding therefore preserves the mean of the interval
    centers.

    Raises:
        UserError: If the sum of the weights is too large for exact arithmetic.
    """
    total = sum(weights)
    if total > MAX_TOTAL_WEIGHT:
        raise UserError(
            f"ensemble.weights: the weights add up to {total:,}, expected at most {MAX_TOTAL_WEIGHT:,}; "
            "set smaller integers with the same ratios."
        )
    terms = [(array, weight) for array, weight in zip(predictions, weights, strict=True) if weight]
    mean = np.empty(predictions[0].shape, np.uint8)

    def average_chunk(start: int, stop: int) -> None:
        weighted_sum = np.full(mean[start:stop].shape, total, np.uint32)
        for array, weight in terms:
            weighted_sum += np.multiply(array[start:stop], 2 * weight, dtype=np.uint32)
        mean[start:stop] = weighted_sum // np.uint32(2 * total)

    map_chunks(average_chunk, len(mean), threads, CHUNK)
    return mean


def assemble_oof(
    paths: list[Path], selected_folds: list[int], fold_of: np.ndarray, tile_shape: tuple[int, ...]
) -> np.ndarray:
    """Assemble the out-of-fold predictions of one model: (n, h, w) uint8, in the order of `fold_of`, (n,) int.

    Args:
        paths: Prediction of each of `selected_folds`, in that order.
        selected_folds: Folds to read.
        fold_of: Fold of each tile.
        tile_shape: Height and width of a tile.
    """
    oof = np.empty((len(fold_of), *tile_shape), np.uint8)
    for path, fold in zip(paths, selected_folds, strict=True):
        rows = np.flatnonzero(fold_of == fold)
        oof[rows] = files.read_array(path, (len(rows), *tile_shape))
    return oof


class EnsembleScorer:
    """Cached scores of weighted means at the 256 thresholds, over all tiles or without one split.

    Args:
        predictions: Out-of-fold predictions of each model, (n, h, w) uint8.
        masks: Ground-truth masks, (n, h, w) bool.
        split_of: Cross-fitting split of each tile, (n,) int.
        threads: Number of threads.
    """

    def __init__(
        self, predictions: list[np.ndarray], masks: np.ndarray, split_of: np.ndarray, threads: int = 1
    ) -> None:
        self.predictions, self.masks, self.threads = predictions, masks, threads
        self.rows = {int(split): np.flatnonzero(split_of == split) for split in np.unique(split_of)}
        self.cache: dict[Weights, dict[int, np.ndarray]] = {}

    def tenths(self, weights: Weights, left_out: int | None = None) -> np.ndarray:
        """Return tenths of score at each threshold, (256,) int64, summed over all tiles except split `left_out`."""
        weights = _divide_by_gcd(weights)
        if weights not in self.cache:
            mean = weighted_mean(self.predictions, list(weights), self.threads)
            counts = threshold_table.histograms(mean, self.masks, self.threads)
            self.cache[weights] = {
                split: threshold_table.score_by_threshold(counts, rows, self.threads)
                for split, rows in self.rows.items()
            }
        return np.sum([tenths for split, tenths in self.cache[weights].items() if split != left_out], axis=0)

    def search(self, left_out: int | None = None) -> Weights:
        """Return the best weights on all tiles except split `left_out`."""
        return search_weights(lambda weights: int(self.tenths(weights, left_out).max()), len(self.predictions))


def search_weights(score: Callable[[Weights], int], n_models: int) -> Weights:
    """Return the weights with the best score by forward selection, divided by their greatest common divisor.

    Equal weights are returned unless others score strictly higher. Among equal scores, fewer votes win. If several
    models improve the score equally, the first one gets the vote. A model that never gets a vote has weight 0.
    """
    best = (1,) * n_models
    current = (0,) * n_models
    for _ in range(SEARCH_ROUNDS):
        candidates = [tuple(weight + (k == model) for k, weight in enumerate(current)) for model in range(n_models)]
        current = max(candidates, key=score)
        if score(current) > score(best):
            best = current
    return _divide_by_gcd(best)


def _divide_by_gcd(weights: Weights) -> Weights:
    return tuple(weight // gcd(*weights) for weight in weights)

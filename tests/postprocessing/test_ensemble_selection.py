"""Compare the search for weights with plain loops, and test its rule for ties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers.reference_ensemble import best_tenths, reference_mean, reference_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt.postprocessing.ensemble_selection import EnsembleScorer, search_weights, weighted_mean


def noisy_predictions(seed: int, models: int, tiles: int = 8, side: int = 4) -> tuple[list[np.ndarray], np.ndarray]:
    """Return predictions of models that differ in accuracy and calibration, and the masks."""
    rng = np.random.default_rng(seed)
    masks = rng.random((tiles, side, side)) < rng.choice([0, 0.3, 0.6], (tiles, 1, 1))
    predictions = []
    for _ in range(models):
        wrong = rng.random(masks.shape) < rng.uniform(0.05, 0.5)
        margin = rng.choice([15, 40, 70, 100], masks.shape)
        center = rng.integers(80, 150)
        predictions.append((center + np.where(masks ^ wrong, margin, -margin // 2)).astype(np.uint8))
    return predictions, masks


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_search_matches_the_reference(seed: int, models: int) -> None:
    predictions, masks = noisy_predictions(seed, models)
    split_of = np.arange(len(masks)) % 3
    scorer = EnsembleScorer(predictions, masks, split_of, threads=1 + seed % 2)
    assert scorer.search() == reference_weights(predictions, masks)
    for split in range(3):
        rest = split_of != split
        expected = reference_weights([array[rest] for array in predictions], masks[rest])
        assert scorer.search(left_out=split) == expected


def test_scores_of_all_weights() -> None:
    predictions, masks = noisy_predictions(3, 3)
    split_of = np.array([0, 0, 4, 4, 4, 7, 7, 0])
    scorer = EnsembleScorer(predictions, masks, split_of)
    for weights in product(range(3), repeat=3):
        if any(weights):
            mean = reference_mean(predictions, weights)
            assert np.array_equal(weighted_mean(predictions, list(weights), threads=2), mean)
            assert scorer.tenths(weights).max() == best_tenths(mean, masks)
            assert scorer.tenths(weights, 4).max() == best_tenths(mean[split_of != 4], masks[split_of != 4])
    assert len(scorer.cache) < 3**3 - 1, "weights of equal ratios are scored once"


def test_searched_weights_are_at_least_as_good_as_simple_ones_and_near_the_best() -> None:
    searched, equal, best = 0, 0, 0
    for seed in range(12):
        predictions, masks = noisy_predictions(seed, 2)
        scorer = EnsembleScorer(predictions, masks, np.zeros(len(masks), int))
        tenths = {
            weights: int(scorer.tenths(weights).max())
            for weights in product(range(11), repeat=2)
            if 0 < sum(weights) <= 10
        }
        result = tenths[scorer.search()]
        assert max(tenths[1, 1], tenths[1, 0], tenths[0, 1]) <= result <= max(tenths.values())
        searched, equal, best = searched + result, equal + tenths[1, 1], best + max(tenths.values())
    assert equal < searched, "the search improves the score of these predictions"
    assert best - searched < (best - equal) / 4


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, (1, 1)),
        ({(1, 0): 1}, (1, 0)),
        ({(1, 0): 1, (1, 1): 1}, (1, 1)),
        ({(1, 0): 1, (0, 1): 1}, (1, 0)),
        ({(0, 1): 1, (1, 1): 1, (1, 2): 2}, (1, 2)),
        ({(0, 1): 1, (0, 2): 1, (0, 3): 1, (1, 1): 0}, (0, 1)),
        ({(1, 0): 1, (2, 0): 1, (3, 0): 1, (1, 4): 9}, (1, 0)),
        ({(1, 0): 1, (2, 0): 1, (3, 0): 1, (3, 1): 9, (6, 2): 9}, (3, 1)),
        ({(10 - k, k): k for k in range(11)}, (9, 1)),
    ],
)
def test_ties(scores: dict[tuple[int, int], int], expected: tuple[int, int]) -> None:
    """Equal weights win a tie, then the fewest votes, then the first model; a single best step is taken each time."""
    assert search_weights(lambda weights: scores.get(weights, 0), 2) == expected


def test_single_model() -> None:
    assert search_weights(sum, 1) == (1,)

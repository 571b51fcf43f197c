"""The search for votes against plain loops, and its rule for ties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers.reference_ensemble import best_score, mean_of, search_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt.postprocessing.ensemble_selection import Scores, search, weighted_mean


def noisy(seed: int, models: int, tiles: int = 8, side: int = 4) -> tuple[list[np.ndarray], np.ndarray]:
    """Votes of models of unlike skill, each with a level of its own, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random((tiles, side, side)) < rng.choice([0, 0.3, 0.6], (tiles, 1, 1))
    votes = []
    for _ in range(models):
        wrong = rng.random(truth.shape) < rng.uniform(0.05, 0.5)
        sure = rng.choice([15, 40, 70, 100], truth.shape)
        votes.append((rng.integers(80, 150) + np.where(truth ^ wrong, sure, -sure // 2)).astype(np.uint8))
    return votes, truth


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_search_by_hand(seed: int, models: int) -> None:
    votes, truth = noisy(seed, models)
    part = np.arange(len(truth)) % 3
    scores = Scores(votes, truth, part, threads=1 + seed % 2)
    assert scores.search() == search_by_hand(votes, truth)
    for name in range(3):
        rest = part != name
        assert scores.search(left_out=name) == search_by_hand([vote[rest] for vote in votes], truth[rest])


def test_scores_of_any_weights() -> None:
    votes, truth = noisy(3, 3)
    part = np.array([0, 0, 4, 4, 4, 7, 7, 0])
    scores = Scores(votes, truth, part)
    for weights in product(range(3), repeat=3):
        if any(weights):
            mean = mean_of(votes, weights)
            assert np.array_equal(weighted_mean(votes, list(weights), threads=2), mean)
            assert scores.tenths(weights).max() == best_score(mean, truth)
            assert scores.tenths(weights, 4).max() == best_score(mean[part != 4], truth[part != 4])
    assert len(scores.known) < 3**3 - 1, "equal ratios are scored once"


def test_what_is_found_is_no_worse_than_equal_or_single_votes_and_near_the_best() -> None:
    found, equal, best = 0, 0, 0
    for seed in range(12):
        votes, truth = noisy(seed, 2)
        scores = Scores(votes, truth, np.zeros(len(truth), int))
        every = {
            weights: int(scores.tenths(weights).max())
            for weights in product(range(11), repeat=2)
            if 0 < sum(weights) <= 10
        }
        own = every[scores.search()]
        assert max(every[1, 1], every[1, 0], every[0, 1]) <= own <= max(every.values())
        found, equal, best = found + own, equal + every[1, 1], best + max(every.values())
    assert equal < found, "on these votes the search is worth something"
    assert best - found < (best - equal) / 4


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
    """Equal votes win a tie, then the fewest, then the first model; a dip on the way is not crossed."""
    assert search(lambda weights: scores.get(weights, 0), 2) == expected


def test_one_model_has_all_the_votes() -> None:
    assert search(sum, 1) == (1,)

"""Compare statistics with their definitions and plain resampling, and test the leaderboard of 2018."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.evaluation import statistics
from tgs_salt.report import leaderboard

samples = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30).map(np.array)


@given(samples, samples)
def test_ks_distance(first: np.ndarray, second: np.ndarray) -> None:
    gaps = [abs(np.mean(first <= point) - np.mean(second <= point)) for point in range(-5, 6)]
    assert statistics.ks_distance(first, second) == pytest.approx(max(gaps))


@pytest.mark.parametrize("lowest", [0, -10])
def test_bootstrap_interval_matches_plain_resampling(lowest: int) -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(lowest, 11, 400) / 10
    means = rng.choice(scores, (20_000, 400)).mean(axis=1)
    assert statistics.bootstrap_interval(scores) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.002)
    assert statistics.bootstrap_interval(scores) == statistics.bootstrap_interval(scores)


def test_bootstrap_interval_coverage() -> None:
    """About 95 % of the intervals of repeated samples contain the mean of the population."""
    rng = np.random.default_rng(4)
    repeated = rng.choice([0.0, 0.5, 1.0], (400, 200), p=[0.3, 0.2, 0.5])
    intervals = [statistics.bootstrap_interval(scores, resamples=2000) for scores in repeated]
    hits = sum(low <= 0.6 <= high for low, high in intervals)
    assert 0.91 <= hits / 400 <= 0.98


def test_bootstrap_interval_of_equal_scores() -> None:
    assert statistics.bootstrap_interval(np.ones(9)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("private_score", "expected"),
    [
        (0.90, "among the first 4 of 3,219 teams"),
        (0.8953, "among the first 4 of 3,219 teams"),
        (0.88, "between ranks 16 and 160 of 3,219 teams"),
        (0.87163, "between ranks 16 and 160"),
        (0.79, "between ranks 1,610 and 2,141"),
        (0.5, "below rank 2,499 of 3,219 teams"),
    ],
)
def test_rank_range(private_score: float, expected: str) -> None:
    assert leaderboard.rank_range(private_score).startswith(expected)


def test_ranks_are_sorted_by_score() -> None:
    ranks, scores = zip(*leaderboard.PRIVATE_SCORES, strict=True)
    assert list(ranks) == sorted(ranks) and list(scores) == sorted(scores, reverse=True)


def test_estimate_rank_of_a_local_score() -> None:
    # The model of ak110 scored 0.857 locally and 0.875 on the private leaderboard.
    assert "0.873 to 0.878, between ranks 16 and 160 of 3,219 teams." in leaderboard.estimate_rank(0.857)
    assert "at worst" in leaderboard.estimate_rank(0.852)

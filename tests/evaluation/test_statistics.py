"""Statistics against their definitions and plain resampling, and what is known of the 2018 board."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.evaluation import statistics
from tgs_salt.report import leaderboard

numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30).map(np.array)


@given(numbers, numbers)
def test_the_distance_of_two_samples(one: np.ndarray, other: np.ndarray) -> None:
    gaps = [abs(np.mean(one <= point) - np.mean(other <= point)) for point in range(-5, 6)]
    assert statistics.ks_distance(one, other) == pytest.approx(max(gaps))


@pytest.mark.parametrize("lowest", [0, -10])
def test_the_interval_is_a_bootstrap(lowest: int) -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(lowest, 11, 400) / 10
    means = rng.choice(scores, (20_000, 400)).mean(axis=1)
    assert statistics.interval(scores) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.002)
    assert statistics.interval(scores) == statistics.interval(scores)


def test_the_interval_covers() -> None:
    """Of repeated samples from one population, about 95 in a hundred intervals hold its mean."""
    rng = np.random.default_rng(4)
    samples = rng.choice([0.0, 0.5, 1.0], (400, 200), p=[0.3, 0.2, 0.5])
    hits = sum(low <= 0.6 <= high for low, high in (statistics.interval(own, draws=2000) for own in samples))
    assert 0.91 <= hits / 400 <= 0.98


def test_one_value_has_no_width() -> None:
    assert statistics.interval(np.ones(9)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("private", "place"),
    [
        (0.90, "among the first 4 of 3,219 teams"),
        (0.8953, "among the first 4 of 3,219 teams"),
        (0.88, "between ranks 16 and 160 of 3,219 teams"),
        (0.87163, "between ranks 16 and 160"),
        (0.79, "between ranks 1,610 and 2,141"),
        (0.5, "below rank 2,499 of 3,219 teams"),
    ],
)
def test_standing(private: float, place: str) -> None:
    assert leaderboard.standing(private).startswith(place)


def test_known_ranks_fall_with_the_score() -> None:
    ranks, scores = zip(*leaderboard.PRIVATE, strict=True)
    assert list(ranks) == sorted(ranks) and list(scores) == sorted(scores, reverse=True)


def test_a_local_score_is_read_across() -> None:
    # ak110's model of 0.857 locally had 0.875 on the private board.
    assert "about 0.873 to 0.878: between ranks 16 and 160 of 3,219 teams." in leaderboard.sentence(0.857)
    assert "at worst" in leaderboard.sentence(0.852)

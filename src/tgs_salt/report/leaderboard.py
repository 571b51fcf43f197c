"""Ranks on the private leaderboard of the 2018 competition, from publicly known scores.

Sources:
    Medal ranks and the median: openai/mle-bench, from Kaggle's final leaderboard of 3,219 teams.
    Rank 4: SeuTao's repository of the 4th place.
    Ranks 240, 2,141 and 2,499: a published solution and late submissions, with their scores and ranks.
    Offset of local scores: ak110/kaggle_salt lists local and private scores of the same models (0.839 and 0.860, ...,
    0.878 and 0.894), SeuTao 0.873 and 0.891.
"""

from __future__ import annotations

TEAMS = 3219
PRIVATE_SCORES = (
    (4, 0.8953),
    (16, 0.89097),
    (160, 0.87163),
    (240, 0.86492),
    (321, 0.85918),
    (1610, 0.81665),
    (2141, 0.77157),
    (2499, 0.72590),
)
PRIVATE_MINUS_LOCAL = (0.016, 0.021)
SOURCE = (
    "Known ranks and scores: medal ranks and median (openai/mle-bench), 4th place (SeuTao), ranks 240, 2,141 and 2,499 "
    "(published solutions). Local scores were 0.016 to 0.021 below the private scores of the same models "
    "(ak110/kaggle_salt, SeuTao)."
)


def rank_range(private_score: float) -> str:
    """Return the known ranks around a private score, as text."""
    better = [rank for rank, score in PRIVATE_SCORES if score > private_score]
    worse = [rank for rank, score in PRIVATE_SCORES if score <= private_score]
    if not better:
        return f"among the first {PRIVATE_SCORES[0][0]} of {TEAMS:,} teams"
    if not worse:
        return f"below rank {PRIVATE_SCORES[-1][0]:,} of {TEAMS:,} teams"
    return f"between ranks {better[-1]:,} and {worse[0]:,} of {TEAMS:,} teams"


def estimate_rank(local_score: float) -> str:
    """Return a sentence with the private score and rank that a local score corresponds to."""
    low, high = (local_score + offset for offset in PRIVATE_MINUS_LOCAL)
    rank_low, rank_high = rank_range(low), rank_range(high)
    ranks = rank_high if rank_low == rank_high else f"{rank_low} at worst, {rank_high} at best"
    return f"Estimated private leaderboard score in 2018: {low:.3f} to {high:.3f}, {ranks}."

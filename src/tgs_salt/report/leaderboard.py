"""Where a score stood on the private board of 2018, from the ranks that are publicly known.

Medal ranks and the median: openai/mle-bench, from Kaggle's final board of 3,219 teams. Rank 4: SeuTao's repository of
the 4th place. Ranks 240, 2,141 and 2,499: a published solution and late submissions, with their scores and ranks.

A local cross-validated score ran 0.016 to 0.021 below the private one of the same model: ak110/kaggle_salt lists both
for its models (0.839 and 0.860, ..., 0.878 and 0.894), SeuTao 0.873 and 0.891.
"""

from __future__ import annotations

TEAMS = 3219
PRIVATE = (
    (4, 0.8953),
    (16, 0.89097),
    (160, 0.87163),
    (240, 0.86492),
    (321, 0.85918),
    (1610, 0.81665),
    (2141, 0.77157),
    (2499, 0.72590),
)
LOCAL_BELOW_PRIVATE = (0.016, 0.021)
SOURCE = (
    "Ranks with known scores: the medal ranks and the median in openai/mle-bench, the 4th place (SeuTao), ranks 240, "
    "2,141 and 2,499 from published solutions. Local scores ran 0.016 to 0.021 below the private board for the same "
    "models (ak110/kaggle_salt, SeuTao)."
)


def standing(private: float) -> str:
    """Where a private score would have ranked, between the nearest ranks that are known."""
    better = [rank for rank, score in PRIVATE if score > private]
    worse = [rank for rank, score in PRIVATE if score <= private]
    if not better:
        return f"among the first {PRIVATE[0][0]} of {TEAMS:,} teams"
    if not worse:
        return f"below rank {PRIVATE[-1][0]:,} of {TEAMS:,} teams"
    return f"between ranks {better[-1]:,} and {worse[0]:,} of {TEAMS:,} teams"


def sentence(local: float) -> str:
    """What a local score would have been worth, and where the numbers are from."""
    low, high = (local + offset for offset in LOCAL_BELOW_PRIVATE)
    at_low, at_high = standing(low), standing(high)
    places = at_high if at_low == at_high else f"{at_low} at worst, {at_high} at best"
    return f"On the private board of 2018 that would have been about {low:.3f} to {high:.3f}: {places}."

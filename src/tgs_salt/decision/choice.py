"""The best (threshold, minimum area) of a score table, and what such a choice is worth on tiles it was not made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.kernels import histogram

Fixed = int | Literal["search"]


@dataclass(frozen=True)
class Choice:
    """The best pair and the mean score over tiles that it reaches on the tiles it was chosen on."""

    score: float
    threshold: int
    min_area: int


def choose(table: np.ndarray, tiles: int, level: Fixed = "search", min_area: Fixed = "search") -> Choice:
    """The best pair of a score table (256, h*w + 1), tenths of score summed over `tiles`, at [threshold, min_area]."""
    levels = np.arange(256) if level == "search" else np.array([level])
    areas = np.arange(table.shape[1]) if min_area == "search" else np.array([min(min_area, table.shape[1] - 1)])
    allowed = table if level == min_area == "search" else table[np.ix_(levels, areas)]
    best = allowed.max()
    area = int(np.argmax((allowed == best).any(axis=0)))
    threshold = int(levels[_middle_of_longest_run(allowed[:, area] == best)])
    return Choice(float(best) / (10 * tiles), threshold, int(areas[area]))


@dataclass(frozen=True)
class CrossFit:
    """Scores with the pair chosen on the other parts: over all tiles, and per part."""

    score: float
    by_part: dict[int, float]


def cross_fit(
    probabilities: np.ndarray, truth: np.ndarray, part: np.ndarray,
    level: Fixed = "search", min_area: Fixed = "search", threads: int = 1,
) -> tuple[Choice, CrossFit, np.ndarray]:  # fmt: skip
    """The best pair on all tiles, the scores when each of the parts (`part`: (n,) int) is left out, and the table."""
    of_tiles = histograms(probabilities, truth, threads)
    names = np.unique(part)
    tables = {int(name): histogram.score_table(of_tiles, np.flatnonzero(part == name), threads) for name in names}
    total = sum(tables.values())
    assert isinstance(total, np.ndarray)
    by_part, tenths = {}, 0
    for name, table in tables.items():
        own = int((part == name).sum())
        picked = choose(total - table, len(truth) - own, level, min_area)
        reached = int(table[picked.threshold, picked.min_area])
        by_part[name] = reached / (10 * own)
        tenths += reached
    return choose(total, len(truth), level, min_area), CrossFit(tenths / (10 * len(truth)), by_part), total


def histograms(probabilities: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Per-tile histograms of the bytes; UserError if there is no tile or the shapes differ."""
    if len(truth) == 0 or probabilities.shape != truth.shape:
        raise UserError(
            f"threshold: probabilities {probabilities.shape} and masks {truth.shape} have to be alike, and some."
        )
    return histogram.histograms(probabilities, truth, threads)


def _middle_of_longest_run(best: np.ndarray) -> int:
    """Index of the lower middle of the longest run of True; of several as long, the first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest] + (ends[longest] - starts[longest] - 1) // 2)

"""Weighted means of votes, their scores and the search for weights, as plain loops: the oracle of `decision/votes`."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np


@cache
def tenths(both: int, either: int) -> int:
    """How many of the IoU thresholds 0.50, 0.55, ... 0.95 are exceeded; two empty masks agree."""
    return sum(Fraction(both, either) > Fraction(k, 20) for k in range(10, 20)) if either else 10


@cache
def half_up(votes: tuple[int, ...], weights: tuple[int, ...]) -> int:
    mean = Fraction(sum(v * w for v, w in zip(votes, weights, strict=True)), sum(weights))
    return math.floor(mean + Fraction(1, 2))


def mean_of(votes: list[np.ndarray], weights: tuple[int, ...]) -> np.ndarray:
    pixels = zip(*(vote.ravel().tolist() for vote in votes), strict=True)
    return np.array([half_up(pixel, weights) for pixel in pixels], np.uint8).reshape(votes[0].shape)


def best_score(predicted: np.ndarray, truth: np.ndarray) -> int:
    """Tenths of score, summed over tiles, at the best threshold; between two bytes of the tiles, all are alike."""
    sums = []
    for level in (0, *(np.unique(predicted).astype(int) + 1)):
        salt = predicted >= level
        both, either = (salt & truth).sum(axis=(1, 2)), (salt | truth).sum(axis=(1, 2))
        if level < 256:
            sums.append(sum(map(tenths, both.tolist(), either.tolist())))
    return max(sums)


def search_by_hand(votes: list[np.ndarray], truth: np.ndarray) -> tuple[int, ...]:
    """Ten votes, each to the model that it helps most; the best mean on the way, if it beats equal votes."""
    known: dict[tuple[Fraction, ...], int] = {}

    def score(weights: tuple[int, ...]) -> int:
        shares = tuple(Fraction(weight, sum(weights)) for weight in weights)
        if shares not in known:
            known[shares] = best_score(mean_of(votes, weights), truth)
        return known[shares]

    models = range(len(votes))
    path = [tuple(0 for _ in models)]
    for _ in range(10):
        options = [tuple(path[-1][k] + (k == model) for k in models) for model in models]
        highest = max(map(score, options))
        path.append(next(option for option in options if score(option) == highest))
    equal = tuple(1 for _ in models)
    highest = max(map(score, path[1:]))
    best = equal if score(equal) >= highest else next(weights for weights in path[1:] if score(weights) == highest)
    whole = math.gcd(*best)
    return tuple(weight // whole for weight in best)

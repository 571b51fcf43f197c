"""Weighted means, their scores and the search for weights as plain loops: a reference for `postprocessing`."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np


@cache
def iou_tenths(intersection: int, union: int) -> int:
    """Return how many of the IoU thresholds 0.50, 0.55, ... 0.95 are exceeded; 10 if both masks are empty."""
    return sum(Fraction(intersection, union) > Fraction(k, 20) for k in range(10, 20)) if union else 10


@cache
def rounded_mean(values: tuple[int, ...], weights: tuple[int, ...]) -> int:
    """Return the weighted mean, rounded half up."""
    mean = Fraction(sum(v * w for v, w in zip(values, weights, strict=True)), sum(weights))
    return math.floor(mean + Fraction(1, 2))


def reference_mean(predictions: list[np.ndarray], weights: tuple[int, ...]) -> np.ndarray:
    """Return the weighted mean of uint8 arrays, rounded half up, as uint8."""
    pixels = zip(*(array.ravel().tolist() for array in predictions), strict=True)
    return np.array([rounded_mean(pixel, weights) for pixel in pixels], np.uint8).reshape(predictions[0].shape)


def best_tenths(probabilities: np.ndarray, masks: np.ndarray) -> int:
    """Return tenths of score, summed over tiles, at the best threshold; only bytes that occur make a difference."""
    sums = []
    for threshold in (0, *(np.unique(probabilities).astype(int) + 1)):
        salt = probabilities >= threshold
        intersections, unions = (salt & masks).sum(axis=(1, 2)), (salt | masks).sum(axis=(1, 2))
        if threshold < 256:
            sums.append(sum(map(iou_tenths, intersections.tolist(), unions.tolist())))
    return max(sums)


def reference_weights(predictions: list[np.ndarray], masks: np.ndarray) -> tuple[int, ...]:
    """Give ten votes, each to the model that it helps most; return the best weights if they beat equal ones."""
    cached: dict[tuple[Fraction, ...], int] = {}

    def score(weights: tuple[int, ...]) -> int:
        shares = tuple(Fraction(weight, sum(weights)) for weight in weights)
        if shares not in cached:
            cached[shares] = best_tenths(reference_mean(predictions, weights), masks)
        return cached[shares]

    models = range(len(predictions))
    path = [tuple(0 for _ in models)]
    for _ in range(10):
        options = [tuple(path[-1][k] + (k == model) for k in models) for model in models]
        highest = max(map(score, options))
        path.append(next(option for option in options if score(option) == highest))
    equal = tuple(1 for _ in models)
    highest = max(map(score, path[1:]))
    best = equal if score(equal) >= highest else next(weights for weights in path[1:] if score(weights) == highest)
    return tuple(weight // math.gcd(*best) for weight in best)

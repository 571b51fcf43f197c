"""Compare the search with all pairs, and the cross-fitted score with leaving out the splits one by one."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt.errors import UserError
from tgs_salt.kernels import threshold_table
from tgs_salt.postprocessing.threshold_search import IntOrSearch, ThresholdChoice, choose_threshold, cross_fit


def search(
    probabilities: np.ndarray, masks: np.ndarray, threshold: IntOrSearch = "search", min_area: IntOrSearch = "search"
) -> ThresholdChoice:
    """Choose the best pair on all tiles."""
    table = threshold_table.score_table(threshold_table.histograms(probabilities, masks))
    return choose_threshold(table, len(masks), threshold, min_area)


def tile_tenths(predicted: set[int], true: set[int]) -> int:
    """Return ten times the score of a tile, given as sets of pixels: how many of 0.50, 0.55, ... the IoU exceeds."""
    if not true or not predicted:
        return 10 if true == predicted else 0
    iou = Fraction(len(predicted & true), len(predicted | true))
    return sum(iou > Fraction(k, 20) for k in range(10, 20))


def total_tenths(probabilities: np.ndarray, masks: np.ndarray, threshold: int, min_area: int) -> int:
    """Return tenths of score, summed over tiles, by the definition."""
    total = 0
    for tile, mask in zip(probabilities, masks, strict=True):
        salt = {k for k, byte in enumerate(tile.ravel().tolist()) if byte >= threshold}
        if len(salt) < min_area:
            salt = set()
        total += tile_tenths(salt, {k for k, true in enumerate(mask.ravel().tolist()) if true})
    return total


def brute_force(
    probabilities: np.ndarray, masks: np.ndarray, thresholds: list[int], areas: list[int]
) -> tuple[int, int, int]:
    """Return the best sum, and of its pairs the smallest area with the middle of the longest run of thresholds."""
    cached: dict[tuple[int, int], int] = {}
    # Thresholds between two consecutive bytes of the tiles give the same masks.
    values = np.unique(probabilities)
    for threshold in thresholds:
        index = int(np.searchsorted(values, threshold))
        for area in areas:
            if (index, area) not in cached:
                cached[index, area] = total_tenths(probabilities, masks, threshold, area)
    sums = {
        (threshold, area): cached[int(np.searchsorted(values, threshold)), area]
        for threshold in thresholds
        for area in areas
    }
    best = max(sums.values())
    area = min(area for (_, area), value in sums.items() if value == best)
    runs = [
        [threshold for threshold, _ in run]
        for is_best, run in groupby(
            [(threshold, sums[threshold, area] == best) for threshold in thresholds], key=lambda pair: pair[1]
        )
        if is_best
    ]
    longest = max(runs, key=len)  # the first one of equal length
    return best, longest[(len(longest) - 1) // 2], area


@st.composite
def stacks(draw: st.DrawFn, min_count: int = 1, max_count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities, some of which agree with the masks, and masks."""
    count = draw(st.integers(min_count, max_count))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    byte = draw(st.sampled_from([st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 254, 255])]))
    size = count * height * width
    probabilities = np.array(draw(st.lists(byte, min_size=size, max_size=size)), np.uint8)
    masks = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    if draw(st.booleans()):
        probabilities = np.where(masks, np.maximum(probabilities, 100), probabilities).astype(np.uint8)
    shape = count, height, width
    return probabilities.reshape(shape), masks.reshape(shape)


@settings(max_examples=80, deadline=None)
@given(stacks())
def test_search_matches_brute_force(stack: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, masks = stack
    areas = list(range(masks[0].size + 1))
    best, threshold, min_area = brute_force(probabilities, masks, list(range(256)), areas)
    choice = search(probabilities, masks)
    assert choice == ThresholdChoice(best / (10 * len(masks)), threshold, min_area)
    assert total_tenths(probabilities, masks, threshold, min_area) == best


@settings(max_examples=40, deadline=None)
@given(stacks(), st.integers(0, 255), st.integers(0, 9))
def test_fixed_values_are_not_searched(stack: tuple[np.ndarray, np.ndarray], threshold: int, min_area: int) -> None:
    probabilities, masks = stack
    min_area = min(min_area, masks[0].size)
    all_thresholds, all_areas = list(range(256)), list(range(masks[0].size + 1))
    for fixed, thresholds, areas in (
        ((threshold, "search"), [threshold], all_areas),
        (("search", min_area), all_thresholds, [min_area]),
        ((threshold, min_area), [threshold], [min_area]),
    ):
        best, *pair = brute_force(probabilities, masks, thresholds, areas)
        assert search(probabilities, masks, *fixed) == ThresholdChoice(best / (10 * len(masks)), *pair)


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ({(10, 0)}, (10, 0)),
        ({(10, 0), (11, 0)}, (10, 0)),
        ({(10, 0), (11, 0), (12, 0)}, (11, 0)),
        ({(5, 0), (10, 0), (11, 0), (12, 0), (13, 0), (250, 0)}, (11, 0)),
        ({(3, 0), (4, 0), (9, 0), (10, 0)}, (3, 0)),
        ({(0, 0), (1, 0), (2, 0), (255, 0)}, (1, 0)),
        ({(253, 0), (254, 0), (255, 0)}, (254, 0)),
        ({(100, 0), (7, 3), (8, 3), (9, 3)}, (100, 0)),
        ({(7, 3), (8, 3), (9, 3), (1, 4), (2, 4), (3, 4), (4, 4)}, (8, 3)),
        ({(threshold, area) for threshold in range(256) for area in range(5)}, (127, 0)),
    ],
)
def test_ties(best: set[tuple[int, int]], expected: tuple[int, int]) -> None:
    """The smallest minimum area wins, then the lower middle of the first longest run of thresholds."""
    table = np.zeros((256, 5), np.int64)
    for threshold, area in best:
        table[threshold, area] = 70
    assert choose_threshold(table, 10) == ThresholdChoice(0.7, *expected)


def test_minimum_area_is_limited_to_the_tile() -> None:
    table = np.zeros((256, 5), np.int64)
    table[7, 4] = 10
    assert choose_threshold(table, 1, "search", 1000) == ThresholdChoice(1.0, 7, 4)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_cross_fit_leaves_out_each_split(data: st.DataObject) -> None:
    probabilities, masks = data.draw(stacks(4, 9))
    splits = data.draw(st.sampled_from([[0, 1], [0, 1, 2], [1, 4]]))
    split_of = np.array([splits[k % len(splits)] for k in range(len(masks))])
    thresholds, areas = list(range(256)), list(range(masks[0].size + 1))

    by_split, total = {}, 0
    for split in splits:
        own, rest = split_of == split, split_of != split
        _, threshold, min_area = brute_force(probabilities[rest], masks[rest], thresholds, areas)
        tenths = total_tenths(probabilities[own], masks[own], threshold, min_area)
        by_split[split] = tenths / (10 * int(own.sum()))
        total += tenths
    choice, cross_fitted, table = cross_fit(probabilities, masks, split_of)

    assert cross_fitted.by_split == by_split
    assert cross_fitted.score == total / (10 * len(masks))
    best, *pair = brute_force(probabilities, masks, thresholds, areas)
    assert choice == ThresholdChoice(best / (10 * len(masks)), *pair)
    assert table.shape == (256, masks[0].size + 1) and table.max() == best
    assert cross_fitted.score <= choice.score
    threshold, min_area = data.draw(st.integers(0, 255)), data.draw(st.sampled_from(areas))
    assert table[threshold, min_area] == total_tenths(probabilities, masks, threshold, min_area)


def test_cross_fitted_score_of_a_fixed_pair() -> None:
    rng = np.random.default_rng(0)
    probabilities, masks = rng.integers(0, 256, (9, 3, 3)).astype(np.uint8), rng.random((9, 3, 3)) < 0.5
    split_of = np.arange(9) % 3
    choice, cross_fitted, _ = cross_fit(probabilities, masks, split_of, 60, 2)
    assert cross_fitted.score == choice.score == total_tenths(probabilities, masks, 60, 2) / 90
    for split in range(3):
        own = split_of == split
        assert cross_fitted.by_split[split] == total_tenths(probabilities[own], masks[own], 60, 2) / 30


def test_threads_do_not_change_results() -> None:
    rng = np.random.default_rng(1)
    masks = rng.random((40, 11, 11)) < 0.3
    probabilities = np.clip(masks * 90 + rng.integers(0, 166, masks.shape), 0, 255).astype(np.uint8)
    one, four = (cross_fit(probabilities, masks, np.arange(40) % 4, threads=threads) for threads in (1, 4))
    assert one[:2] == four[:2] and np.array_equal(one[2], four[2])


@pytest.mark.parametrize("shapes", [((0, 3, 3), (0, 3, 3)), ((2, 3, 3), (3, 3, 3)), ((2, 3, 3), (2, 3, 4))])
def test_empty_or_unequal_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    message = f"must have the same, non-empty shape; got {shapes[0]} and {shapes[1]}."
    with pytest.raises(UserError, match=f"^threshold: probabilities and masks {re.escape(message)}$"):
        cross_fit(np.zeros(shapes[0], np.uint8), np.zeros(shapes[1], bool), np.zeros(shapes[1][0], int))

"""The search against trying every pair by hand, and the cross-fitted score against leaving folds out one by one."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt.errors import UserError
from tgs_salt.postprocessing.threshold import search
from tgs_salt.postprocessing.threshold_search import ThresholdChoice, choose, cross_fit


def tenths(predicted: set[int], truth: set[int]) -> int:
    """Ten times the competition's score of one tile, pixels as sets: how many of 0.50, 0.55, ... the IoU exceeds."""
    if not truth or not predicted:
        return 10 if truth == predicted else 0
    iou = Fraction(len(predicted & truth), len(predicted | truth))
    return sum(iou > Fraction(k, 20) for k in range(10, 20))


def total(probabilities: np.ndarray, truth: np.ndarray, threshold: int, min_area: int) -> int:
    """Tenths of score, summed over tiles, by the words of the rule."""
    score = 0
    for tile, mask in zip(probabilities, truth, strict=True):
        salt = {k for k, byte in enumerate(tile.ravel().tolist()) if byte >= threshold}
        if len(salt) < min_area:
            salt = set()
        score += tenths(salt, {k for k, true in enumerate(mask.ravel().tolist()) if true})
    return score


def brute_force(
    probabilities: np.ndarray, truth: np.ndarray, levels: list[int], areas: list[int]
) -> tuple[int, int, int]:
    """The best sum, and of the pairs that reach it: the smallest area, then the middle of the longest run."""
    known: dict[tuple[int, int], int] = {}
    # Between two neighbouring bytes of the tiles, all thresholds mark the same pixels.
    steps = np.unique(probabilities)
    for level in levels:
        like = int(np.searchsorted(steps, level))
        for area in areas:
            if (like, area) not in known:
                known[like, area] = total(probabilities, truth, level, area)
    sums = {(level, area): known[int(np.searchsorted(steps, level)), area] for level in levels for area in areas}
    best = max(sums.values())
    area = min(area for (_, area), value in sums.items() if value == best)
    runs = [
        [level for level, _ in run]
        for good, run in groupby([(level, sums[level, area] == best) for level in levels], key=lambda pair: pair[1])
        if good
    ]
    longest = max(runs, key=len)  # the first of several
    middles = (
        longest[len(longest) // 2 - 1 : len(longest) // 2 + 1]
        if len(longest) % 2 == 0
        else [longest[len(longest) // 2]]
    )
    return best, min(middles), area


@st.composite
def stacks(draw: st.DrawFn, least: int = 1, most: int = 4) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(least, most))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    byte = draw(st.sampled_from([st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 254, 255])]))
    cells = count * height * width
    probabilities = np.array(draw(st.lists(byte, min_size=cells, max_size=cells)), np.uint8)
    truth = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells)))
    if draw(st.booleans()):
        probabilities = np.where(truth, np.maximum(probabilities, 100), probabilities).astype(np.uint8)
    shape = count, height, width
    return probabilities.reshape(shape), truth.reshape(shape)


@settings(max_examples=80, deadline=None)
@given(stacks())
def test_search_is_trying_every_pair(stack: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, truth = stack
    pixels = truth[0].size
    best, threshold, area = brute_force(probabilities, truth, list(range(256)), list(range(pixels + 1)))
    found = search(probabilities, truth)
    assert (found.threshold, found.min_area) == (threshold, area)
    assert found.score == best / (10 * len(truth))
    assert total(probabilities, truth, found.threshold, found.min_area) == best


@settings(max_examples=40, deadline=None)
@given(stacks(), st.integers(0, 255), st.integers(0, 9))
def test_what_is_fixed_is_not_searched(stack: tuple[np.ndarray, np.ndarray], level: int, area: int) -> None:
    probabilities, truth = stack
    pixels = truth[0].size
    area = min(area, pixels)
    every_level, every_area = list(range(256)), list(range(pixels + 1))
    for fixed, levels, areas in (
        ((level, "search"), [level], every_area),
        (("search", area), every_level, [area]),
        ((level, area), [level], [area]),
    ):
        found = search(probabilities, truth, *fixed)
        best, threshold, min_area = brute_force(probabilities, truth, levels, areas)
        assert (found.score, found.threshold, found.min_area) == (best / (10 * len(truth)), threshold, min_area)


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
        ({(level, area) for level in range(256) for area in range(5)}, (127, 0)),
    ],
)
def test_ties(best: set[tuple[int, int]], expected: tuple[int, int]) -> None:
    """The smallest minimum area, and at it the lower middle of the longest run of thresholds, the first of such."""
    table = np.zeros((256, 5), np.int64)
    for level, area in best:
        table[level, area] = 70
    assert choose(table, 10) == ThresholdChoice(0.7, *expected)


def test_a_minimum_area_beyond_the_tile() -> None:
    """More pixels than there are: as many as there are."""
    table = np.zeros((256, 5), np.int64)
    table[7, 4] = 10
    assert choose(table, 1, "search", 1000) == ThresholdChoice(1.0, 7, 4)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_cross_fitting_is_leaving_out_one_part_after_the_other(data: st.DataObject) -> None:
    probabilities, truth = data.draw(stacks(4, 9))
    names = data.draw(st.sampled_from([[0, 1], [0, 1, 2], [1, 4]]))
    part = np.array([names[k % len(names)] for k in range(len(truth))])
    levels, areas = list(range(256)), list(range(truth[0].size + 1))

    by_part, reached = {}, 0
    for name in names:
        out, rest = part == name, part != name
        _, threshold, area = brute_force(probabilities[rest], truth[rest], levels, areas)
        own = total(probabilities[out], truth[out], threshold, area)
        by_part[name] = own / (10 * int(out.sum()))
        reached += own
    choice, fitted, table = cross_fit(probabilities, truth, part)

    assert fitted.by_part == by_part
    assert fitted.score == reached / (10 * len(truth))
    best, threshold, area = brute_force(probabilities, truth, levels, areas)
    assert choice == ThresholdChoice(best / (10 * len(truth)), threshold, area)
    assert table.shape == (256, truth[0].size + 1) and table.max() == best
    assert fitted.score <= choice.score, "what is chosen on the tiles themselves can only look better"
    level, size = data.draw(st.integers(0, 255)), data.draw(st.sampled_from(areas))
    assert table[level, size] == total(probabilities, truth, level, size)


def test_cross_fitting_with_a_fixed_pair_is_its_score() -> None:
    rng = np.random.default_rng(0)
    probabilities, truth = rng.integers(0, 256, (9, 3, 3)).astype(np.uint8), rng.random((9, 3, 3)) < 0.5
    part = np.arange(9) % 3
    choice, fitted, _ = cross_fit(probabilities, truth, part, 60, 2)
    assert fitted.score == choice.score == total(probabilities, truth, 60, 2) / 90
    for name in range(3):
        out = part == name
        assert fitted.by_part[name] == total(probabilities[out], truth[out], 60, 2) / 30


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((40, 11, 11)) < 0.3
    probabilities = np.clip(truth * 90 + rng.integers(0, 166, truth.shape), 0, 255).astype(np.uint8)
    one, four = (cross_fit(probabilities, truth, np.arange(40) % 4, threads=threads) for threads in (1, 4))
    assert one[:2] == four[:2] and np.array_equal(one[2], four[2])


@pytest.mark.parametrize("shapes", [((0, 3, 3), (0, 3, 3)), ((2, 3, 3), (3, 3, 3)), ((2, 3, 3), (2, 3, 4))])
def test_nothing_to_search(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    sentence = f"threshold: probabilities {shapes[0]} and masks {shapes[1]} have to be alike, and some."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        search(np.zeros(shapes[0], np.uint8), np.zeros(shapes[1], bool))

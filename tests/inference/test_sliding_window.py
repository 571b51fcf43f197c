"""Tests of the positions of windows and of blending."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.inference.sliding_window import WindowBlender, iter_windows, window_starts

SIDES = st.integers(2, 20)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[int, int, int]:
    side = draw(SIDES)
    return draw(st.integers(1, 90)), side, draw(st.integers(0, side - 1))


@given(geometries())
def test_fewest_windows_cover_the_length_with_the_overlap(geometry: tuple[int, int, int]) -> None:
    length, side, overlap = geometry
    starts = window_starts(length, side, overlap)
    assert starts[0] == 0 and starts == sorted(set(starts))
    if length <= side:
        assert starts == [0]
        return
    assert starts[-1] + side == length
    assert all(a + side - b >= overlap for a, b in pairwise(starts))
    assert len(starts) == 1 or len(starts) - 1 < (length - overlap) / (side - overlap), "fewer windows are enough"


def blend(image: np.ndarray, side: int, overlap: int, threshold: int, votes: int = 1) -> np.ndarray:
    blender = WindowBlender(image.shape, side, overlap, threshold)
    for row, column, pixels in iter_windows(image, side, overlap):
        blender.add(row, column, pixels.astype(np.uint32) * votes, votes)
    return blender.finish()


@given(geometries(), st.integers(1, 60), st.integers(0, 255), st.integers(1, 9))
def test_equal_windows_blend_to_the_image(
    geometry: tuple[int, int, int], width: int, threshold: int, votes: int
) -> None:
    height, side, overlap = geometry
    image = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    np.testing.assert_array_equal(blend(image, side, overlap, threshold, votes), image >= threshold)


@given(geometries(), st.integers(1, 60))
def test_different_windows_blend_by_their_weights(geometry: tuple[int, int, int], width: int) -> None:
    height, side, overlap = geometry
    rng = np.random.default_rng([height, width, side])
    total, weights = np.zeros((2, max(height, side), max(width, side)))
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1
    ramp = np.minimum(distance, max(overlap, 1))
    blender = WindowBlender((height, width), side, overlap, 128)
    for row, column, _ in iter_windows(np.zeros((height, width), np.uint8), side, overlap):
        probabilities = rng.integers(0, 256, (side, side), dtype=np.uint32)
        blender.add(row, column, probabilities, 1)
        total[row : row + side, column : column + side] += probabilities * np.outer(ramp, ramp)
        weights[row : row + side, column : column + side] += np.outer(ramp, ramp)
    expected = np.floor(total / weights + 0.5) >= 128
    np.testing.assert_array_equal(blender.finish(), expected[:height, :width])


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (7, 7)])
def test_images_smaller_than_a_window_are_mirrored(shape: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    windows = list(iter_windows(image, 8, 2))
    assert {pixels.shape for _, _, pixels in windows} == {(8, 8)}
    padded = np.pad(image, [(0, max(0, 8 - length)) for length in shape], mode="symmetric")
    for row, column, pixels in windows:
        np.testing.assert_array_equal(pixels, padded[row : row + 8, column : column + 8])

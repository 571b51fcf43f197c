"""Windows cover a picture, and their votes blend to what one picture would say."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.inference.sliding_window import Blend, starts, windows

SIDES = st.integers(2, 20)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int]:
    side = draw(SIDES)
    return draw(st.integers(1, 90)), side, draw(st.integers(0, side - 1))


@given(cuts())
def test_windows_cover_with_the_overlap_and_none_is_too_many(cut: tuple[int, int, int]) -> None:
    length, side, overlap = cut
    first = starts(length, side, overlap)
    assert first[0] == 0 and first == sorted(set(first))
    if length <= side:
        assert first == [0]
        return
    assert first[-1] + side == length
    assert all(a + side - b >= overlap for a, b in pairwise(first))
    assert len(first) == 1 or len(first) - 1 < (length - overlap) / (side - overlap), "one less would not do"


def blended(picture: np.ndarray, side: int, overlap: int, threshold: int, votes: int = 1) -> np.ndarray:
    blend = Blend(picture.shape, side, overlap, threshold)
    for row, column, part in windows(picture, side, overlap):
        blend.add(row, column, part.astype(np.uint32) * votes, votes)
    return blend.finish()


@given(cuts(), st.integers(1, 60), st.integers(0, 255), st.integers(1, 9))
def test_windows_that_agree_blend_to_the_picture_itself(
    cut: tuple[int, int, int], width: int, threshold: int, votes: int
) -> None:
    height, side, overlap = cut
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    np.testing.assert_array_equal(blended(picture, side, overlap, threshold, votes), picture >= threshold)


@given(cuts(), st.integers(1, 60))
def test_windows_that_differ_blend_by_their_weights(cut: tuple[int, int, int], width: int) -> None:
    height, side, overlap = cut
    rng = np.random.default_rng([height, width, side])
    total, weights = np.zeros((2, max(height, side), max(width, side)))
    far = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1
    ramp = np.minimum(far, max(overlap, 1))
    blend = Blend((height, width), side, overlap, 128)
    for row, column, _ in windows(np.zeros((height, width), np.uint8), side, overlap):
        said = rng.integers(0, 256, (side, side), dtype=np.uint32)
        blend.add(row, column, said, 1)
        total[row : row + side, column : column + side] += said * np.outer(ramp, ramp)
        weights[row : row + side, column : column + side] += np.outer(ramp, ramp)
    expected = np.floor(total / weights + 0.5) >= 128
    np.testing.assert_array_equal(blend.finish(), expected[:height, :width])


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (7, 7)])
def test_what_is_smaller_than_a_window_is_mirrored(shape: tuple[int, int]) -> None:
    picture = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    parts = list(windows(picture, 8, 2))
    assert {part.shape for _, _, part in parts} == {(8, 8)}
    padded = np.pad(picture, [(0, max(0, 8 - length)) for length in shape], mode="symmetric")
    for row, column, part in parts:
        np.testing.assert_array_equal(part, padded[row : row + 8, column : column + 8])

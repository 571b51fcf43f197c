"""Compare the score with exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tgs_salt.kernels import iou_score

THRESHOLDS = [Fraction(k, 20) for k in range(10, 20)]


def reference_score(predicted: np.ndarray, truth: np.ndarray) -> Fraction:
    """Return the score of one tile by its definition, without rounding."""
    predicted, truth = predicted != 0, truth != 0
    if not truth.any() or not predicted.any():
        return Fraction(int(truth.any() == predicted.any()))
    iou = Fraction(int((predicted & truth).sum()), int((predicted | truth).sum()))
    return Fraction(sum(iou > threshold for threshold in THRESHOLDS), 10)


def disc(shape: tuple[int, int], center: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2


def test_empty_masks() -> None:
    empty, full = np.zeros((1, 5, 5), bool), np.ones((1, 5, 5), bool)
    assert iou_score.score(empty, empty) == 1
    assert iou_score.score(full, empty) == 0
    assert iou_score.score(empty, full) == 0
    assert iou_score.score(full, full) == 1


@pytest.mark.parametrize("k", range(10, 20))
@pytest.mark.parametrize("unit", [1, 510])
def test_iou_equal_to_a_threshold_does_not_exceed_it(k: int, unit: int) -> None:
    """In tiles of 20 and 10,200 pixels, IoU k / 20 exceeds only lower thresholds; one pixel more exceeds k / 20 too."""
    truth = np.ones((1, 20, unit), np.uint8)
    predicted = truth.copy()
    predicted[0, k:] = 0
    assert iou_score.score(predicted, truth) == (k - 10) / 10
    assert iou_score.score(truth, predicted) == (k - 10) / 10
    predicted[0, k, 0] = 1
    assert iou_score.score(predicted, truth) == (k - 9) / 10


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            *[hnp.arrays(np.uint8, (n, 4, 5), elements=st.sampled_from([0, 0, 1, 1, 255])) for _ in range(2)]
        )
    )
)
@settings(max_examples=200, deadline=None)
def test_small_tiles_match_the_reference(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = pair
    expected = [float(reference_score(*tile)) for tile in zip(predicted, truth, strict=True)]
    assert iou_score.score(predicted, truth).tolist() == expected
    assert iou_score.score(predicted != 0, truth != 0, threads=2).tolist() == expected


@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 2**32), st.integers(0, 255), st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_bytes_match_the_reference(height: int, width: int, seed: int, threshold: int, min_area: int) -> None:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0, 60, size=(2, 4))
    centers = rng.uniform(0, 100, size=(4, 2))
    truth = np.stack([disc((height, width), centers[k], radius[0, k]) for k in range(4)])
    shifted = np.stack([disc((height, width), centers[k] + 2, radius[1, k]) for k in range(4)])
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    probabilities = np.where(rng.random(truth.shape) < 0.1, noise, np.where(shifted, 230, 20)).astype(np.uint8)
    masks = probabilities >= threshold
    masks &= (masks.sum(axis=(1, 2)) >= min_area)[:, None, None]
    expected = [float(reference_score(*tile)) for tile in zip(masks, truth, strict=True)]
    assert iou_score.score_bytes(probabilities, truth, threshold, min_area).tolist() == expected
    assert iou_score.score(masks, truth).tolist() == expected


def test_threads_do_not_change_scores() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat(rng.random((40, 101, 101)) < 0.5, 50, axis=0)
    predicted = truth ^ (rng.random((2000, 1, 1)) * rng.random(truth.shape) < 0.1)
    assert truth.size > 2 * iou_score.CHUNK_BYTES
    scores = iou_score.score(predicted, truth, threads=1)
    np.testing.assert_array_equal(scores, iou_score.score(predicted, truth, threads=3))
    assert len(np.unique(scores)) > 4
    assert scores[1999] == reference_score(predicted[1999], truth[1999])


def test_no_tiles() -> None:
    assert iou_score.score(np.zeros((0, 101, 101), bool), np.zeros((0, 101, 101), bool)).shape == (0,)


def test_invalid_arguments() -> None:
    tiles = np.zeros((2, 3, 3), np.uint8)
    for predicted, truth, threshold in [
        (tiles, tiles[:1], 1),
        (tiles, tiles.transpose(0, 2, 1)[:, :2], 1),
        (tiles, tiles.astype(float), 1),
        (tiles, tiles[0], 1),
        (tiles, tiles, 256),
    ]:
        with pytest.raises(ValueError, match="expected"):
            iou_score.score_bytes(predicted, truth, threshold)
    with pytest.raises(ValueError, match="threads is 0"):
        iou_score.score(tiles, tiles, threads=0)

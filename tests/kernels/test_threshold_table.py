"""Compare score tables with masks scored one threshold and one minimum area at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tgs_salt.kernels import iou_score, threshold_table


def reference_tenths(probabilities: np.ndarray, truth: np.ndarray, threshold: int, min_area: int) -> int:
    """Compute one cell of the table from masks, with numpy."""
    total = 0
    for tile, salt in zip(probabilities, truth != 0, strict=True):
        mask = tile >= threshold
        if mask.sum() < min_area:
            mask[:] = False
        union = int((mask | salt).sum())
        total += 10 if union == 0 else sum(20 * int((mask & salt).sum()) > k * union for k in range(10, 20))
    return total


@st.composite
def datasets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities that are right at some pixels and noise at the others, with empty and full tiles."""
    count, height, width = draw(st.tuples(st.integers(1, 8), st.integers(1, 17), st.integers(1, 17)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = rng.random((count, height, width)) < rng.choice([0, 0.1, 0.5, 0.9, 1], size=(count, 1, 1))
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    correct = rng.random(truth.shape) < draw(st.sampled_from([0, 0.5, 0.9, 1]))
    return np.where(correct, np.where(truth, 255, 0), noise).astype(np.uint8), truth


@given(datasets(), st.data())
@settings(max_examples=60, deadline=None)
def test_table_matches_masks(dataset: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    probabilities, truth = dataset
    counts = threshold_table.histograms(probabilities, truth)
    table = threshold_table.score_table(counts)
    pixels = truth[0].size
    assert table.shape == (256, pixels + 1)
    assert table.dtype == np.int64
    np.testing.assert_array_equal(threshold_table.score_by_threshold(counts), table[:, 0])
    for _ in range(8):
        threshold, area = data.draw(st.integers(0, 255)), data.draw(st.integers(0, pixels))
        assert table[threshold, area] == reference_tenths(probabilities, truth, threshold, area)


def test_every_cell_of_a_small_dataset() -> None:
    rng = np.random.default_rng(11)
    truth = np.stack([rng.random((3, 4)) < share for share in (0, 0, 0.3, 0.6, 0.9, 1)])
    values = np.array([0, 1, 100, 127, 128, 200, 254, 255], np.uint8)
    probabilities = values[np.where(truth, rng.integers(3, 8, truth.shape), rng.integers(0, 5, truth.shape))]
    table = threshold_table.score_table(threshold_table.histograms(probabilities, truth))
    for threshold in range(256):
        for area in range(13):
            assert table[threshold, area] == reference_tenths(probabilities, truth, threshold, area)


@given(hnp.arrays(np.uint8, (2, 3, 11)), hnp.arrays(np.uint8, (2, 3, 11), elements=st.sampled_from([0, 1, 128, 255])))
@settings(max_examples=100, deadline=None)
def test_histograms_count_bytes(probabilities: np.ndarray, truth: np.ndarray) -> None:
    counts = threshold_table.histograms(probabilities, truth)
    assert counts.shape == (2, 2, 256)
    assert counts.dtype == np.uint32
    for tile in range(2):
        for is_salt, selected in enumerate((truth[tile] == 0, truth[tile] != 0)):
            np.testing.assert_array_equal(
                counts[tile, is_salt], np.bincount(probabilities[tile][selected], minlength=256)
            )


def test_table_matches_iou_score() -> None:
    rng = np.random.default_rng(2)
    truth = np.stack([np.indices((101, 101)).sum(axis=0) < size for size in (0, 3, 40, 100, 150, 250)] * 20)
    raw = 128 + 90 * (truth - 0.5) + rng.normal(0, 60, truth.shape)
    probabilities = np.clip(raw, 0, 255).astype(np.uint8)
    counts = threshold_table.histograms(probabilities, truth, threads=2)
    table = threshold_table.score_table(counts, threads=2)
    assert table.shape == (256, 10_202)
    for threshold, area in [(0, 0), (0, 10_201), (1, 10_201), (128, 0), (128, 700), (140, 5_000), (255, 1)]:
        scores = iou_score.score_bytes(probabilities, truth, threshold, area)
        assert table[threshold, area] == np.rint(scores * 10).sum()


def test_tables_of_folds_add_up() -> None:
    rng = np.random.default_rng(8)
    truth = rng.random((2100, 6, 7)) < rng.random((2100, 1, 1))
    probabilities = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    fold = rng.integers(0, 5, len(truth))
    counts = threshold_table.histograms(probabilities, truth)
    total = threshold_table.score_table(counts)
    tables = [threshold_table.score_table(counts, fold == k, threads=1 + k % 3) for k in range(5)]
    np.testing.assert_array_equal(sum(tables), total)
    np.testing.assert_array_equal(tables[3], threshold_table.score_table(counts[fold == 3]))
    np.testing.assert_array_equal(total - tables[2], threshold_table.score_table(counts, np.flatnonzero(fold != 2)))
    np.testing.assert_array_equal(threshold_table.score_by_threshold(counts, fold == 4), tables[4][:, 0])
    np.testing.assert_array_equal(
        threshold_table.score_table(counts, [7, 7]), 2 * threshold_table.score_table(counts, [7])
    )
    assert not threshold_table.score_table(counts, []).any()
    assert not threshold_table.score_by_threshold(counts, np.zeros(2100, bool)).any()


def test_threads_do_not_change_counts() -> None:
    rng = np.random.default_rng(9)
    truth = np.repeat(rng.random((10, 101, 101)) < 0.3, 90, axis=0)
    probabilities = np.where(rng.random(truth.shape) < 0.2, 77, truth * np.uint8(255)).astype(np.uint8)
    assert truth.size > 2 * threshold_table.CHUNK_BYTES
    one, three = (threshold_table.histograms(probabilities, truth, threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    assert (one.sum(axis=(1, 2)) == 10_201).all()


def test_invalid_arguments() -> None:
    tiles = np.zeros((3, 4, 4), np.uint8)
    counts = threshold_table.histograms(tiles, tiles)
    for truth in (tiles[:2], tiles.astype(np.int64), tiles[0]):
        with pytest.raises(ValueError, match="expected"):
            threshold_table.histograms(tiles, truth)
    for histograms, selected in [
        (counts[:0], None),
        (counts.astype(np.int64), None),
        (counts[:, :1], None),
        (counts, np.ones(2, bool)),
    ]:
        with pytest.raises(ValueError, match="expected"):
            threshold_table.score_table(histograms, selected)
    for selected in ([3], [-1]):
        with pytest.raises(IndexError, match=r"expected 0\.\.2"):
            threshold_table.score_table(counts, selected)
    with pytest.raises(TypeError):
        threshold_table.score_table(counts, [0.5])

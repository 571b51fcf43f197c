"""Exact scores at every probability threshold and every minimum area, from one pass over the probabilities.

The histogram of a tile's probability bytes, separate for salt and background pixels, determines its predicted area and
its intersection with the true mask at all 256 probability thresholds: they are sums over the bytes at or above the
threshold. The tile's score at a probability threshold is then computed in integers (see `iou_score`).

A minimum area changes the score only if the predicted area is smaller: the prediction then counts as empty. For each
tile and threshold, the score is a step function of min_area. Steps are added to a difference array; a cumulative sum
along min_area gives the table.

Entries are integers (10 x score, summed over tiles), so tables can be added and subtracted: the table of all tiles
outside a fold is the table of all tiles minus the fold's.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tgs_salt.kernels.jit import as_stack, kernel, map_chunks, read_only

CHUNK_BYTES = 4 << 20  # bytes of tiles per task of a thread
TILES_PER_CHUNK = 512  # tiles per task of a thread
ROWS_PER_CHUNK = 8  # thresholds per task of a thread: their rows for 101 x 101 tiles fit into a core's cache
MAX_PIXELS = 100_000_000  # per tile, so that 20 * pixels fits an int32
N_THRESHOLDS = np.uint64(256)

U64 = np.uint64
LOW_BYTE = U64(0xFF)
BYTES_OF_1 = U64(0x0101_0101_0101_0101)
BYTES_OF_127 = U64(0x7F7F_7F7F_7F7F_7F7F)


def histograms(probabilities: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Count the probability bytes on background, [:, 0], and on salt, [:, 1]: (n, 2, 256) uint32.

    Args:
        probabilities: Probability bytes, (n, h, w) uint8.
        truth: Ground-truth masks of the same shape, bool or uint8, nonzero = salt.
        threads: Number of threads.

    Raises:
        ValueError: If a dtype differs, the shapes are not equal or a tile has more than 100 million pixels.
    """
    stack, masks = as_stack(probabilities, "probabilities"), as_stack(truth, "truth")
    if stack.shape != masks.shape:
        raise ValueError(f"probabilities have shape {stack.shape} and truth {masks.shape}; expected the same")
    count, height, width = stack.shape
    pixels = height * width
    if pixels > MAX_PIXELS:
        raise ValueError(f"tiles have {pixels} pixels; expected at most {MAX_PIXELS}")
    counts = np.empty((count, 2, 256), np.uint32)
    count_chunk = partial(count_bytes, stack.reshape(-1), masks.reshape(-1), pixels, counts)
    map_chunks(count_chunk, count, threads, max(1, CHUNK_BYTES // pixels))
    return counts


def score_table(histograms: np.ndarray, tiles: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """Return 10 x score, summed over tiles, at [probability threshold, min_area]: (256, h * w + 1) int64.

    Args:
        histograms: Result of `histograms`, (n, 2, 256) uint32.
        tiles: Tiles to sum over, as (n,) bool or as indices (a repeated index counts repeatedly). Default: all.
        threads: Number of threads.

    Raises:
        ValueError: If `histograms` is empty or invalid, or if a bool `tiles` has another length.
        IndexError: If an index is out of range.
    """
    counts, indices = _check_arguments(histograms, tiles)
    tenths, areas = _score_thresholds(counts, indices, threads)
    empty_prediction_tenths = np.where(counts[indices, 1].any(axis=1), 0, 10).astype(np.uint8)
    table = np.zeros((256, int(counts[0].sum()) + 1), np.int64)
    map_chunks(partial(fill_table, tenths, areas, empty_prediction_tenths, table), 256, threads, ROWS_PER_CHUNK)
    return table


def score_by_threshold(histograms: np.ndarray, tiles: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """Return 10 x score, summed over tiles, at each probability threshold without a minimum area: (256,) int64.

    This is the first column of `score_table`, with the same arguments and errors.
    """
    counts, indices = _check_arguments(histograms, tiles)
    tenths, _ = _score_thresholds(counts, indices, threads)
    return tenths.sum(axis=0, dtype=np.int64)


def _score_thresholds(counts: np.ndarray, indices: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 10 x score, (m, 256) uint8, and predicted areas, (m, 256) int32, of the tiles `indices`, (m,)."""
    tenths = np.empty((len(indices), 256), np.uint8)
    areas = np.empty((len(indices), 256), np.int32)
    map_chunks(partial(score_thresholds, counts, indices, tenths, areas), len(indices), threads, TILES_PER_CHUNK)
    return tenths, areas


def _check_arguments(histograms: np.ndarray, tiles: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the histograms as read-only, C-contiguous uint32 and the selected tiles as indices, (m,) int64."""
    if histograms.dtype != np.uint32 or histograms.ndim != 3 or histograms.shape[1:] != (2, 256):
        raise ValueError(f"histograms are {histograms.dtype} {histograms.shape}; expected uint32 (tiles, 2, 256)")
    if not len(histograms):
        raise ValueError("histograms are empty; expected at least one, even if no tile is selected")
    indices = np.arange(len(histograms)) if tiles is None else np.asarray(tiles)
    if indices.dtype == np.bool_:
        if indices.shape != (len(histograms),):
            raise ValueError(f"the selection of tiles has shape {indices.shape}; expected ({len(histograms)},)")
        indices = np.flatnonzero(indices)
    indices = indices.astype(np.int64, casting="same_kind") if indices.size else np.zeros(0, np.int64)
    if indices.size and not 0 <= indices.min() <= indices.max() < len(histograms):
        raise IndexError(f"tiles are in {indices.min()}..{indices.max()}; expected 0..{len(histograms) - 1}")
    return read_only(np.ascontiguousarray(histograms)), indices


@intrinsic
def load_word(typing: Any, array: Any, offset: Any) -> Any:
    """Load eight bytes at any offset of a uint8 array as a uint64, the first byte least significant."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(pointer)
        word.align = 1
        return word

    return types.uint64(array, types.uint64), build


@kernel
def count_bytes(
    probabilities: np.ndarray,  # (n * pixels,) uint8
    truth: np.ndarray,  # (n * pixels,) uint8
    pixels: int,  # per tile
    counts: np.ndarray,  # (n, 2, 256) uint32, output
    start: int,
    stop: int,
) -> None:
    """Compute the histograms of the tiles in range(start, stop).

    Pixels are read eight at a time. In the output of a trained network most groups of eight are equal (certainly salt
    or certainly not) and are counted by one addition. The pixels of other groups go to four histograms in turn:
    neighbors are often equal, and adding to the counter that was just written would wait for that write.
    """
    subtotals = np.zeros((4, 512), np.uint32)
    for tile in range(start, stop):
        subtotals[:] = 0
        position, end = U64(tile * pixels), U64((tile + 1) * pixels)
        while position + U64(8) <= end:
            values = load_word(probabilities, position)
            masks = load_word(truth, position)
            # 1 in each byte that is not 0
            salt = ((masks & BYTES_OF_127) + BYTES_OF_127 | masks) >> U64(7) & BYTES_OF_1
            if values == (values & LOW_BYTE) * BYTES_OF_1 and salt == (salt & LOW_BYTE) * BYTES_OF_1:
                subtotals[U64(0), (salt & LOW_BYTE) << U64(8) | values & LOW_BYTE] += np.uint32(8)
            else:
                for k in range(U64(8)):
                    shift = U64(8) * k
                    index = (salt >> shift & LOW_BYTE) << U64(8) | values >> shift & LOW_BYTE
                    subtotals[k & U64(3), index] += np.uint32(1)
            position += U64(8)
        while position < end:
            subtotals[U64(0), U64(truth[position] != 0) << U64(8) | U64(probabilities[position])] += np.uint32(1)
            position += U64(1)
        for is_salt in range(U64(2)):
            for value in range(N_THRESHOLDS):
                index = is_salt << U64(8) | value
                counts[tile, is_salt, value] = (
                    subtotals[U64(0), index]
                    + subtotals[U64(1), index]
                    + subtotals[U64(2), index]
                    + subtotals[U64(3), index]
                )


@kernel
def score_thresholds(
    counts: np.ndarray,  # (n, 2, 256) uint32
    indices: np.ndarray,  # (m,) int64
    tenths: np.ndarray,  # (m, 256) uint8, output: 10 x score at each probability threshold
    areas: np.ndarray,  # (m, 256) int32, output: predicted salt pixels at each probability threshold
    start: int,
    stop: int,
) -> None:
    """Compute score and area of the tiles indices[start:stop] at every probability threshold."""
    intersections = np.empty(256, np.int32)
    for row in range(U64(start), U64(stop)):
        tile = U64(indices[row])
        inside = outside = np.int32(0)  # predicted salt pixels inside and outside the true salt
        for k in range(N_THRESHOLDS):  # from the highest probability threshold down, as cumulative sums
            threshold = N_THRESHOLDS - U64(1) - k
            outside = np.int32(outside + np.int32(counts[tile, U64(0), threshold]))
            inside = np.int32(inside + np.int32(counts[tile, U64(1), threshold]))
            intersections[threshold] = inside
            areas[row, threshold] = np.int32(inside + outside)
        true_area = inside
        for threshold in range(N_THRESHOLDS):
            scaled = np.int32(20 * intersections[threshold])
            union = np.int32(areas[row, threshold] + true_area - intersections[threshold])
            hits = np.int32(0)
            for k in range(10, 20):  # IoU thresholds k / 20
                hits = np.int32(hits + np.int32(scaled > np.int32(np.int32(k) * union)))
            tenths[row, threshold] = hits if union else 10


@kernel
def fill_table(
    tenths: np.ndarray,  # (m, 256) uint8
    areas: np.ndarray,  # (m, 256) int32
    empty_prediction_tenths: np.ndarray,  # (m,) uint8: 10 x score of an empty prediction
    table: np.ndarray,  # (256, pixels + 1) int64, zeros, output
    start: int,
    stop: int,
) -> None:
    """Compute the rows of the table in range(start, stop)."""
    columns = U64(table.shape[1])
    for row in range(U64(tenths.shape[0])):
        for threshold in range(U64(start), U64(stop)):
            table[threshold, U64(0)] += np.int64(tenths[row, threshold])
            step = U64(areas[row, threshold]) + U64(1)  # the smallest minimum area that makes this tile empty
            if step < columns:
                table[threshold, step] += np.int64(empty_prediction_tenths[row]) - np.int64(tenths[row, threshold])
    for threshold in range(U64(start), U64(stop)):
        total = table[threshold, U64(0)]
        for area in range(U64(1), columns):
            total += table[threshold, area]
            table[threshold, area] = total

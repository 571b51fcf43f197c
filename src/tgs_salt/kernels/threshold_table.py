"""Exact scores at every threshold and every minimum area, from one pass over the probabilities.

A tile's histogram of probability bytes, kept apart for salt and background pixels, holds its predicted area and its
intersection with the truth at all 256 thresholds: sums over the bytes that reach the threshold. Its score at a
threshold is then one integer (see `metric`), and a minimum area m matters only by m <= area: below, the tile scores
as an empty prediction does. So each tile and threshold adds one step to a table over m, written as a difference at
the step and summed up once at the end.

Tables are integers (tenths of score, summed over tiles) and additive: the table of all folds but one is the table of
all less that of the one.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tgs_salt.kernels.jit import as_stack, frozen, kernel, map_chunks

PIECE = 4 << 20  # bytes of tiles that a thread takes at a time
MAX_PIXELS = 100_000_000  # 20 * pixels fits an int32
LEVELS = np.uint64(256)
BAND = 8  # thresholds whose rows of the table are filled together: for 101 x 101 tiles they stay in a core's cache

U64 = np.uint64
BYTE = U64(0xFF)
EACH_BYTE = U64(0x0101_0101_0101_0101)
LOW_BITS = U64(0x7F7F_7F7F_7F7F_7F7F)


def histograms(probabilities: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Count bytes on background, [:, 0], and on salt, [:, 1]: (n, 2, 256) uint32.

    probabilities: (n, h, w) uint8; truth: (n, h, w) bool or uint8 with nonzero = salt.
    Raises ValueError on other types, unequal shapes or tiles of more than 100 million pixels.
    """
    stack, masks = as_stack(probabilities, "probabilities"), as_stack(truth, "truth")
    if stack.shape != masks.shape:
        raise ValueError(f"probabilities have shape {stack.shape} and truth {masks.shape}; expected the same")
    count, height, width = stack.shape
    pixels = height * width
    if pixels > MAX_PIXELS:
        raise ValueError(f"tiles have {pixels} pixels; expected at most {MAX_PIXELS}")
    counts = np.empty((count, 2, 256), np.uint32)
    work = partial(count_bytes, stack.reshape(-1), masks.reshape(-1), pixels, counts)
    map_chunks(work, count, threads, max(1, PIECE // pixels))
    return counts


def score_table(histograms: np.ndarray, tiles: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """Tenths of score, summed over tiles, at [threshold, min_area]: (256, h * w + 1) int64.

    histograms: as `histograms` returns them, all of tiles of one size. tiles: which of them count, as indices (a tile
    named twice counts twice) or as (n,) bool; all by default. min_area runs over 0..h * w: a tile with fewer salt
    pixels than that is empty. Raises ValueError or IndexError where these do not fit.
    """
    counts, chosen = _checked(histograms, tiles)
    tenths = np.empty((len(chosen), 256), np.uint8)
    areas = np.empty((len(chosen), 256), np.int32)
    map_chunks(partial(score_levels, counts, chosen, tenths, areas), len(chosen), threads, 512)
    empty = np.where(counts[chosen, 1].any(axis=1), 0, 10).astype(np.uint8)
    table = np.zeros((256, int(counts[0].sum()) + 1), np.int64)
    map_chunks(partial(fill_table, tenths, areas, empty, table), 256, threads, BAND)
    return table


def score_by_threshold(histograms: np.ndarray, tiles: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """Tenths of score, summed over tiles, at each threshold without a minimum area: (256,) int64.

    The first column of `score_table`, of the same arguments.
    """
    counts, chosen = _checked(histograms, tiles)
    tenths = np.empty((len(chosen), 256), np.uint8)
    areas = np.empty((len(chosen), 256), np.int32)
    map_chunks(partial(score_levels, counts, chosen, tenths, areas), len(chosen), threads, 512)
    return tenths.sum(axis=0, dtype=np.int64)


def _checked(histograms: np.ndarray, tiles: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Histograms and the indices of the chosen tiles as the kernels take them."""
    if histograms.dtype != np.uint32 or histograms.ndim != 3 or histograms.shape[1:] != (2, 256):
        raise ValueError(f"histograms are {histograms.dtype} {histograms.shape}; expected uint32 (tiles, 2, 256)")
    if not len(histograms):
        raise ValueError("there is no histogram; expected at least one, whatever tiles are chosen")
    chosen = np.arange(len(histograms)) if tiles is None else np.asarray(tiles)
    if chosen.dtype == np.bool_:
        if chosen.shape != (len(histograms),):
            raise ValueError(f"the choice of tiles has shape {chosen.shape}; expected ({len(histograms)},)")
        chosen = np.flatnonzero(chosen)
    chosen = chosen.astype(np.int64, casting="same_kind") if chosen.size else np.zeros(0, np.int64)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(histograms):
        raise IndexError(f"tiles run over {chosen.min()}..{chosen.max()}; expected 0..{len(histograms) - 1}")
    return frozen(np.ascontiguousarray(histograms)), chosen


@intrinsic
def load_word(typing: Any, array: Any, offset: Any) -> Any:
    """Eight bytes of a uint8 array from any offset as a uint64, the first byte lowest."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place)
        word.align = 1
        return word

    return types.uint64(array, types.uint64), build


@kernel
def count_bytes(
    probabilities: np.ndarray,  # (n * pixels,) uint8
    truth: np.ndarray,  # (n * pixels,) uint8
    pixels: int,
    counts: np.ndarray,  # (n, 2, 256) uint32, written here
    first: int,
    last: int,
) -> None:
    """Histograms of tiles first..last-1.

    Pixels are taken eight at a time. Most eights of a trained network's maps are alike (sure of salt or of none) and
    count at once. The others go to four histograms in turn: neighbours are often equal, and adding to the counter
    that was just written would wait for that write.
    """
    lanes = np.zeros((4, 512), np.uint32)
    for tile in range(first, last):
        lanes[:] = 0
        at, end = U64(tile * pixels), U64((tile + 1) * pixels)
        while at + U64(8) <= end:
            bytes_ = load_word(probabilities, at)
            masks = load_word(truth, at)
            salt = ((masks & LOW_BITS) + LOW_BITS | masks) >> U64(7) & EACH_BYTE  # 1 in each byte that is not 0
            if bytes_ == (bytes_ & BYTE) * EACH_BYTE and salt == (salt & BYTE) * EACH_BYTE:
                lanes[U64(0), (salt & BYTE) << U64(8) | bytes_ & BYTE] += np.uint32(8)
            else:
                for k in range(U64(8)):
                    shift = U64(8) * k
                    cell = (salt >> shift & BYTE) << U64(8) | bytes_ >> shift & BYTE
                    lanes[k & U64(3), cell] += np.uint32(1)
            at += U64(8)
        while at < end:
            lanes[U64(0), U64(truth[at] != 0) << U64(8) | U64(probabilities[at])] += np.uint32(1)
            at += U64(1)
        for side in range(U64(2)):
            for level in range(LEVELS):
                cell = side << U64(8) | level
                counts[tile, side, level] = (
                    lanes[U64(0), cell] + lanes[U64(1), cell] + lanes[U64(2), cell] + lanes[U64(3), cell]
                )


@kernel
def score_levels(
    counts: np.ndarray,  # (n, 2, 256) uint32
    chosen: np.ndarray,  # (m,) int64
    tenths: np.ndarray,  # (m, 256) uint8: ten times the score at each threshold, written here
    areas: np.ndarray,  # (m, 256) int32: predicted salt pixels at each threshold, written here
    first: int,
    last: int,
) -> None:
    """Score and area at every threshold of the tiles chosen[first..last-1]."""
    both = np.empty(256, np.int32)
    for row in range(U64(first), U64(last)):
        tile = U64(chosen[row])
        inside = outside = np.int32(0)
        for k in range(LEVELS):  # from the highest byte down: sums over the bytes that reach the threshold
            level = LEVELS - U64(1) - k
            outside = np.int32(outside + np.int32(counts[tile, U64(0), level]))
            inside = np.int32(inside + np.int32(counts[tile, U64(1), level]))
            both[level] = inside
            areas[row, level] = np.int32(inside + outside)
        salt = inside
        for level in range(LEVELS):
            hit = np.int32(20 * both[level])
            union = np.int32(areas[row, level] + salt - both[level])
            hits = np.int32(0)
            for k in range(10, 20):
                hits = np.int32(hits + np.int32(hit > np.int32(np.int32(k) * union)))
            tenths[row, level] = hits if union else 10


@kernel
def fill_table(
    tenths: np.ndarray,  # (m, 256) uint8
    areas: np.ndarray,  # (m, 256) int32
    empty: np.ndarray,  # (m,) uint8: ten times the score of an empty prediction
    table: np.ndarray,  # (256, pixels + 1) int64, zero, written here
    first: int,
    last: int,
) -> None:
    """Rows first..last-1 of the table."""
    columns = U64(table.shape[1])
    for row in range(U64(tenths.shape[0])):
        for level in range(U64(first), U64(last)):
            table[level, U64(0)] += np.int64(tenths[row, level])
            step = U64(areas[row, level]) + U64(1)  # the smallest minimum area that empties this tile
            if step < columns:
                table[level, step] += np.int64(empty[row]) - np.int64(tenths[row, level])
    for level in range(U64(first), U64(last)):
        total = table[level, U64(0)]
        for area in range(U64(1), columns):
            total += table[level, area]
            table[level, area] = total

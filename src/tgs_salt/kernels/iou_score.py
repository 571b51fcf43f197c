"""The competition's score, tile by tile, in integers.

A tile holds at most one object, its salt. With intersection I and union U of predicted and true salt, the tile's
precision at an IoU threshold t is 1 if I / U > t, strictly, and 0 otherwise; its score is the mean over t = 0.50,
0.55, ..., 0.95 (https://www.kaggle.com/c/tgs-salt-identification-challenge/overview/evaluation). With t = k / 20 the
test is 20 I > k U for k = 10..19, which no rounding can turn. Two empty masks score 1, an empty one against salt 0.
"""

from functools import partial
from operator import index

import numpy as np

from tgs_salt.kernels.jit import as_byte, as_stack, kernel, map_chunks

BYTE_HALF = 128  # the byte of probability 0.5
PIECE = 8 << 20  # bytes of tiles that a thread takes at a time
U8 = np.uint8
CHUNK = np.uint64(224)  # pixels counted in one byte a lane; a multiple of the 32 lanes of a vector, below 256


def score(predicted: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Score of each tile, (n,) float64 in 0..1, from two (n, h, w) stacks of bool or uint8 with nonzero = salt.

    Raises ValueError on other types or on unequal shapes.
    """
    return _score(as_stack(predicted, "predicted"), as_stack(truth, "truth"), U8(1), 0, threads)


def score_bytes(
    probabilities: np.ndarray, truth: np.ndarray, threshold: int, min_area: int = 0, threads: int = 1
) -> np.ndarray:
    """Score of each tile, (n,) float64 in 0..1, of (n, h, w) uint8 probabilities against a truth as `score` takes it.

    A pixel is salt where its byte reaches `threshold` (0..255; 0 makes all of them salt). A tile with fewer than
    `min_area` salt pixels is empty. Raises ValueError as `score` does, and on a threshold out of range.
    """
    stack = as_stack(probabilities, "probabilities")
    return _score(stack, as_stack(truth, "truth"), as_byte(threshold, "threshold"), index(min_area), threads)


def _score(predicted: np.ndarray, truth: np.ndarray, threshold: np.uint8, min_area: int, threads: int) -> np.ndarray:
    if predicted.shape != truth.shape:
        raise ValueError(f"predictions have shape {predicted.shape} and truth {truth.shape}; expected the same")
    count, height, width = predicted.shape
    pixels = height * width
    tenths = np.empty(count, np.uint8)
    work = partial(score_tiles, predicted.reshape(-1), truth.reshape(-1), pixels, threshold, min_area, tenths)
    map_chunks(work, count, threads, max(1, PIECE // pixels))
    return tenths / 10


@kernel
def count_pixels(
    predicted: np.ndarray, truth: np.ndarray, start: int, end: int, threshold: int
) -> tuple[int, int, int]:
    """Salt pixels of start..end-1 in the prediction, in the truth and in both. At most 255 pixels."""
    area = salt = both = U8(0)
    for k in range(start, end):
        a = U8(predicted[k] >= threshold)
        b = U8(truth[k] != U8(0))
        area = U8(area + a)
        salt = U8(salt + b)
        both = U8(both + (a & b))
    return np.int64(area), np.int64(salt), np.int64(both)


@kernel
def score_tiles(
    predicted: np.ndarray,  # (n * pixels,) uint8
    truth: np.ndarray,  # (n * pixels,) uint8
    pixels: int,
    threshold: int,  # uint8
    min_area: int,
    tenths: np.ndarray,  # (n,) uint8: ten times the score, written here
    first: int,
    last: int,
) -> None:
    """Score tiles first..last-1."""
    for tile in range(first, last):
        area = salt = both = 0
        end = np.uint64((tile + 1) * pixels)
        at = np.uint64(tile * pixels)
        while at + CHUNK <= end:
            in_area, in_salt, in_both = count_pixels(predicted, truth, at, at + CHUNK, threshold)
            area, salt, both = area + in_area, salt + in_salt, both + in_both
            at += CHUNK
        in_area, in_salt, in_both = count_pixels(predicted, truth, at, end, threshold)
        area, salt, both = area + in_area, salt + in_salt, both + in_both
        if area < min_area:
            area = both = 0
        union = area + salt - both
        hits = 0
        for k in range(10, 20):
            hits += 20 * both > k * union
        tenths[tile] = hits if union else 10

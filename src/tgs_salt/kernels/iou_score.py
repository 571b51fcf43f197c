"""The competition's score: mean average precision over IoU thresholds 0.50 to 0.95, in integer arithmetic.

The score is not the plain IoU. A tile has at most one object: its salt. With intersection I and union U of predicted
and true salt, the precision of a tile at an IoU threshold t is 1 if I / U > t (strictly), otherwise 0. Its score is the
mean over t = 0.50, 0.55, ..., 0.95 (https://www.kaggle.com/c/tgs-salt-identification-challenge/overview/evaluation).
With t = k / 20 the comparison is 20 I > k U for k = 10..19, which is exact. If both masks are empty the score is 1; if
only one is, it is 0.
"""

from functools import partial
from operator import index

import numpy as np

from tgs_salt.kernels.jit import as_byte, as_stack, kernel, map_chunks

BYTE_HALF = 128  # the byte of probability 0.5
CHUNK_BYTES = 8 << 20  # bytes of tiles per task of a thread
U8 = np.uint8
BLOCK = np.uint64(224)  # pixels counted in uint8: below 256, and a multiple of the 32 bytes of a vector register


def score(predicted: np.ndarray, truth: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the mean average precision of each tile over IoU thresholds 0.50 to 0.95, (n,) float64 in 0..1.

    Args:
        predicted: Predicted masks, (n, h, w) bool or uint8, nonzero = salt.
        truth: Ground-truth masks of the same shape, bool or uint8, nonzero = salt.
        threads: Number of threads.

    Raises:
        ValueError: If a dtype differs or the shapes are not equal.
    """
    return _score(as_stack(predicted, "predicted"), as_stack(truth, "truth"), U8(1), 0, threads)


def score_bytes(
    probabilities: np.ndarray, truth: np.ndarray, threshold: int, min_area: int = 0, threads: int = 1
) -> np.ndarray:
    """Return the same score as `score`, (n,) float64 in 0..1, for probabilities instead of masks.

    Args:
        probabilities: Probability bytes, (n, h, w) uint8. A pixel is salt if its byte is at least `threshold`.
        truth: Ground-truth masks as in `score`.
        threshold: Threshold in 0..255; 0 makes every pixel salt.
        min_area: A tile with fewer predicted salt pixels is empty.
        threads: Number of threads.

    Raises:
        ValueError: As in `score`, or if the threshold is not in 0..255.
    """
    stack = as_stack(probabilities, "probabilities")
    return _score(stack, as_stack(truth, "truth"), as_byte(threshold, "threshold"), index(min_area), threads)


def _score(predicted: np.ndarray, truth: np.ndarray, threshold: np.uint8, min_area: int, threads: int) -> np.ndarray:
    if predicted.shape != truth.shape:
        raise ValueError(f"predictions have shape {predicted.shape} and truth {truth.shape}; expected the same")
    count, height, width = predicted.shape
    pixels = height * width
    tenths = np.empty(count, np.uint8)
    score_chunk = partial(score_tiles, predicted.reshape(-1), truth.reshape(-1), pixels, threshold, min_area, tenths)
    map_chunks(score_chunk, count, threads, max(1, CHUNK_BYTES // pixels))
    return tenths / 10


@kernel
def count_pixels(
    predicted: np.ndarray, truth: np.ndarray, start: int, stop: int, threshold: int
) -> tuple[int, int, int]:
    """Count the salt pixels in range(start, stop), at most 255: predicted, true and in both masks."""
    predicted_area = true_area = intersection = U8(0)
    for k in range(start, stop):
        a = U8(predicted[k] >= threshold)
        b = U8(truth[k] != U8(0))
        predicted_area = U8(predicted_area + a)
        true_area = U8(true_area + b)
        intersection = U8(intersection + (a & b))
    return np.int64(predicted_area), np.int64(true_area), np.int64(intersection)


@kernel
def score_tiles(
    predicted: np.ndarray,  # (n * pixels,) uint8
    truth: np.ndarray,  # (n * pixels,) uint8
    pixels: int,  # per tile
    threshold: int,  # uint8
    min_area: int,
    tenths: np.ndarray,  # (n,) uint8, output: 10 x score
    start: int,
    stop: int,
) -> None:
    """Score the tiles in range(start, stop)."""
    for tile in range(start, stop):
        predicted_area = true_area = intersection = 0
        position = np.uint64(tile * pixels)
        end = np.uint64((tile + 1) * pixels)
        while position + BLOCK <= end:
            a, b, both = count_pixels(predicted, truth, position, position + BLOCK, threshold)
            predicted_area, true_area, intersection = predicted_area + a, true_area + b, intersection + both
            position += BLOCK
        a, b, both = count_pixels(predicted, truth, position, end, threshold)
        predicted_area, true_area, intersection = predicted_area + a, true_area + b, intersection + both
        if predicted_area < min_area:
            predicted_area = intersection = 0
        union = predicted_area + true_area - intersection
        hits = 0  # IoU thresholds that the tile exceeds
        for k in range(10, 20):  # IoU thresholds k / 20
            hits += 20 * intersection > k * union
        tenths[tile] = hits if union else 10

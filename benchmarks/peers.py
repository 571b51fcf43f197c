"""What others use, rewritten from how it is described: the yardsticks of `benchmarks.kernels`."""

import numpy as np

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def rle_popular(mask: np.ndarray) -> str:
    """The numpy encoder of most notebooks: change points of the transposed mask between two zeros."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def rle_loop(mask: np.ndarray) -> str:
    """The older encoder: a Python loop over pixels."""
    runs = []
    length = 0
    start = 1
    position = 1
    for pixel in mask.flatten(order="F"):
        if pixel == 0:
            if length:
                runs.append((start, length))
                length = 0
        else:
            if length == 0:
                start = position
            length += 1
        position += 1
    if length:
        runs.append((start, length))
    return " ".join(f"{start} {length}" for start, length in runs)


def score_histogram2d(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The kernel that counts with np.histogram2d, image by image, with the bins that were put right later."""
    scores = []
    for mask, salt in zip(predicted.astype(np.uint8), truth.astype(np.uint8), strict=True):
        bins = ([0, 0.5, 1], [0, 0.5, 1])
        overlap = np.histogram2d(salt.flatten(), mask.flatten(), bins=bins)[0]
        area_truth = np.histogram(salt, bins=[0, 0.5, 1])[0][:, None]
        area_predicted = np.histogram(mask, bins=[0, 0.5, 1])[0][None]
        union = area_truth + area_predicted - overlap
        if union[1, 1] == 0:
            scores.append(1.0)
            continue
        ratio = (overlap / np.maximum(union, 1e-9))[1:, 1:]
        precision = []
        for threshold in THRESHOLDS:
            matches = ratio > threshold
            true = np.sum(np.sum(matches, axis=1) == 1)
            false = np.sum(np.sum(matches, axis=0) == 0)
            missed = np.sum(np.sum(matches, axis=1) == 0)
            precision.append(true / (true + false + missed))
        scores.append(float(np.mean(precision)))
    return float(np.mean(scores))


def score_per_image(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The kernel that computes one IoU an image with numpy and compares it with each threshold."""
    scores = []
    for mask, salt in zip(predicted, truth, strict=True):
        if np.sum(salt) == 0 or np.sum(mask) == 0:
            scores.append(float(np.sum(salt) == np.sum(mask)))
            continue
        ratio = np.sum(np.logical_and(salt, mask)) / np.sum(np.logical_or(salt, mask))
        scores.append(float(np.mean([ratio > threshold for threshold in THRESHOLDS])))
    return float(np.mean(scores))


def score_vectorised(predicted: np.ndarray, truth: np.ndarray) -> float:
    """All images at once in numpy; both (n, pixels) bool."""
    both = np.count_nonzero(predicted & truth, axis=1)
    area, salt = np.count_nonzero(predicted, axis=1), np.count_nonzero(truth, axis=1)
    return _mean_score(both, area + salt - both)


def score_packed(predicted: np.ndarray, packed_truth: np.ndarray) -> float:
    """The same on bits, the fastest that numpy alone does here: predicted (n, pixels) bool, truth packed beforehand."""
    packed = np.packbits(predicted, axis=1)
    both = np.bitwise_count(packed & packed_truth).sum(axis=1, dtype=np.int64)
    return _mean_score(both, np.bitwise_count(packed | packed_truth).sum(axis=1, dtype=np.int64))


def _mean_score(both: np.ndarray, union: np.ndarray) -> float:
    hits = (20 * both[:, None] > np.arange(10, 20) * union[:, None]).mean(axis=1)
    return float(np.where(union == 0, 1, hits).mean())

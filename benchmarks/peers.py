"""Implementations that others commonly use, as baselines of `benchmarks.kernels`."""

import numpy as np

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def rle_numpy(mask: np.ndarray) -> str:
    """Encode a mask as most notebooks do: change points of the transposed, zero-padded mask."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def rle_loop(mask: np.ndarray) -> str:
    """Encode a mask as older notebooks do: a Python loop over pixels."""
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


def score_histogram2d(predicted: np.ndarray, masks: np.ndarray) -> float:
    """Score with np.histogram2d per image, with the bins that later versions of that notebook corrected."""
    scores = []
    for prediction, mask in zip(predicted.astype(np.uint8), masks.astype(np.uint8), strict=True):
        bins = ([0, 0.5, 1], [0, 0.5, 1])
        intersection = np.histogram2d(mask.flatten(), prediction.flatten(), bins=bins)[0]
        area_true = np.histogram(mask, bins=[0, 0.5, 1])[0][:, None]
        area_predicted = np.histogram(prediction, bins=[0, 0.5, 1])[0][None]
        union = area_true + area_predicted - intersection
        if union[1, 1] == 0:
            scores.append(1.0)
            continue
        iou = (intersection / np.maximum(union, 1e-9))[1:, 1:]
        precision = []
        for threshold in THRESHOLDS:
            matches = iou > threshold
            true_positives = np.sum(np.sum(matches, axis=1) == 1)
            false_positives = np.sum(np.sum(matches, axis=0) == 0)
            false_negatives = np.sum(np.sum(matches, axis=1) == 0)
            precision.append(true_positives / (true_positives + false_positives + false_negatives))
        scores.append(float(np.mean(precision)))
    return float(np.mean(scores))


def score_per_image(predicted: np.ndarray, masks: np.ndarray) -> float:
    """Score with one IoU per image in numpy, compared with each threshold."""
    scores = []
    for prediction, mask in zip(predicted, masks, strict=True):
        if np.sum(mask) == 0 or np.sum(prediction) == 0:
            scores.append(float(np.sum(mask) == np.sum(prediction)))
            continue
        iou = np.sum(np.logical_and(mask, prediction)) / np.sum(np.logical_or(mask, prediction))
        scores.append(float(np.mean([iou > threshold for threshold in THRESHOLDS])))
    return float(np.mean(scores))


def score_vectorized(predicted: np.ndarray, masks: np.ndarray) -> float:
    """Score all images at once in numpy; both arrays are (n, pixels) bool."""
    intersection = np.count_nonzero(predicted & masks, axis=1)
    area_predicted, area_true = np.count_nonzero(predicted, axis=1), np.count_nonzero(masks, axis=1)
    return _mean_score(intersection, area_predicted + area_true - intersection)


def score_packed(predicted: np.ndarray, packed_masks: np.ndarray) -> float:
    """Score on packed bits, the fastest way in plain numpy: predicted (n, pixels) bool, masks packed beforehand."""
    packed = np.packbits(predicted, axis=1)
    intersection = np.bitwise_count(packed & packed_masks).sum(axis=1, dtype=np.int64)
    return _mean_score(intersection, np.bitwise_count(packed | packed_masks).sum(axis=1, dtype=np.int64))


def _mean_score(intersection: np.ndarray, union: np.ndarray) -> float:
    """Return the mean score of IoUs given as integer pixel counts; IoU > k / 20 is 20 intersection > k union."""
    scores = (20 * intersection[:, None] > np.arange(10, 20) * union[:, None]).mean(axis=1)
    return float(np.where(union == 0, 1, scores).mean())

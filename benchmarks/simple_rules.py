"""Score simple rules on a synthetic dataset; a dataset on which they score high is too easy.

    python benchmarks/simple_rules.py [--seed 0] [--tiles 1000] [--dataset FOLDER]

Each rule chooses its parameters on the tiles on which it is scored, so these scores are optimistic.
With `--dataset`, the rules are scored on the labeled tiles of a folder in Kaggle's layout instead.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tgs_salt.synthetic.synthesize import synthesize

MAX_SCORE = 0.50  # of a dataset that is hard enough
THRESHOLDS = 48  # number of thresholds tried per feature
MIN_AREAS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)  # shares of the tile; smaller predictions become empty
WINDOWS = (3, 7, 15, 25, 41)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (n, h, w) uint8, masks (n, h, w) bool and depths (n,) int of the labeled tiles in `folder`."""
    with open(folder / "train.csv") as stream:
        ids = [row["id"] for row in csv.DictReader(stream)]
    with open(folder / "depths.csv") as stream:
        depth = {row["id"]: int(row["z"]) for row in csv.DictReader(stream)}
    with zipfile.ZipFile(folder / "train.zip") as archive:

        def read(member: str, mode: int) -> np.ndarray:
            return np.asarray(cv2.imdecode(np.frombuffer(archive.read(member), np.uint8), mode))

        images = np.stack([read(f"images/{i}.png", cv2.IMREAD_GRAYSCALE) for i in ids])
        masks = np.stack([read(f"masks/{i}.png", cv2.IMREAD_UNCHANGED) > 0 for i in ids])
    return images, masks, np.array([depth[i] for i in ids])


def scores(intersection: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return the competition's score of each tile from pixel counts of the same or broadcastable shapes."""
    union = predicted + actual - intersection
    hits = sum((20 * intersection > step * union).astype(np.int64) for step in range(10, 20)) / 10
    return np.where((predicted == 0) & (actual == 0), 1.0, np.where((predicted == 0) | (actual == 0), 0.0, hits))


def score_of(prediction: np.ndarray, masks: np.ndarray) -> float:
    """Return the mean score of the same (h, w) prediction for every tile."""
    intersection = masks[:, prediction].sum(axis=1) if prediction.any() else np.zeros(len(masks), np.int64)
    predicted = np.full(len(masks), int(prediction.sum()))
    return float(scores(intersection, predicted, masks.sum(axis=(1, 2))).mean())


def constant_rules(masks: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield names and scores of constant predictions: empty, full, and the best bands."""
    height, width = masks.shape[1:]
    yield "constant: all empty", score_of(np.zeros((height, width), bool), masks)
    yield "constant: all full", score_of(np.ones((height, width), bool), masks)
    row, column = np.indices((height, width))
    for name, position, length in (("horizontal", row, height), ("vertical", column, width)):
        edges = np.linspace(0, length, 9).astype(int)
        bands = [(a, b) for a in edges for b in edges if a < b]
        best = max((score_of((position >= a) & (position < b), masks), a, b) for a, b in bands)
        yield f"constant: best {name} band, {best[1]}..{best[2]}", best[0]


def features(images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and (n, h, w) float32 arrays of features for `threshold_rule`."""
    gray = images.astype(np.float32)
    std = gray.std(axis=(1, 2), keepdims=True) + 1
    normalized = (gray - gray.mean(axis=(1, 2), keepdims=True)) / std
    yield "intensity", gray
    yield "normalized intensity", normalized

    def box(stack: np.ndarray, window: int) -> np.ndarray:
        return np.stack([cv2.blur(tile, (window, window), borderType=cv2.BORDER_REFLECT_101) for tile in stack])

    for window in WINDOWS:
        smooth = box(gray, window)
        deviation = np.sqrt(np.maximum(box(gray * gray, window) - smooth * smooth, 0))
        yield f"mean over {window}", smooth
        yield f"normalized mean over {window}", box(normalized, window)
        yield f"deviation over {window}", deviation
        yield f"relative deviation over {window}", deviation / std
        yield f"relative envelope over {window}", box(np.abs(normalized), window)


def threshold_rule(feature: np.ndarray, masks: np.ndarray) -> float:
    """Return the best score of salt above or below a threshold of `feature`, over all minimum areas."""
    tiles, area = len(masks), masks[0].size
    thresholds = np.unique(np.quantile(feature[::3, ::5, ::5], np.linspace(0, 1, THRESHOLDS + 1)[1:-1]))
    bins = np.searchsorted(thresholds, feature.ravel()).reshape(tiles, area)
    tile_bins = (bins + np.arange(tiles)[:, None] * (len(thresholds) + 1)).ravel()

    def count_up_to_threshold(tile_bins: np.ndarray) -> np.ndarray:
        counts = np.bincount(tile_bins, minlength=tiles * (len(thresholds) + 1)).reshape(tiles, -1)
        return np.cumsum(counts, axis=1)[:, :-1]

    pixels_below, salt_below = count_up_to_threshold(tile_bins), count_up_to_threshold(tile_bins[masks.ravel()])
    actual = masks.sum(axis=(1, 2))[:, None]
    best = 0.0
    for predicted, intersection in ((pixels_below, salt_below), (area - pixels_below, actual - salt_below)):
        for min_area in MIN_AREAS:
            kept = predicted >= min_area * area
            best = max(best, float(scores(intersection * kept, predicted * kept, actual).mean(axis=0).max()))
    return best


def depth_rule(masks: np.ndarray, depth: np.ndarray, bins: int = 10) -> float:
    """Return the score of the best prediction per depth bin: empty, or a threshold of the mean mask of the bin."""
    total = 0.0
    for rows in np.array_split(np.argsort(depth, kind="stable"), bins):
        mean = masks[rows].mean(axis=0)
        predictions = [mean > threshold for threshold in np.linspace(0.1, 0.9, 17)] + [np.zeros_like(masks[0])]
        total += len(rows) * max(score_of(prediction, masks[rows]) for prediction in predictions)
    return total / len(masks)


def all_rules(images: np.ndarray, masks: np.ndarray, depth: np.ndarray) -> list[tuple[str, float]]:
    """Return names and scores of all rules."""
    rules = list(constant_rules(masks))
    rules += [(f"threshold on {name}", threshold_rule(feature, masks)) for name, feature in features(images)]
    rules.append(("depth: best prediction per tenth", depth_rule(masks, depth)))
    return rules


def main() -> None:
    """Print the scores of all rules, and whether the best one is low enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the synthetic dataset")
    parser.add_argument("--tiles", type=int, default=1000, help="number of synthetic tiles")
    parser.add_argument("--dataset", type=Path, help="folder in Kaggle's layout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.dataset or Path(temporary)
        if options.dataset is None:
            synthesize(folder, seed=options.seed, train_tiles=options.tiles, test_tiles=1)
        dataset = load(folder)
    rules = all_rules(*dataset)
    for name, score in rules:
        print(f"{score:.3f}  {name}")
    best = max(rules, key=lambda rule: rule[1])
    verdict = "at or below" if best[1] <= MAX_SCORE else "ABOVE"
    print(f"best: {best[1]:.3f} ({best[0]}), {verdict} {MAX_SCORE:.2f}")


if __name__ == "__main__":
    main()

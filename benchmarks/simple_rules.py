"""How far simple rules get on a synthetic dataset: it is worth learning from only if they do not get far.

    python benchmarks/simple_rules.py [--seed 0] [--tiles 1000] [--dataset FOLDER]

Every rule chooses its parameters on the very tiles it is scored on, so the scores flatter the rules.
With `--dataset`, the rules are tried on the labelled tiles of a folder in the competition's layout instead.
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

CEILING = 0.50
LEVELS = 48  # thresholds tried per feature
MIN_AREAS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)  # share of the tile below which a rule says "empty"
WINDOWS = (3, 7, 15, 25, 41)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, h, w) uint8, masks (n, h, w) bool and depths (n,) int of a dataset's labelled tiles."""
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


def scores(overlap: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Score per tile from pixel counts (same shape, or broadcast): IoU over 0.50, 0.55 .. 0.95, in integers."""
    union = predicted + truth - overlap
    hits = sum((20 * overlap > step * union).astype(np.int64) for step in range(10, 20)) / 10
    return np.where((predicted == 0) & (truth == 0), 1.0, np.where((predicted == 0) | (truth == 0), 0.0, hits))


def score_of(guess: np.ndarray, masks: np.ndarray) -> float:
    """Score of one (h, w) guess made for every tile."""
    overlap = masks[:, guess].sum(axis=1) if guess.any() else np.zeros(len(masks), np.int64)
    return float(scores(overlap, np.full(len(masks), int(guess.sum())), masks.sum(axis=(1, 2))).mean())


def constant_rules(masks: np.ndarray) -> Iterator[tuple[str, float]]:
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
    """(n, h, w) float32 maps a threshold may be laid on."""
    gray = images.astype(np.float32)
    spread = gray.std(axis=(1, 2), keepdims=True) + 1
    centred = (gray - gray.mean(axis=(1, 2), keepdims=True)) / spread
    yield "intensity", gray
    yield "intensity of the standardised tile", centred

    def box(stack: np.ndarray, window: int) -> np.ndarray:
        return np.stack([cv2.blur(tile, (window, window), borderType=cv2.BORDER_REFLECT_101) for tile in stack])

    for window in WINDOWS:
        smooth = box(gray, window)
        deviation = np.sqrt(np.maximum(box(gray * gray, window) - smooth * smooth, 0))
        yield f"mean over {window}", smooth
        yield f"standardised mean over {window}", box(centred, window)
        yield f"deviation over {window}", deviation
        yield f"relative deviation over {window}", deviation / spread
        yield f"relative envelope over {window}", box(np.abs(centred), window)


def threshold_rule(feature: np.ndarray, masks: np.ndarray) -> float:
    """Best score of `feature` above (or below) one of LEVELS thresholds, with the best minimum area."""
    tiles, area = len(masks), masks[0].size
    edges = np.unique(np.quantile(feature[::3, ::5, ::5], np.linspace(0, 1, LEVELS + 1)[1:-1]))
    level = np.searchsorted(edges, feature.ravel()).reshape(tiles, area)
    slot = (level + np.arange(tiles)[:, None] * (len(edges) + 1)).ravel()

    def counted(chosen: np.ndarray) -> np.ndarray:
        counts = np.bincount(chosen, minlength=tiles * (len(edges) + 1)).reshape(tiles, -1)
        return np.cumsum(counts, axis=1)[:, :-1]  # pixels at or below each edge

    below, salt_below = counted(slot), counted(slot[masks.ravel()])
    truth = masks.sum(axis=(1, 2))[:, None]
    best = 0.0
    for predicted, overlap in ((below, salt_below), (area - below, truth - salt_below)):
        for least in MIN_AREAS:
            kept = predicted >= least * area
            best = max(best, float(scores(overlap * kept, predicted * kept, truth).mean(axis=0).max()))
    return best


def depth_rule(masks: np.ndarray, depth: np.ndarray, bins: int = 10) -> float:
    """Best per depth bin: empty, or where the bin's mean mask exceeds a level."""
    total = 0.0
    for chosen in np.array_split(np.argsort(depth, kind="stable"), bins):
        mean = masks[chosen].mean(axis=0)
        guesses = [mean > level for level in np.linspace(0.1, 0.9, 17)] + [np.zeros_like(masks[0])]
        total += len(chosen) * max(score_of(guess, masks[chosen]) for guess in guesses)
    return total / len(masks)


def all_rules(images: np.ndarray, masks: np.ndarray, depth: np.ndarray) -> list[tuple[str, float]]:
    rules = list(constant_rules(masks))
    rules += [(f"threshold on {name}", threshold_rule(feature, masks)) for name, feature in features(images)]
    rules.append(("depth: best guess per tenth", depth_rule(masks, depth)))
    return rules


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiles", type=int, default=1000)
    parser.add_argument("--dataset", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.dataset or Path(scratch)
        if arguments.dataset is None:
            synthesize(folder, seed=arguments.seed, train_tiles=arguments.tiles, test_tiles=1)
        dataset = load(folder)
    rules = all_rules(*dataset)
    for name, score in rules:
        print(f"{score:.3f}  {name}")
    best = max(rules, key=lambda rule: rule[1])
    verdict = "at or below" if best[1] <= CEILING else "ABOVE"
    print(f"best: {best[1]:.3f} ({best[0]}), {verdict} {CEILING:.2f}")


if __name__ == "__main__":
    main()

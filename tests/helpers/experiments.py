"""Finished experiments without training: synthetic masks, predictions near them, and the real later steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tgs_salt.data.folds import folds as assign_folds
from tgs_salt.postprocessing.ensemble import ensemble
from tgs_salt.postprocessing.submission import write_submission
from tgs_salt.postprocessing.threshold import threshold
from tgs_salt.settings import Ensemble, Folds, Threshold

FOLDS = 3


def make_experiment(
    folder: Path, *, train: int = 60, test: int = 20, side: int = 24, models: Sequence[str] = ("first", "second"),
    selected: list[int] | None = None, seed: int = 0, threshold_settings: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write all artifacts from dataset to submission into `folder`, with a placeholder for model.pt; return it."""
    rng = np.random.default_rng(seed)
    fold_settings = Folds(n_splits=FOLDS, selected=selected)
    decision = Threshold(**(threshold_settings or {}))
    masks, test_masks = make_masks(rng, train, side), make_masks(rng, test, side)
    dataset = folder / "data"
    dataset.mkdir(parents=True)
    np.save(dataset / "train_masks.npy", masks.astype(np.uint8))
    for split, split_masks in (("train", masks), ("test", test_masks)):
        np.save(dataset / f"{split}_images.npy", rng.integers(0, 256, split_masks.shape, dtype=np.uint8))
    tiles = dataset / "tiles.csv"
    make_tiles(rng, masks, test).to_csv(tiles, index=False)
    assign_folds(tiles, folder / "folds.csv", fold_settings)
    fold_of_tile = pd.read_csv(folder / "folds.csv")["fold"].to_numpy()
    oof, test_predictions = [], []
    for model in models:
        for fold in fold_settings.selected_folds:
            fold_folder = folder / "models" / model / f"fold{fold}"
            fold_folder.mkdir(parents=True)
            (fold_folder / "model.pt").write_text("weights")
            np.save(fold_folder / "oof.npy", predict(rng, masks[fold_of_tile == fold]))
            np.save(fold_folder / "test.npy", predict(rng, test_masks))
            (fold_folder / "history.csv").write_text(make_history(rng).to_csv(index=False))
            timing = {"device": "cpu", "threads": 1, "seconds": 12.5, "tiles_per_second": 40.0, "peak_memory_mb": 500.0}
            (fold_folder / "timing.json").write_text(json.dumps(timing))
            oof.append(fold_folder / "oof.npy")
            test_predictions.append(fold_folder / "test.npy")
    ensemble(
        Ensemble(), models=list(models), selected_folds=fold_settings.selected_folds, oof=oof, test=test_predictions,
        masks=dataset / "train_masks.npy", tiles=tiles, folds=folder / "folds.csv", output=folder / "ensemble",
    )  # fmt: skip
    threshold(
        decision, fold_settings, models=list(models), ensemble=folder / "ensemble/oof.npy", oof=oof,
        masks=dataset / "train_masks.npy", tiles=tiles, folds=folder / "folds.csv", output=folder,
    )  # fmt: skip
    write_submission(folder / "ensemble/test.npy", folder / "threshold.json", tiles, folder / "submission.csv")
    settings = {
        "data": {"source": "kaggle", "competition": "salt", "tile_size": side},
        "folds": fold_settings.model_dump(),
        "models": {model: {"epochs": len(make_history(rng)), "keep_weights": "last"} for model in models},
        "threshold": decision.model_dump(),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def make_masks(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Return masks (count, side, side) bool: disks that may reach over the border, and every third mask empty."""
    y, x = np.mgrid[:side, :side]
    center, radius = rng.uniform(0, side, (2, count, 1, 1)), rng.uniform(2, 0.7 * side, (count, 1, 1))
    disks = (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2
    disks[::3] = False
    return disks


def predict(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    """Return probability bytes (n, h, w) uint8 near `masks`, with a random contrast for each tile."""
    contrast = rng.uniform(0.1, 1, (len(masks), 1, 1))
    shifted = np.roll(masks, rng.integers(-3, 4), axis=2)
    return np.clip(128 + (shifted - 0.5) * 220 * contrast + rng.normal(0, 25, masks.shape), 0, 255).astype(np.uint8)


def make_tiles(rng: np.random.Generator, masks: np.ndarray, test: int) -> pd.DataFrame:
    """Return tiles.csv of labeled tiles with these masks (n, h, w) and of `test` test tiles."""
    train = len(masks)
    return pd.DataFrame(
        {
            "id": [f"t{k:04d}" for k in range(train)] + [f"u{k:04d}" for k in range(test)],
            "split": ["train"] * train + ["test"] * test,
            "row": [*range(train), *range(test)],
            "depth": rng.integers(50, 960, train + test),
            "coverage": [*masks.mean(axis=(1, 2)), *[None] * test],
            "blank": [k == 0 for k in range(train)] + [False] * test,
        }
    )


def make_history(rng: np.random.Generator, epochs: int = 8) -> pd.DataFrame:
    """Return history.csv of a training whose loss decays exponentially."""
    decay = np.exp(-np.arange(epochs) / 3)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "learning_rate": 1e-3 * decay,
            "loss": decay + 0.01 * rng.random(epochs),
            "score": 0.8 - 0.5 * decay,
            "validation_loss": decay,
        }
    )

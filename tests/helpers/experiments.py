"""Finished experiments without a training: drawn masks, predictions that come near them, the real steps after them."""

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
    use: list[int] | None = None, seed: int = 0, decide: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write every artefact but model.pt's content and report.html into `folder`, from dataset to submission."""
    rng = np.random.default_rng(seed)
    fold_settings, decision = Folds(n_splits=FOLDS, selected=use), Threshold(**(decide or {}))
    masks, test_masks = blobs(rng, train, side), blobs(rng, test, side)
    dataset = folder / "data"
    dataset.mkdir(parents=True)
    np.save(dataset / "train_masks.npy", masks.astype(np.uint8))
    for split, truth in (("train", masks), ("test", test_masks)):
        np.save(dataset / f"{split}_images.npy", rng.integers(0, 256, truth.shape, dtype=np.uint8))
    tiles = dataset / "tiles.csv"
    table(rng, masks, test).to_csv(tiles, index=False)
    assign_folds(tiles, folder / "folds.csv", fold_settings)
    fold_of = pd.read_csv(folder / "folds.csv")["fold"].to_numpy()
    oof, tested = [], []
    for model in models:
        for fold in fold_settings.used:
            place = folder / "models" / model / f"fold{fold}"
            place.mkdir(parents=True)
            (place / "model.pt").write_text("weights")
            np.save(place / "oof.npy", guess(rng, masks[fold_of == fold]))
            np.save(place / "test.npy", guess(rng, test_masks))
            (place / "history.csv").write_text(history(rng).to_csv(index=False))
            timing = {"device": "cpu", "threads": 1, "seconds": 12.5, "tiles_per_second": 40.0, "peak_memory_mb": 500.0}
            (place / "timing.json").write_text(json.dumps(timing))
            oof.append(place / "oof.npy")
            tested.append(place / "test.npy")
    ensemble(
        Ensemble(), models=list(models), used=fold_settings.used, oof=oof, test=tested,
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
        "models": {model: {"epochs": len(history(rng)), "keep_weights": "last"} for model in models},
        "threshold": decision.model_dump(),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def blobs(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Masks (count, side, side) bool: discs that may leave the tile, a third of the tiles without."""
    y, x = np.mgrid[:side, :side]
    center, radius = rng.uniform(0, side, (2, count, 1, 1)), rng.uniform(2, 0.7 * side, (count, 1, 1))
    discs = (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2
    discs[::3] = False
    return discs


def guess(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """Probability bytes that come near `truth`, each tile by its own luck."""
    skill = rng.uniform(0.1, 1, (len(truth), 1, 1))
    shifted = np.roll(truth, rng.integers(-3, 4), axis=2)
    return np.clip(128 + (shifted - 0.5) * 220 * skill + rng.normal(0, 25, truth.shape), 0, 255).astype(np.uint8)


def table(rng: np.random.Generator, masks: np.ndarray, test: int) -> pd.DataFrame:
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


def history(rng: np.random.Generator, epochs: int = 8) -> pd.DataFrame:
    falling = np.exp(-np.arange(epochs) / 3)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "learning_rate": 1e-3 * falling,
            "loss": falling + 0.01 * rng.random(epochs),
            "score": 0.8 - 0.5 * falling,
            "validation_loss": falling,
        }
    )

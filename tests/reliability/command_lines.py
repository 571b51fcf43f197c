"""The command lines of the crash tests, on a dataset of seven tiles: those of the rules, then those that users type.

Each one reads the outputs of the ones before it. Paths are relative to the working directory.
"""

from __future__ import annotations

import json

TRAIN, TEST, SIDE = 4, 3, 32
SLUG = "tgs"
DATA = {"source": "directory", "directory": "data", "tile_size": SIDE, "train_tiles": TRAIN, "test_tiles": TEST}
MODEL = {
    "architecture": "article", "epochs": 2, "batch_size": 2, "threads": 1, "ema_decay": 0.9,
    "keep_weights": "best_score",
}  # fmt: skip
SECTIONS = {
    "data": DATA, "folds": {"n_splits": 2}, "model": MODEL, "predict": {"batch_size": 2}, "threshold": {},
    "ensemble": {"weights": "search"},
}  # fmt: skip
SETTINGS = ["--settings", json.dumps(SECTIONS)]
TABLES = ["--tiles", "data/tiles.csv", "--folds", "folds.csv"]
ENSEMBLE = ["--models", "m", "--masks", "data/train_masks.npy", *TABLES]


def fold_dir(fold: int) -> str:
    return f"models/m/fold{fold}"


def train(fold: int) -> list[str]:
    return [
        "train", *SETTINGS, "--model", "m", "--fold", str(fold), "--images", "data/train_images.npy",
        "--masks", "data/train_masks.npy", *TABLES, "--output", f"{fold_dir(fold)}/model.pt",
    ]  # fmt: skip


def predict(fold: int, split: str, output: str = "", *options: str) -> list[str]:
    return [
        "predict", *SETTINGS, "--split", split, "--model", f"{fold_dir(fold)}/model.pt", *TABLES, *options,
        "--images", f"data/{'train' if split == 'oof' else 'test'}_images.npy",
        "--output", output or f"{fold_dir(fold)}/{split}.npy",
    ]  # fmt: skip


def predictions(split: str) -> list[str]:
    """Return the options --oof or --test with the predictions of both folds."""
    return [argument for fold in (0, 1) for argument in (f"--{split}", f"{fold_dir(fold)}/{split}.npy")]


def download(archive: str) -> list[str]:
    return ["download", "--competition", SLUG, "--archive", archive, *SETTINGS]


def command_lines() -> dict[str, list[str]]:
    """Return command lines by name. Those in parentheses repeat others: they are run, but not crashed."""
    shards = [f"{fold_dir(0)}/test/{shard}-of-2.npy" for shard in (0, 1)]
    synthesize_settings = json.dumps({"data": {**DATA, "source": "synthetic"}})
    return {
        "synthesize": ["synthesize", "--settings", synthesize_settings, "--output", "synthetic"],
        "download": download(f"downloads/{SLUG}/{SLUG}.zip"),
        "download, existing archive": download(f"existing/{SLUG}/{SLUG}.zip"),
        "preprocess": ["preprocess", *SETTINGS, "--source", "synthetic", "--output", "data"],
        "folds": ["folds", *SETTINGS, "--tiles", "data/tiles.csv", "--output", "folds.csv"],
        "train": train(0),
        "(train)": train(1),
        "predict": predict(0, "oof"),
        "(predict oof)": predict(1, "oof"),
        "(predict test)": predict(1, "test"),
        "predict, shard": predict(0, "test", shards[0], "--shard", "0/2"),
        "(predict, shard)": predict(0, "test", shards[1], "--shard", "1/2"),
        "merge-shards": [
            "merge-shards", "--shard", shards[0], "--shard", shards[1], "--output", f"{fold_dir(0)}/test.npy",
        ],
        "ensemble": [
            "ensemble", *SETTINGS, *ENSEMBLE, *predictions("oof"), *predictions("test"), "--output", "ensemble",
        ],
        "threshold": [
            "threshold", *SETTINGS, *ENSEMBLE, "--ensemble", "ensemble/oof.npy", *predictions("oof"), "--output", ".",
        ],
        "submission": [
            "submission", "--test", "ensemble/test.npy", "--threshold", "threshold.json", "--tiles", "data/tiles.csv",
            "--output", "submission.csv",
        ],
        "report": ["report", ".", "--output", "report.html"],
        "plot-tiles": ["plot-tiles", ".", "TILE"],
        "submit": [
            "submit", "--submission", "submission.csv", "--competition", SLUG, "--experiment", "e",
            "--tile-size", str(SIDE),
        ],
        "export": ["export", "."],
        "segment": [
            "segment", "bundle.zip", "section.npy", "--output", "masks", "--threads", "1",
            "--format", "mask", "--format", "overlay", "--format", "rle",
        ],
    }  # fmt: skip

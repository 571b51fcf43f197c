"""The command lines that are crashed: what the rules run, in order, and what people type, on a dataset of seven tiles.

Each works on what those before it left; paths are relative to the working folder.
"""

from __future__ import annotations

import json

TRAIN, TEST, SIDE = 4, 3, 32
SLUG = "tgs"
DATA = {"source": "directory", "directory": "data", "tile_size": SIDE, "train_tiles": TRAIN, "test_tiles": TEST}
MODEL = {
    "architecture": "article",
    "epochs": 2,
    "batch_size": 2,
    "threads": 1,
    "ema_decay": 0.9,
    "keep_weights": "best_score",
}
SECTIONS = {
    "data": DATA, "folds": {"n_splits": 2}, "model": MODEL, "predict": {"batch_size": 2}, "threshold": {},
    "ensemble": {"weights": "search"},
}  # fmt: skip
SETTINGS = ["--settings", json.dumps(SECTIONS)]
TABLES = ["--tiles", "data/tiles.csv", "--folds", "folds.csv"]
VOTES = ["--models", "m", "--masks", "data/train_masks.npy", *TABLES]


def place(fold: int) -> str:
    return f"models/m/fold{fold}"


def train(fold: int) -> list[str]:
    return [
        "train", *SETTINGS, "--model", "m", "--fold", str(fold), "--images", "data/train_images.npy",
        "--masks", "data/train_masks.npy", *TABLES, "--output", f"{place(fold)}/model.pt",
    ]  # fmt: skip


def predict(fold: int, split: str, output: str = "", *more: str) -> list[str]:
    return [
        "predict", *SETTINGS, "--split", split, "--model", f"{place(fold)}/model.pt", *TABLES, *more,
        "--images", f"data/{'train' if split == 'oof' else 'test'}_images.npy",
        "--output", output or f"{place(fold)}/{split}.npy",
    ]  # fmt: skip


def every(split: str) -> list[str]:
    return [word for fold in (0, 1) for word in (f"--{split}", f"{place(fold)}/{split}.npy")]


def download(archive: str) -> list[str]:
    return ["download", "--competition", SLUG, "--archive", archive, *SETTINGS]


def command_lines() -> dict[str, list[str]]:
    """By a name that begins with the command's; those in brackets are run, not crashed, for they repeat others."""
    parts = [f"{place(0)}/test/{part}-of-2.npy" for part in (0, 1)]
    drawn = json.dumps({"data": {**DATA, "source": "synthetic"}})
    return {
        "synthesize": ["synthesize", "--settings", drawn, "--output", "drawn"],
        "download": download(f"fetched/{SLUG}/{SLUG}.zip"),
        "download, dropped there": download(f"dropped/{SLUG}/{SLUG}.zip"),
        "preprocess": ["preprocess", *SETTINGS, "--source", "drawn", "--output", "data"],
        "folds": ["folds", *SETTINGS, "--tiles", "data/tiles.csv", "--output", "folds.csv"],
        "train": train(0),
        "(train)": train(1),
        "predict": predict(0, "oof"),
        "(predict oof)": predict(1, "oof"),
        "(predict test)": predict(1, "test"),
        "predict, a shard": predict(0, "test", parts[0], "--shard", "0/2"),
        "(predict, a shard)": predict(0, "test", parts[1], "--shard", "1/2"),
        "merge-shards": ["merge-shards", "--part", parts[0], "--part", parts[1], "--output", f"{place(0)}/test.npy"],
        "ensemble": ["ensemble", *SETTINGS, *VOTES, *every("oof"), *every("test"), "--output", "ensemble"],
        "threshold": [
            "threshold", *SETTINGS, *VOTES, "--ensemble", "ensemble/oof.npy", *every("oof"), "--output", ".",
        ],
        "submission": [
            "submission", "--test", "ensemble/test.npy", "--decision", "threshold.json", "--tiles", "data/tiles.csv",
            "--output", "submission.csv",
        ],
        "report": ["report", ".", "--output", "report.html"],
        "show": ["plot-tiles", ".", "TILE"],
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

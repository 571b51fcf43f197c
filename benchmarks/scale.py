"""A large dataset after training: time, memory and disk of predict, ensemble and submission, and how they grow.

    nice -n 5 python -m benchmarks.scale [--tiles 10000 40000 100000] [--folder FOLDER]

A small network is trained for real on a small drawn dataset. Larger datasets repeat its test tiles, rolled sideways, so
that masks look like masks. Each command runs as the rules run it, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files

SIDE = 101
DRAWN = {"source": "synthetic", "train_tiles": 300, "test_tiles": 500}
FOLDS = {"n_splits": 2}
MODEL = {
    "architecture": "unet", "decoder_channels": [32, 24, 16, 16, 8], "resize_mode": "resize", "input_size": 32, "epochs": 6,
    "batch_size": 16, "learning_rate": 2e-3, "ema_decay": 0.9, "threads": 1,
}  # fmt: skip
PREDICT = {"tta": "none"}
SHARDS = 4


@dataclass(frozen=True)
class Job:
    """One process: seconds of wall clock and of CPU, and the most memory that was resident, in MiB."""

    name: str
    wall: float
    cpu: float
    peak: float


def command(name: str, **options: object) -> Job:
    """Run a command of tgs-salt; a list is an option given several times. Raises CalledProcessError if it fails."""
    words = []
    for option, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            text = json.dumps(one) if isinstance(one, dict) else str(one)
            words += [f"--{option.replace('_', '-')}", text]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "tgs_salt", name, *words], stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), name, stderr=said)
    return Job(name, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def trained(folder: Path) -> None:
    """A small experiment up to its decision, by the commands of the rules."""
    dataset = folder / "data"
    command("synthesize", settings={"data": DRAWN}, output=folder / "drawn")
    command("preprocess", settings={"data": DRAWN}, source=folder / "drawn", output=dataset)
    command("folds", settings={"folds": FOLDS}, tiles=dataset / "tiles.csv", output=folder / "folds.csv")
    for fold in (0, 1):
        model = folder / f"fold{fold}/model.pt"
        command(
            "train", settings={"model": MODEL}, model="small", fold=fold, images=dataset / "train_images.npy",
            masks=dataset / "train_masks.npy", **tables(folder), output=model,
        )  # fmt: skip
        predict(folder, fold, "oof", model.with_name("oof.npy"))
        predict(folder, fold, "test", model.with_name("test.npy"))
    ensemble(folder)
    command(
        "threshold", settings={"threshold": {}, "folds": FOLDS}, models="small", ensemble=folder / "ensemble/oof.npy",
        oof=[folder / f"fold{fold}/oof.npy" for fold in (0, 1)], masks=dataset / "train_masks.npy", **tables(folder),
        output=folder,
    )  # fmt: skip


def tables(folder: Path) -> dict[str, Path]:
    return {"tiles": folder / "data/tiles.csv", "folds": folder / "folds.csv"}


def predict(folder: Path, fold: int, split: str, output: Path, shard: str = "0/1") -> Job:
    images = folder / f"data/{'train' if split == 'oof' else 'test'}_images.npy"
    return command(
        "predict", settings={"predict": PREDICT}, split=split, model=folder / f"fold{fold}/model.pt", images=images,
        **tables(folder), output=output, shard=shard,
    )  # fmt: skip


def ensemble(folder: Path) -> Job:
    by_fold = [[folder / f"fold{fold}/{split}.npy" for fold in (0, 1)] for split in ("oof", "test")]
    return command(
        "ensemble", settings={"ensemble": {}, "folds": FOLDS}, models="small", **tables(folder), oof=by_fold[0],
        test=by_fold[1], output=folder / "ensemble",
    )  # fmt: skip


def enlarge(folder: Path, count: int) -> None:
    """Put a test set of `count` tiles in the place of the one that is there."""
    dataset = folder / "data"
    small = np.load(folder / "small.npy")
    rng = np.random.default_rng(0)
    with files.create_memmap(dataset / "test_images.npy", (count, SIDE, SIDE)) as filled:
        for first in range(0, count, len(small)):
            part = filled[first : first + len(small)]
            part[:] = np.roll(small, int(rng.integers(SIDE)), axis=2)[: len(part)]
            files.release_pages(filled)
    tiles = pd.read_csv(dataset / "tiles.csv", keep_default_na=False)
    test = pd.DataFrame({"id": [f"{row:010x}" for row in range(count)], "split": "test", "row": range(count)})
    test["depth"], test["coverage"], test["blank"] = 500.0, "", False
    pd.concat([tiles[tiles["split"] == "train"], test]).to_csv(dataset / "tiles.csv", index=False)


def after_training(folder: Path) -> Iterator[Job]:
    """The jobs of one dataset: fold 0 predicts at once, fold 1 in shards."""
    yield predict(folder, 0, "test", folder / "fold0/test.npy")
    parts = [folder / f"fold1/{k}-of-{SHARDS}.npy" for k in range(SHARDS)]
    for k, part in enumerate(parts):
        job = predict(folder, 1, "test", part, f"{k}/{SHARDS}")
        yield Job("predict, a shard", job.wall, job.cpu, job.peak)
    yield command("merge-shards", part=parts, output=folder / "fold1/test.npy")
    for part in parts:
        part.unlink()
    yield ensemble(folder)
    yield command(
        "submission", test=folder / "ensemble/test.npy", decision=folder / "threshold.json",
        tiles=folder / "data/tiles.csv", output=folder / "submission.csv",
    )  # fmt: skip


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def line(name: str, counts: list[int], cpu: list[float]) -> str:
    """The least-squares line of CPU seconds over tiles, and how far the worst point is from it."""
    slope, start = np.polyfit(counts, cpu, 1)
    off = max(abs(start + slope * n - seconds) / seconds for n, seconds in zip(counts, cpu, strict=True))
    return f"{name}: {start:.1f} s + {slope * 1e3:.3f} ms a tile (at most {off:.1%} off)"


def main(counts: list[int], folder: Path) -> None:
    trained(folder)
    shutil.copy(folder / "data/test_images.npy", folder / "small.npy")
    rows: dict[str, list[list[Job]]] = {}
    print("| test tiles | job | CPU s | wall s | peak MiB |\n|---|---|---|---|---|")
    for count in counts:
        enlarge(folder, count)
        jobs = list(after_training(folder))
        for name in dict.fromkeys(job.name for job in jobs):
            same = [job for job in jobs if job.name == name]
            rows.setdefault(name, []).append(same)
            cpu, wall = (sum(getattr(job, what) for job in same) for what in ("cpu", "wall"))
            title = name if len(same) == 1 else f"{name} (all {len(same)})"
            print(f"| {count:,} | {title} | {cpu:.1f} | {wall:.0f} | {max(job.peak for job in same):.0f} |", flush=True)
        print(f"| {count:,} | on disk: {size_mb(folder):,.0f} MB | | | |", flush=True)
    for name, of_counts in rows.items():
        print(line(name, counts, [sum(job.cpu for job in same) for same in of_counts]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[10_000, 40_000, 100_000])
    parser.add_argument(
        "--folder", type=Path, help="where to work, about 60 KB a tile; a temporary folder if not given"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tgs-scale-", dir=options.folder) as place:
        main(options.tiles, Path(place))

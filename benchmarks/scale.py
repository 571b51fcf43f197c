"""Benchmark predict, ensemble and submission on large datasets: time, memory and disk, and how they grow.

    nice -n 5 python -m benchmarks.scale [--tiles 10000 40000 100000] [--folder FOLDER]

A small network is trained on a small synthetic dataset. Larger datasets repeat its test tiles, rolled sideways, so that
the predicted masks are realistic. Each command runs in its own process, as the rules run it.
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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files

SIDE = 101
DATA = {"source": "synthetic", "train_tiles": 300, "test_tiles": 500}
FOLDS = {"n_splits": 2}
MODEL = {
    "architecture": "unet", "decoder_channels": [32, 24, 16, 16, 8], "resize_mode": "resize", "input_size": 32,
    "epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "ema_decay": 0.9, "threads": 1,
}  # fmt: skip
PREDICT = {"tta": "none"}
SHARDS = 4


@dataclass(frozen=True)
class Job:
    """The resources that one command used; `peak_mib` is its maximum resident memory in MiB."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def run_command(name: str, **options: object) -> Job:
    """Run a tgs-salt command; a list repeats the option. Raises CalledProcessError if the command fails."""
    arguments = []
    for option, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            text = json.dumps(item) if isinstance(item, dict) else str(item)
            arguments += [f"--{option.replace('_', '-')}", text]
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "tgs_salt", name, *arguments], stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), name, stderr=errors)
    return Job(name, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_experiment(folder: Path) -> None:
    """Run a small experiment up to its threshold, with the commands of the rules."""
    dataset = folder / "data"
    run_command("synthesize", settings={"data": DATA}, output=folder / "source")
    run_command("preprocess", settings={"data": DATA}, source=folder / "source", output=dataset)
    run_command("folds", settings={"folds": FOLDS}, tiles=dataset / "tiles.csv", output=folder / "folds.csv")
    for fold in (0, 1):
        model = folder / f"fold{fold}/model.pt"
        run_command(
            "train", settings={"model": MODEL}, model="small", fold=fold, images=dataset / "train_images.npy",
            masks=dataset / "train_masks.npy", **tables(folder), output=model,
        )  # fmt: skip
        predict(folder, fold, "oof", model.with_name("oof.npy"))
        predict(folder, fold, "test", model.with_name("test.npy"))
    ensemble(folder)
    run_command(
        "threshold", settings={"threshold": {}, "ensemble": {}, "folds": FOLDS}, models="small",
        ensemble=folder / "ensemble/oof.npy",
        oof=[folder / f"fold{fold}/oof.npy" for fold in (0, 1)], masks=dataset / "train_masks.npy", **tables(folder),
        output=folder,
    )  # fmt: skip


def tables(folder: Path) -> dict[str, Path]:
    """Return the options of the two tables that most commands read."""
    return {"tiles": folder / "data/tiles.csv", "folds": folder / "folds.csv"}


def predict(folder: Path, fold: int, split: str, output: Path, shard: str = "0/1") -> Job:
    """Predict one split of one fold."""
    images = folder / f"data/{'train' if split == 'oof' else 'test'}_images.npy"
    return run_command(
        "predict", settings={"predict": PREDICT}, split=split, model=folder / f"fold{fold}/model.pt", images=images,
        **tables(folder), output=output, shard=shard,
    )  # fmt: skip


def ensemble(folder: Path) -> Job:
    """Average the folds."""
    oof, test = ([folder / f"fold{fold}/{split}.npy" for fold in (0, 1)] for split in ("oof", "test"))
    return run_command(
        "ensemble", settings={"ensemble": {}, "folds": FOLDS}, models="small", **tables(folder), oof=oof,
        test=test, masks=folder / "data/train_masks.npy", output=folder / "ensemble",
    )  # fmt: skip


def replace_test_tiles(folder: Path, count: int) -> None:
    """Replace the test set by one of `count` tiles, which repeats `small.npy`."""
    dataset = folder / "data"
    small = np.load(folder / "small.npy")
    rng = np.random.default_rng(0)
    with files.create_memmap(dataset / "test_images.npy", (count, SIDE, SIDE)) as images:
        for first in range(0, count, len(small)):
            chunk = images[first : first + len(small)]
            chunk[:] = np.roll(small, int(rng.integers(SIDE)), axis=2)[: len(chunk)]
            files.release_pages(images)
    tiles = pd.read_csv(dataset / "tiles.csv", keep_default_na=False)
    test = pd.DataFrame({"id": [f"{row:010x}" for row in range(count)], "split": "test", "row": range(count)})
    test["depth"], test["coverage"], test["blank"] = 500.0, "", False
    pd.concat([tiles[tiles["split"] == "train"], test]).to_csv(dataset / "tiles.csv", index=False)


def run_after_training(folder: Path) -> Iterator[Job]:
    """Run all jobs after training; fold 0 predicts in one job, fold 1 in shards."""
    yield predict(folder, 0, "test", folder / "fold0/test.npy")
    shards = [folder / f"fold1/{k}-of-{SHARDS}.npy" for k in range(SHARDS)]
    for k, shard in enumerate(shards):
        job = predict(folder, 1, "test", shard, f"{k}/{SHARDS}")
        yield replace(job, name="predict, one shard")
    yield run_command("merge-shards", shard=shards, output=folder / "fold1/test.npy")
    for shard in shards:
        shard.unlink()
    yield ensemble(folder)
    yield run_command(
        "submission", test=folder / "ensemble/test.npy", threshold=folder / "threshold.json",
        tiles=folder / "data/tiles.csv", output=folder / "submission.csv",
    )  # fmt: skip


def size_mb(folder: Path) -> float:
    """Return the size of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def fit_line(name: str, counts: list[int], cpu_seconds: list[float]) -> str:
    """Return the least-squares line of CPU seconds over tiles, with its maximum relative error."""
    slope, intercept = np.polyfit(counts, cpu_seconds, 1)
    pairs = zip(counts, cpu_seconds, strict=True)
    error = max(abs(intercept + slope * count - seconds) / seconds for count, seconds in pairs)
    return f"{name}: {intercept:.1f} s + {slope * 1e3:.3f} ms per tile (maximum error {error:.1%})"


def main(counts: list[int], folder: Path) -> None:
    """Run the experiment in `folder`, then its later jobs for each number of test tiles."""
    run_experiment(folder)
    shutil.copy(folder / "data/test_images.npy", folder / "small.npy")
    jobs_by_name: dict[str, list[list[Job]]] = {}
    print("| test tiles | job | CPU s | wall s | peak MiB |\n|---|---|---|---|---|")
    for count in counts:
        replace_test_tiles(folder, count)
        jobs = list(run_after_training(folder))
        for name in dict.fromkeys(job.name for job in jobs):
            group = [job for job in jobs if job.name == name]
            jobs_by_name.setdefault(name, []).append(group)
            cpu, wall = sum(job.cpu_seconds for job in group), sum(job.wall_seconds for job in group)
            peak = max(job.peak_mib for job in group)
            title = name if len(group) == 1 else f"{name} (all {len(group)})"
            print(f"| {count:,} | {title} | {cpu:.1f} | {wall:.0f} | {peak:.0f} |", flush=True)
        print(f"| {count:,} | on disk: {size_mb(folder):,.0f} MB | | | |", flush=True)
    for name, groups in jobs_by_name.items():
        print(fit_line(name, counts, [sum(job.cpu_seconds for job in group) for group in groups]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[10_000, 40_000, 100_000], help="numbers of test tiles")
    parser.add_argument(
        "--folder", type=Path, help="folder for temporary files, about 60 KB per tile (default: the system's)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tgs-scale-", dir=options.folder) as folder:
        main(options.tiles, Path(folder))

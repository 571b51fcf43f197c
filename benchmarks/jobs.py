"""Benchmark whole jobs in their own processes: start-up, kernel compilation, and a million tiles."""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.timing import markdown
from tgs_salt import files

SIDE = 101
MILLION = 1_000_000
# Calls every kernel once and prints the seconds.
FIRST_CALLS = """
import time, numpy as np
from tgs_salt.kernels import threshold_table
from tgs_salt.kernels import iou_score
from tgs_salt.kernels import rle
tiles = np.zeros((2, 101, 101), np.uint8)
start = time.perf_counter()
rle.encode_table(tiles, ["a", "b"], 128)
iou_score.score_bytes(tiles, tiles, 128)
threshold_table.score_table(threshold_table.histograms(tiles, tiles))
print(time.perf_counter() - start)
"""

# The peak memory of a process includes that of its parent at the fork. Jobs are therefore started by a small process,
# which prints wall-clock seconds, CPU seconds, peak memory and exit code.
LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
job = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(job.pid, 0)
wall = time.perf_counter() - start
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def write_submission_inputs(folder: Path, count: int) -> None:
    """Write the inputs of `submission` for `count` tiles, except the array of probabilities."""
    ids = [f"{k:010x}" for k in range(count)]
    table = pd.DataFrame(
        {"id": ids, "split": "test", "row": range(count), "depth": 1.0, "coverage": "", "blank": False}
    )
    table.to_csv(folder / "tiles.csv", index=False)
    files.write_json(folder / "threshold.json", {"threshold": 128, "min_area": 10})


class Cost(NamedTuple):
    """The resources that a process used."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_submission(folder: Path, threads: int, cache: Path | None = None) -> Cost:
    """Run `tgs-salt submission` on the inputs in `folder`.

    `cache` is the folder of compiled kernels; None: the default one. Raises RuntimeError if the command fails.
    """
    command: list[str | Path] = [
        sys.executable, "-m", "tgs_salt", "submission", "--test", folder / "test.npy", "--threshold",
        folder / "threshold.json", "--tiles", folder / "tiles.csv", "--output", folder / "submission.csv",
        "--threads", str(threads),
    ]  # fmt: skip
    environment = dict(os.environ) if cache is None else {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, env=environment, check=True
    )
    wall, cpu, peak, code = result.stdout.split()
    if code != "0":
        raise RuntimeError(result.stderr)
    return Cost(float(wall), float(cpu), int(peak) * (1 if sys.platform == "darwin" else 1024))


def time_first_calls(cache: Path) -> float:
    """Return the seconds of the first calls of all kernels, in a new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return float(subprocess.check_output([sys.executable, "-c", FIRST_CALLS], text=True, env=environment))


def compare_cold_and_warm(masks: np.ndarray, folder: Path, rounds: int) -> str:
    """Return the section on start-up times without and with cached kernels."""
    write_submission_inputs(folder, len(masks))
    files.write_array(folder / "test.npy", masks * np.uint8(255))
    job = f"`tgs-salt submission` of {len(masks):,} tiles"
    cold_calls, cold = time_first_calls(folder / "a"), run_submission(folder, 1, folder / "b")
    warm_calls = statistics.median(time_first_calls(folder / "a") for _ in range(rounds))
    warm = [run_submission(folder, 1, folder / "b") for _ in range(rounds)]
    wall, cpu = (statistics.median(values) for values in list(zip(*warm, strict=True))[:2])
    rows = [
        ["first call of every kernel", f"{cold_calls:.2f}", f"{warm_calls:.2f}"],
        [f"{job}, wall-clock time", f"{cold.wall_seconds:.2f}", f"{wall:.2f}"],
        [f"{job}, CPU time", f"{cold.cpu_seconds:.2f}", f"{cpu:.2f}"],
    ]
    return f"## Start-up\n\n{markdown(['seconds', 'kernels not cached', 'kernels cached'], rows)}\n"


def write_sparse_array(path: Path, masks: np.ndarray, count: int) -> None:
    """Write probabilities of `count` tiles, a multiple of 10,000: a tenth holds masks, the rest are file holes."""
    block = np.resize(masks * np.uint8(255), (1000, SIDE, SIDE))
    with open(path, "wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(stream, header)
        offset = stream.tell()
        for first in range(0, count, 10 * len(block)):
            stream.seek(offset + first * SIDE * SIDE)
            stream.write(block.data)
        stream.truncate(offset + count * SIDE * SIDE)


def measure_million_tiles(masks: np.ndarray, folder: Path, threads: int) -> str:
    """Write and check a submission of a million tiles from a memory map of 10 GB; return a sentence about it."""
    write_submission_inputs(folder, MILLION)
    write_sparse_array(folder / "test.npy", masks, MILLION)
    cost = run_submission(folder, threads)
    size = (folder / "submission.csv").stat().st_size
    return (
        f"`tgs-salt submission` of {MILLION:,} tiles (a tenth with masks) from a memory map, {threads} threads: "
        f"{cost.wall_seconds:.0f} s with the check, {size / 1e6:.0f} MB of text, "
        f"{cost.peak_bytes / 1e6:.0f} MB peak memory.\n"
    )

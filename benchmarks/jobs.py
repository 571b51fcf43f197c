"""Whole jobs in processes of their own: what starting costs, what compiling costs, and what a million tiles need."""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tgs_salt import files

SIDE = 101
MILLION = 1_000_000
# Every kernel once; prints the seconds that the first calls take.
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

# A process counts the memory of the one that started it, up to its own start. So jobs are started by a small one, which
# prints seconds from start to end, seconds of CPU time, peak of memory, exit code.
LAUNCH = """
import os, subprocess, sys, time
start = time.perf_counter()
job = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(job.pid, 0)
wall = time.perf_counter() - start
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def submission_inputs(folder: Path, count: int) -> None:
    """What `submission` reads of `count` tiles, but for the array."""
    ids = [f"{k:010x}" for k in range(count)]
    table = pd.DataFrame(
        {"id": ids, "split": "test", "row": range(count), "depth": 1.0, "coverage": "", "blank": False}
    )
    table.to_csv(folder / "tiles.csv", index=False)
    files.write_json(folder / "threshold.json", {"threshold": 128, "min_area": 10})


class Cost(NamedTuple):
    """What a process took: seconds from start to end, seconds of CPU time, and the peak of its memory in bytes."""

    wall: float
    cpu: float
    peak: int


def submit(folder: Path, threads: int, cache: Path | None = None) -> Cost:
    """Run `tgs-salt submission` on them.

    `cache`: where compiled kernels are kept, if not where they always are.
    """
    command: list[str | Path] = [
        sys.executable, "-m", "tgs_salt", "submission", "--test", folder / "test.npy", "--decision",
        folder / "threshold.json", "--tiles", folder / "tiles.csv", "--output", folder / "submission.csv",
        "--threads", str(threads),
    ]  # fmt: skip
    environment = dict(os.environ) if cache is None else {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, *command], capture_output=True, text=True, env=environment, check=True
    )
    wall, cpu, peak, code = done.stdout.split()
    if code != "0":
        raise RuntimeError(done.stderr)
    return Cost(float(wall), float(cpu), int(peak) * (1 if sys.platform == "darwin" else 1024))


def first_calls(cache: Path) -> float:
    """Seconds of the first call of every kernel, in a new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return float(subprocess.check_output([sys.executable, "-c", FIRST_CALLS], text=True, env=environment))


def starting(masks: np.ndarray, folder: Path, rounds: int) -> str:
    """The table of starts: with an empty cache of compiled kernels, and with a full one."""
    submission_inputs(folder, len(masks))
    files.write_array(folder / "test.npy", masks * np.uint8(255))
    job = f"`tgs-salt submission` of {len(masks):,} tiles"
    first_call, cold = first_calls(folder / "a"), submit(folder, 1, folder / "b")
    again = statistics.median(first_calls(folder / "a") for _ in range(rounds))
    warm = [submit(folder, 1, folder / "b") for _ in range(rounds)]
    wall, cpu = (statistics.median(values) for values in list(zip(*warm, strict=True))[:2])
    lines = [
        ("seconds", "nothing compiled before", "compiled before"),
        ("---", "---:", "---:"),
        ("first call of every kernel", f"{first_call:.2f}", f"{again:.2f}"),
        (f"{job}, start to end", f"{cold.wall:.2f}", f"{wall:.2f}"),
        (f"{job}, CPU time", f"{cold.cpu:.2f}", f"{cpu:.2f}"),
    ]
    return "## Starting\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def sparse_array(path: Path, masks: np.ndarray, count: int) -> None:
    """Probabilities of `count` tiles, a multiple of 10,000; a tenth holds masks, the others are holes of the file."""
    block = np.resize(masks * np.uint8(255), (1000, SIDE, SIDE))
    with open(path, "wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(stream, header)
        begin = stream.tell()
        for first in range(0, count, 10 * len(block)):
            stream.seek(begin + first * SIDE * SIDE)
            stream.write(block.data)
        stream.truncate(begin + count * SIDE * SIDE)


def million(masks: np.ndarray, folder: Path, threads: int) -> str:
    """Write and check a submission of a million tiles from a memory map of 10 GB; a sentence about it."""
    submission_inputs(folder, MILLION)
    sparse_array(folder / "test.npy", masks, MILLION)
    cost = submit(folder, threads)
    size = (folder / "submission.csv").stat().st_size
    return (
        f"`tgs-salt submission` of {MILLION:,} tiles (a tenth with masks) from a memory map, {threads} threads: "
        f"{cost.wall:.0f} s with the check, {size / 1e6:.0f} MB of text, at most {cost.peak / 1e6:.0f} MB of memory.\n"
    )

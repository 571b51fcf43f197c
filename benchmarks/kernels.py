"""The kernels and their peers, side by side in one process: `python -m benchmarks.kernels [--tiles 18000]`.

Read the ratios: they are medians of interleaved runs, beside the time that this machine needs to copy and to read the
same bytes. Before anything is timed, all of them are made to agree. TGS_DATA names a folder with Kaggle's train.csv;
without it the masks are drawn. Whole jobs are timed last, and `--million` measures the memory of a large one.
"""

import argparse
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path

import numba
import numpy as np
from pycocotools import mask as coco

from benchmarks import jobs, peers, tiles
from benchmarks.timing import Case, interleave, table
from tgs_salt.files import write_text
from tgs_salt.kernels import iou_score, rle, threshold_table
from tgs_salt.kernels.jit import kernel

LEVELS = np.linspace(64, 192, 31).round().astype(int)  # the 31 thresholds of the usual search, as bytes
LOOP = 300  # masks that the per-pixel loop gets


@kernel
def read(words: np.ndarray) -> np.uint64:
    """Touch every byte and do next to nothing with it."""
    total = np.uint64(0)
    for word in words:
        total ^= word
    return total


def ceilings(stack: np.ndarray) -> tuple[Case, Case]:
    """What this machine needs to copy and to read these bytes, on one thread."""
    target = np.empty_like(stack)
    words = stack.reshape(-1)[: stack.size // 8 * 8].view(np.uint64)
    return Case("copy, 1 thread", lambda: np.copyto(target, stack)), Case("read, 1 thread", lambda: read(words))


def join_rows(ids: list[str], texts: list[str]) -> bytes:
    return "".join(f"{name},{text}\n" for name, text in zip(ids, texts, strict=True)).encode()


def encoding(count: int, rounds: int) -> str:
    stack, what = tiles.masks(count)
    ids = [f"{k:010x}" for k in range(count)]
    columns = np.asfortranarray(stack.transpose(1, 2, 0))
    few = min(LOOP, count)
    expected = join_rows(ids, [peers.rle_popular(mask) for mask in stack])
    assert expected == rle.encode_table(stack, ids, 1) == rle.encode_table(stack, ids, 1, threads=2)
    assert [peers.rle_loop(mask) for mask in stack[:few]] == rle.encode(stack[:few])
    np.testing.assert_array_equal(coco.decode(coco.encode(columns[:, :, :few])), columns[:, :, :few])

    popular = Case("popular numpy kernel", lambda: join_rows(ids, [peers.rle_popular(mask) for mask in stack]))
    ready = Case("pycocotools, Fortran order ready (counts, no text)", lambda: coco.encode(columns))
    copy, reading = ceilings(stack)
    cases = [
        popular,
        Case("per-pixel Python loop", lambda: [peers.rle_loop(mask) for mask in stack[:few]], count / few),
        ready,
        Case("pycocotools and its conversion", lambda: coco.encode(np.asfortranarray(stack.transpose(1, 2, 0)))),
        Case("**ours, 1 thread**", lambda: rle.encode_table(stack, ids, 1)),
        Case("**ours, 2 threads**", lambda: rle.encode_table(stack, ids, 1, threads=2)),
        copy,
        reading,
    ]
    interleave(cases, rounds)
    ratios = [("popular kernel", popular), ("pycocotools", ready), ("copy", copy)]
    title = f"## {count:,} masks 101 x 101 to {len(expected):,} bytes of CSV rows\n\n{what}."
    return f"{title}\n\n{table(cases, ratios)}\n"


def search_thresholds(maps: np.ndarray, truth: np.ndarray, threads: int) -> np.ndarray:
    return threshold_table.score_by_threshold(threshold_table.histograms(maps, truth, threads), threads=threads)


def search_areas(maps: np.ndarray, truth: np.ndarray, threads: int) -> np.ndarray:
    return threshold_table.score_table(threshold_table.histograms(maps, truth, threads), threads=threads)


def searching(count: int, rounds: int) -> str:
    masks, what = tiles.masks(count)
    truth = masks.astype(bool)
    maps = tiles.probabilities(masks)
    flat, flat_truth = maps.reshape(count, -1), truth.reshape(count, -1)
    packed = np.packbits(flat_truth, axis=1)
    few = min(count, 400)
    few2d = min(count, 100)
    levels2d = LEVELS[::10]
    counts = threshold_table.histograms(maps, truth)
    by_threshold = threshold_table.score_by_threshold(counts) / (10 * count)
    for level in LEVELS[::6]:
        assert np.isclose(iou_score.score_bytes(maps, truth, level).mean(), by_threshold[level])
        assert np.isclose(peers.score_vectorised(flat >= level, flat_truth), by_threshold[level])
        assert np.isclose(peers.score_packed(flat >= level, packed), by_threshold[level])
        first = iou_score.score_bytes(maps[:few2d], truth[:few2d], level).mean()
        assert np.isclose(peers.score_per_image(maps[:few2d] >= level, truth[:few2d]), first)
        assert np.isclose(peers.score_histogram2d(maps[:few2d] >= level, truth[:few2d]), first)

    def vectorise() -> list[float]:
        return [peers.score_vectorised(flat >= level, flat_truth) for level in LEVELS]

    vectorised = Case("vectorised numpy, 31 thresholds", vectorise)
    copy, reading = ceilings(maps)
    cases = [
        Case(
            "histogram2d kernel, 31 thresholds",
            lambda: [peers.score_histogram2d(maps[:few2d] >= level, truth[:few2d]) for level in levels2d],
            count / few2d * len(LEVELS) / len(levels2d),
        ),
        Case(
            "per-image numpy, 31 thresholds",
            lambda: [peers.score_per_image(maps[:few] >= level, truth[:few]) for level in LEVELS],
            count / few,
        ),
        vectorised,
        Case(
            "vectorised numpy on packed bits, 31 thresholds",
            lambda: [peers.score_packed(flat >= level, packed) for level in LEVELS],
        ),
    ]
    for threads in (1, 2):
        workers = "1 thread" if threads == 1 else f"{threads} threads"
        search, joint = partial(search_thresholds, maps, truth, threads), partial(search_areas, maps, truth, threads)
        cases.append(Case(f"**ours, 256 thresholds, {workers}**", search))
        cases.append(Case(f"**ours, 256 thresholds x 10,202 minimum areas, {workers}**", joint))
    one = Case("ours, the score at one threshold, 1 thread", lambda: iou_score.score_bytes(maps, truth, 128))
    cases += [one, copy, reading]
    interleave(cases, rounds)
    sure = float(np.isin(maps, [0, 255]).mean())
    title = f"## Threshold search, {count:,} maps of uint8\n\n{what}, blurred; {sure:.0%} of the bytes are 0 or 255."
    return f"{title}\n\n{table(cases, [('vectorised', vectorised), ('copy', copy)])}\n"


def machine() -> str:
    """What it was measured on."""
    described = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), described)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{described}, {os.cpu_count()} cores{load}; {platform.system()}, {versions}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiles", type=int, default=18_000, help="masks to encode")
    parser.add_argument("--maps", type=int, default=4_000, help="probability maps to search")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true", help="a submission of a million tiles too: 1 GB of disk")
    parser.add_argument("--output", type=Path, help="write the tables here too")
    options = parser.parse_args()
    text = f"# Kernels and their peers\n\n{machine()}\n\n" + encoding(options.tiles, options.rounds)
    text += "\n" + searching(options.maps, options.rounds)
    text += "\n`x name` says how many times faster than `name` a line is; bold lines are ours.\n"
    masks, _ = tiles.masks(300)
    with tempfile.TemporaryDirectory() as folder:
        text += "\n" + jobs.starting(masks, Path(folder), min(options.rounds, 5))
        if options.million:
            text += "\n" + jobs.million(masks, Path(folder), threads=2)
    sys.stdout.write(text)
    if options.output:
        write_text(options.output, text)


if __name__ == "__main__":
    main()

"""Benchmark the kernels against their peers in one process: `python -m benchmarks.kernels [--tiles 18000]`.

Compare the ratios: they are medians of interleaved runs. The times to copy and to read the same bytes are lower bounds.
All implementations are checked to agree before they are timed. TGS_DATA is a folder with Kaggle's train.csv; without
it the masks are synthetic. Whole jobs are timed last; `--million` also measures the memory of a large one.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from benchmarks import jobs, peers
from benchmarks.machine import describe_machine
from benchmarks.tiles import load_masks, simulate_probabilities
from benchmarks.timing import Case, interleave, table
from tgs_salt.files import write_text
from tgs_salt.kernels import iou_score, rle, threshold_table
from tgs_salt.kernels.jit import kernel

THRESHOLDS = np.linspace(64, 192, 31).round().astype(int)  # the 31 thresholds of the common search, as bytes
LOOP_MASKS = 300  # number of masks that the per-pixel loop encodes


@kernel
def read_words(words: np.ndarray) -> np.uint64:
    """Return the XOR of all words, which reads each byte once."""
    total = np.uint64(0)
    for word in words:
        total ^= word
    return total


def lower_bounds(stack: np.ndarray) -> tuple[Case, Case]:
    """Return the cases that copy and that read the bytes of `stack` on one thread."""
    target = np.empty_like(stack)
    words = stack.reshape(-1)[: stack.size // 8 * 8].view(np.uint64)
    return Case("copy, 1 thread", lambda: np.copyto(target, stack)), Case("read, 1 thread", lambda: read_words(words))


def join_rows(ids: list[str], codes: list[str]) -> bytes:
    """Return the CSV rows of a submission."""
    return "".join(f"{name},{code}\n" for name, code in zip(ids, codes, strict=True)).encode()


def compare_encoding(count: int, rounds: int) -> str:
    """Return the section on run-length encoding of `count` masks."""
    stack, description = load_masks(count)
    ids = [f"{k:010x}" for k in range(count)]
    fortran = np.asfortranarray(stack.transpose(1, 2, 0))
    few = min(LOOP_MASKS, count)
    expected = join_rows(ids, [peers.rle_numpy(mask) for mask in stack])
    assert expected == rle.encode_table(stack, ids, 1) == rle.encode_table(stack, ids, 1, threads=2)
    assert [peers.rle_loop(mask) for mask in stack[:few]] == rle.encode(stack[:few])
    np.testing.assert_array_equal(coco.decode(coco.encode(fortran[:, :, :few])), fortran[:, :, :few])

    common = Case("common numpy code", lambda: join_rows(ids, [peers.rle_numpy(mask) for mask in stack]))
    pycocotools = Case("pycocotools, input in Fortran order (counts, no text)", lambda: coco.encode(fortran))
    copy, read = lower_bounds(stack)
    cases = [
        common,
        Case("per-pixel Python loop", lambda: [peers.rle_loop(mask) for mask in stack[:few]], count / few),
        pycocotools,
        Case(
            "pycocotools with conversion to Fortran order",
            lambda: coco.encode(np.asfortranarray(stack.transpose(1, 2, 0))),
        ),
        Case("**ours, 1 thread**", lambda: rle.encode_table(stack, ids, 1)),
        Case("**ours, 2 threads**", lambda: rle.encode_table(stack, ids, 1, threads=2)),
        copy,
        read,
    ]
    interleave(cases, rounds)
    references = [("common numpy code", common), ("pycocotools", pycocotools), ("copy", copy)]
    title = f"## {count:,} masks 101 x 101 to {len(expected):,} bytes of CSV rows\n\n{description}."
    return f"{title}\n\n{table(cases, references)}\n"


def search_thresholds(probabilities: np.ndarray, masks: np.ndarray, threads: int) -> np.ndarray:
    """Score all 256 thresholds."""
    histograms = threshold_table.histograms(probabilities, masks, threads)
    return threshold_table.score_by_threshold(histograms, threads=threads)


def search_min_areas(probabilities: np.ndarray, masks: np.ndarray, threads: int) -> np.ndarray:
    """Score all 256 thresholds with all minimum areas."""
    return threshold_table.score_table(threshold_table.histograms(probabilities, masks, threads), threads=threads)


def compare_search(count: int, rounds: int) -> str:
    """Return the section on the threshold search over `count` tiles."""
    masks, description = load_masks(count)
    probabilities = simulate_probabilities(masks)
    masks = masks.astype(bool)
    flat, flat_masks = probabilities.reshape(count, -1), masks.reshape(count, -1)
    packed = np.packbits(flat_masks, axis=1)
    few = min(count, 400)
    few_2d = min(count, 100)
    thresholds_2d = THRESHOLDS[::10]
    counts = threshold_table.histograms(probabilities, masks)
    by_threshold = threshold_table.score_by_threshold(counts) / (10 * count)
    for threshold in THRESHOLDS[::6]:
        assert np.isclose(iou_score.score_bytes(probabilities, masks, threshold).mean(), by_threshold[threshold])
        assert np.isclose(peers.score_vectorized(flat >= threshold, flat_masks), by_threshold[threshold])
        assert np.isclose(peers.score_packed(flat >= threshold, packed), by_threshold[threshold])
        expected = iou_score.score_bytes(probabilities[:few_2d], masks[:few_2d], threshold).mean()
        assert np.isclose(peers.score_per_image(probabilities[:few_2d] >= threshold, masks[:few_2d]), expected)
        assert np.isclose(peers.score_histogram2d(probabilities[:few_2d] >= threshold, masks[:few_2d]), expected)

    def score_vectorized() -> list[float]:
        return [peers.score_vectorized(flat >= threshold, flat_masks) for threshold in THRESHOLDS]

    vectorized = Case("vectorized numpy, 31 thresholds", score_vectorized)
    copy, read = lower_bounds(probabilities)
    cases = [
        Case(
            "np.histogram2d, 31 thresholds",
            lambda: [
                peers.score_histogram2d(probabilities[:few_2d] >= threshold, masks[:few_2d])
                for threshold in thresholds_2d
            ],
            count / few_2d * len(THRESHOLDS) / len(thresholds_2d),
        ),
        Case(
            "per-image numpy, 31 thresholds",
            lambda: [peers.score_per_image(probabilities[:few] >= threshold, masks[:few]) for threshold in THRESHOLDS],
            count / few,
        ),
        vectorized,
        Case(
            "vectorized numpy on packed bits, 31 thresholds",
            lambda: [peers.score_packed(flat >= threshold, packed) for threshold in THRESHOLDS],
        ),
    ]
    for threads in (1, 2):
        suffix = "1 thread" if threads == 1 else f"{threads} threads"
        by_area = partial(search_min_areas, probabilities, masks, threads)
        cases.append(
            Case(f"**ours, 256 thresholds, {suffix}**", partial(search_thresholds, probabilities, masks, threads))
        )
        cases.append(Case(f"**ours, 256 thresholds x 10,202 minimum areas, {suffix}**", by_area))
    single = Case("ours, one threshold, 1 thread", lambda: iou_score.score_bytes(probabilities, masks, 128))
    cases += [single, copy, read]
    interleave(cases, rounds)
    certain = float(np.isin(probabilities, [0, 255]).mean())
    title = f"## Threshold search, {count:,} tiles\n\n{description}, blurred; {certain:.0%} of the bytes are 0 or 255."
    return f"{title}\n\n{table(cases, [('vectorized', vectorized), ('copy', copy)])}\n"


def main() -> None:
    """Run all benchmarks and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiles", type=int, default=18_000, help="number of masks to encode (default: 18000)")
    parser.add_argument("--maps", type=int, default=4_000, help="number of probability maps (default: 4000)")
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each case (default: 7)")
    parser.add_argument(
        "--million", action="store_true", help="also write a submission of a million tiles (1 GB of disk)"
    )
    parser.add_argument("--output", type=Path, help="file to write the tables to, in addition to stdout")
    options = parser.parse_args()
    text = f"# Kernels and their peers\n\n{describe_machine('numpy', 'numba')}\n\n"
    text += compare_encoding(options.tiles, options.rounds)
    text += "\n" + compare_search(options.maps, options.rounds)
    text += "\n`x name` is the speed-up over `name`; bold lines are ours.\n"
    masks, _ = load_masks(300)
    with tempfile.TemporaryDirectory() as folder:
        text += "\n" + jobs.compare_cold_and_warm(masks, Path(folder), min(options.rounds, 5))
        if options.million:
            text += "\n" + jobs.measure_million_tiles(masks, Path(folder), threads=2)
    sys.stdout.write(text)
    if options.output:
        write_text(options.output, text)


if __name__ == "__main__":
    main()

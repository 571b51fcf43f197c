"""Compare the speed of the prediction backends, with flip TTA, with that of eager PyTorch.

    python -m benchmarks.prediction [--threads 2] [--rounds 15] [--output FILE]

Each case runs the function that the command `predict` uses. Before the timing, the backends are checked to agree to
within one byte. Compare ratios rather than times.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.nets import NETWORKS, build_trainer, random_tiles, to_nchw
from benchmarks.timing import Case, interleave, throughput
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import CPU_BATCH, predict_batches
from tgs_salt.models.tile_model import TileModel

TILES = 2 * CPU_BATCH  # per timed call
CPU = torch.device("cpu")
BACKENDS = {
    "torch, channels-last": "eager",
    "**frozen graph**, no extra dependency": "torchscript",
    "**OpenVINO**": "openvino",
}


def stream_predictions(network: TileModel, backend: str) -> Iterator[np.ndarray]:
    """Yield predictions of the same TILES tiles forever, batch by batch; the backend is built for the first one."""
    images, _ = random_tiles(TILES)
    depths = np.full(CPU_BATCH, 500, np.float32)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            for batch in np.split(images, TILES // CPU_BATCH):
                yield batch, depths

    return predict_batches(network, batches(), CPU, hflip=True, backend=backend)


def predict_all(predictions: Iterator[np.ndarray]) -> np.ndarray:
    """Return the next predictions of all TILES tiles."""
    return np.concatenate([next(predictions) for _ in range(TILES // CPU_BATCH)])


def train_one_epoch(name: str) -> TileModel:
    """Return a network in eval mode whose batch-norm statistics come from one epoch of training."""
    trainer = build_trainer(name, 2 * CPU_BATCH)
    trainer.train_epoch(1)
    return trainer.network.eval()


def compare(name: str, threads: int, rounds: int) -> str:
    """Return a Markdown section with the speed of each backend for the network `name`."""
    torch.set_num_threads(threads)
    network = train_one_epoch(name)
    baseline = stream_predictions(to_nchw(network), "eager")
    expected = predict_all(baseline).astype(np.int16)
    cases = [Case("torch, NCHW", partial(predict_all, baseline))]
    for label, backend in BACKENDS.items():
        predictions = stream_predictions(network, backend)
        start = time.perf_counter()
        first = next(predictions)
        seconds = time.perf_counter() - start
        assert np.abs(first - expected[: len(first)]).max() <= 1
        for _ in range(TILES // CPU_BATCH - 1):
            next(predictions)
        cases.append(Case(f"{label} (first batch {seconds:.1f} s)", partial(predict_all, predictions)))
    interleave(cases, rounds)
    network_title, plural = NETWORKS[name][1], "s" * (threads > 1)
    conditions = f"batches of {CPU_BATCH}, {threads} thread{plural}, one process, glibc keeps freed memory"
    return f"## Prediction with flip TTA\n\n{network_title}; {conditions}.\n\n{throughput(cases, TILES, cases[0])}\n"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--nets", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    cpu_env.prepare("0", "benchmarks.prediction")
    text = f"# Prediction\n\n{describe_machine()}\n"
    for name in options.nets:
        section = compare(name, options.threads, options.rounds)
        print(section, flush=True)
        text += f"\n{section}"
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()

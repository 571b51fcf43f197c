"""Prediction with flip TTA by each engine, beside torch as it is: `python -m benchmarks.prediction`.

    python -m benchmarks.prediction [--threads 2] [--rounds 15] [--output FILE]

Every line computes bytes by the function that the command `predict` uses. Before anything is timed, the engines are
made to agree to within one level. Read the ratios.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.nets import NETS, nchw, random_tiles, trainer_of
from benchmarks.timing import Case, interleave, throughput
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import CPU_BATCH, probability_bytes
from tgs_salt.models.tile_model import TileNetwork

TILES = 2 * CPU_BATCH  # a turn
CPU = torch.device("cpu")
ENGINES = {
    "torch, channels-last": "eager",
    "**frozen graph**, no extra dependency": "torchscript",
    "**OpenVINO**": "openvino",
}


def stream(network: TileNetwork, engine: str) -> Iterator[np.ndarray]:
    """The same TILES tiles again and again, in batches: the engine is made for the first, as for a whole dataset."""
    pictures, _ = random_tiles(TILES)
    depths = np.full(CPU_BATCH, 500, np.float32)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            for part in np.split(pictures, TILES // CPU_BATCH):
                yield part, depths

    return probability_bytes(network, batches(), CPU, flips=True, engine=engine)


def turn(salt: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([next(salt) for _ in range(TILES // CPU_BATCH)])


def settled(name: str) -> TileNetwork:
    """A network whose batch norms have seen tiles, ready to predict."""
    trainer = trainer_of(name, 2 * CPU_BATCH)
    trainer.epoch(1)
    return trainer.network.eval()


def compare(name: str, threads: int, rounds: int) -> str:
    torch.set_num_threads(threads)
    network = settled(name)
    base = stream(nchw(network), "eager")
    expected = turn(base).astype(np.int16)
    cases = [Case("torch, NCHW", partial(turn, base))]
    for label, engine in ENGINES.items():
        salt = stream(network, engine)
        start = time.perf_counter()
        first = next(salt)
        seconds = time.perf_counter() - start
        assert np.abs(first - expected[: len(first)]).max() <= 1
        for _ in range(TILES // CPU_BATCH - 1):
            next(salt)
        cases.append(Case(f"{label} (first batch {seconds:.1f} s)", partial(turn, salt)))
    interleave(cases, rounds)
    about = f"{NETS[name][1]}; batches of {CPU_BATCH}, {threads} thread{'s' * (threads > 1)}, one process"
    return f"## Prediction with flip TTA\n\n{about}, glibc keeps memory.\n\n{throughput(cases, TILES, cases[0])}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--output", type=Path, help="write the tables here too")
    options = parser.parse_args()
    cpu_env.prepare("0", "benchmarks.prediction")
    text = f"# Prediction\n\n{machine()}\n"
    for name in options.nets:
        part = compare(name, options.threads, options.rounds)
        print(part, flush=True)
        text += f"\n{part}"
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()

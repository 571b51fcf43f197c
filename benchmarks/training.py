"""Training beside its own bare step, beside Keras and beside the usual loop: `python -m benchmarks.training`.

    python -m benchmarks.training [--threads 2] [--rounds 15] [--keras PYTHON] [--output FILE]

PYTHON is the interpreter of an environment with TensorFlow, which this project does not need:
`uv venv /tmp/keras && uv pip install --python /tmp/keras/bin/python tensorflow-cpu`. Read the ratios.
"""

import argparse
import copy
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.machine import machine
from benchmarks.nets import NETS, trainer_of
from benchmarks.timing import Case, interleave, throughput
from benchmarks.turns import Process, serve
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import to_float
from tgs_salt.training.fit import Trainer
from tgs_salt.training.optim import build_optimizer

TILES = 64  # a turn: 2 steps of the article's batch, 4 of the cpu preset's
KEEPING = {cpu_env.ALLOCATOR: cpu_env.keeping_memory(platform.libc_ver()[1])}


def epochs_of(name: str) -> tuple[Trainer, Callable[[], float]]:
    """A training, and its loop over TILES tiles: an epoch, without what comes between epochs."""
    trainer = trainer_of(name, TILES)

    def again() -> float:
        trainer.step = 0
        return trainer.epoch(1)

    return trainer, again


def bare_steps(trainer: Trainer) -> Callable[[], None]:
    """As many steps as an epoch of `trainer` has, on one batch that lies ready as floats."""
    network = copy.deepcopy(trainer.network)
    optimizer = build_optimizer(network, trainer.settings)
    pixels = to_float(trainer.data.images[: trainer.settings.batch_size])
    targets = to_float(trainer.data.targets[: trainer.settings.batch_size])

    def steps() -> None:
        network.train()
        for _ in range(trainer.steps_per_epoch):
            optimizer.zero_grad(set_to_none=True)
            trainer.loss(network(pixels), targets).backward()
            optimizer.step()

    return steps


def against_bare_step(name: str, threads: int, rounds: int) -> str:
    torch.set_num_threads(threads)
    trainer, epoch = epochs_of(name)
    bare = Case("bare step: forward, backward, optimizer on one resident batch", bare_steps(trainer))
    cases = [bare, Case("**our loop: tiles drawn, augmented, learnt, averaged**", epoch)]
    interleave(cases, rounds)
    where = f"one process, {plural(threads)}, glibc keeps memory"
    return f"## The loop and its bare step\n\n{NETS[name][1]}; {where}.\n\n{throughput(cases, TILES, bare)}\n"


def ours(name: str, threads: int, environment: dict[str, str]) -> Process:
    return Process([sys.executable, "-m", "benchmarks.training", "--serve", name, str(threads)], environment)


def usual(name: str, threads: int, order: str, environment: dict[str, str]) -> Process:
    steps = TILES // NETS[name][0].batch_size
    return Process([sys.executable, "-m", "benchmarks.usual", name, str(steps), str(threads), order], environment)


def in_turns(title: str, about: str, peers: dict[str, Process], rounds: int) -> str:
    """Processes in turns; ratios to the first."""
    cases = [Case(name, peer.turn, clock=peer.cpu_seconds) for name, peer in peers.items()]
    interleave(cases, rounds)
    for peer in peers.values():
        peer.close()
    return f"## {title}\n\n{about}; alternating processes.\n\n{throughput(cases, TILES, cases[0])}\n"


def against_keras(python: str, threads: int, rounds: int) -> str:
    # TensorFlow takes all cores where it is told nothing, as the notebook tells it nothing.
    told = 0 if threads == os.cpu_count() else threads
    command = [python, "-m", "benchmarks.keras_article", str(TILES), str(told)]
    peers = {
        "Keras `fit`, the article's net, default environment": Process(command, {}),
        "Keras `fit`, glibc keeps memory": Process(command, KEEPING),
        "**ours, the article's net, glibc keeps memory**": ours("article", threads, KEEPING),
        "**ours, the cpu preset's net, glibc keeps memory**": ours("light", threads, KEEPING),
    }
    about = f"{NETS['article'][1]}; {NETS['light'][1]}; {plural(threads)} each"
    return in_turns("Ours and Keras", about, peers, rounds)


def against_usual(name: str, threads: int, rounds: int) -> str:
    peers = {
        "DataLoader with 2 workers, default environment": usual(name, threads, "nchw", {}),
        "DataLoader with 2 workers, channels-last, glibc keeps memory": usual(name, threads, "nhwc", KEEPING),
        "**ours, glibc keeps memory**": ours(name, threads, KEEPING),
    }
    return in_turns("Ours and the usual loop", f"{NETS[name][1]}; {plural(threads)} each", peers, rounds)


def plural(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2, help="of torch, and of TensorFlow")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keras", help="a Python with TensorFlow; without it Keras is left out")
    parser.add_argument("--only", choices=["bare", "keras", "usual"], help="one part of it")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--output", type=Path, help="write the tables here too")
    parser.add_argument("--serve", nargs=2, metavar=("NET", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        name, threads = options.serve
        torch.set_num_threads(int(threads))
        serve(epochs_of(name)[1])
        return
    cpu_env.prepare("0", "benchmarks.training")
    text = f"# Training\n\n{machine()}\n"
    for part in parts(options):
        print(part, flush=True)
        text += f"\n{part}"
    if options.output:
        options.output.write_text(text)


def parts(options: argparse.Namespace) -> Iterator[str]:
    for name in options.nets:
        if options.only in (None, "bare"):
            yield against_bare_step(name, options.threads, options.rounds)
        if options.only in (None, "usual"):
            yield against_usual(name, options.threads, options.rounds)
    if options.keras and options.only in (None, "keras"):
        yield against_keras(options.keras, options.threads, options.rounds)


if __name__ == "__main__":
    main()

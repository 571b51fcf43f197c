"""Benchmark training against its bare steps, against Keras and against a loop with a DataLoader.

    python -m benchmarks.training [--threads 2] [--rounds 15] [--keras PYTHON] [--output FILE]

PYTHON is the interpreter of an environment with TensorFlow, which this project does not need:
`uv venv /tmp/keras && uv pip install --python /tmp/keras/bin/python tensorflow-cpu`. Compare the ratios, not the times.
"""

import argparse
import copy
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.machine import describe_machine
from benchmarks.nets import NETWORKS, build_trainer
from benchmarks.timing import Case, interleave, throughput
from benchmarks.worker_process import WorkerProcess, serve
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import to_float
from tgs_salt.training.fit import Trainer
from tgs_salt.training.optim import build_optimizer

TILES = 64  # per timed call: 2 steps of the article's batch size, 4 of the cpu preset's
ALLOCATOR = {cpu_env.GLIBC_TUNABLES: cpu_env.malloc_tunables(platform.libc_ver()[1])}


def build_epoch(name: str) -> tuple[Trainer, Callable[[], float]]:
    """Return a trainer and a function that trains it for an epoch of TILES tiles, without evaluation or checkpoint."""
    trainer = build_trainer(name, TILES)

    def train_epoch() -> float:
        trainer.step = 0
        return trainer.train_epoch(1)

    return trainer, train_epoch


def build_bare_steps(trainer: Trainer) -> Callable[[], None]:
    """Return a function that does the steps of an epoch on one resident batch of floats."""
    network = copy.deepcopy(trainer.network)
    optimizer = build_optimizer(network, trainer.settings)
    pixels = to_float(trainer.data.images[: trainer.settings.batch_size])
    targets = to_float(trainer.data.targets[: trainer.settings.batch_size])

    def train_steps() -> None:
        network.train()
        for _ in range(trainer.steps_per_epoch):
            optimizer.zero_grad(set_to_none=True)
            trainer.loss_fn(network(pixels), targets).backward()
            optimizer.step()

    return train_steps


def compare_bare_steps(name: str, threads: int, rounds: int) -> str:
    """Return the section on the training loop and its bare steps, timed in this process."""
    torch.set_num_threads(threads)
    trainer, train_epoch = build_epoch(name)
    bare = Case("bare steps: forward, backward, optimizer on one resident batch", build_bare_steps(trainer))
    cases = [bare, Case("**ours: shuffling, augmentation, steps, weight averaging**", train_epoch)]
    interleave(cases, rounds)
    conditions = f"one process, {thread_count(threads)}, allocator tuned"
    rows = throughput(cases, TILES, bare)
    return f"## The training loop and its bare steps\n\n{NETWORKS[name][1]}; {conditions}.\n\n{rows}\n"


def start_ours(name: str, threads: int, environment: dict[str, str]) -> WorkerProcess:
    """Start a worker that runs this project's training loop."""
    return WorkerProcess([sys.executable, "-m", "benchmarks.training", "--serve", name, str(threads)], environment)


def start_dataloader(name: str, threads: int, memory_format: str, environment: dict[str, str]) -> WorkerProcess:
    """Start a worker that runs the loop with a DataLoader."""
    steps = TILES // NETWORKS[name][0].batch_size
    command = [sys.executable, "-m", "benchmarks.dataloader_loop", name, str(steps), str(threads), memory_format]
    return WorkerProcess(command, environment)


def compare_processes(title: str, conditions: str, workers: dict[str, WorkerProcess], rounds: int) -> str:
    """Return a section that times `workers` in turns, with ratios to the first one."""
    cases = [Case(name, worker.run_once, clock=worker.cpu_seconds) for name, worker in workers.items()]
    interleave(cases, rounds)
    for worker in workers.values():
        worker.close()
    return f"## {title}\n\n{conditions}; alternating processes.\n\n{throughput(cases, TILES, cases[0])}\n"


def compare_keras(python: str, threads: int, rounds: int) -> str:
    """Return the section on Keras, run by the interpreter `python`."""
    # TensorFlow uses all cores by default, as in the notebook.
    keras_threads = 0 if threads == os.cpu_count() else threads
    command = [python, "-m", "benchmarks.keras_article", str(TILES), str(keras_threads)]
    workers = {
        "Keras `fit`, the article's network, default environment": WorkerProcess(command, {}),
        "Keras `fit`, allocator tuned": WorkerProcess(command, ALLOCATOR),
        "**ours, the article's network, allocator tuned**": start_ours("article", threads, ALLOCATOR),
        "**ours, the cpu preset's network, allocator tuned**": start_ours("cpu", threads, ALLOCATOR),
    }
    conditions = f"{NETWORKS['article'][1]}; {NETWORKS['cpu'][1]}; {thread_count(threads)} each"
    return compare_processes("Ours and Keras", conditions, workers, rounds)


def compare_dataloader(name: str, threads: int, rounds: int) -> str:
    """Return the section on the loop with a DataLoader."""
    workers = {
        "DataLoader with 2 workers, default environment": start_dataloader(name, threads, "nchw", {}),
        "DataLoader with 2 workers, channels-last, allocator tuned": start_dataloader(name, threads, "nhwc", ALLOCATOR),
        "**ours, allocator tuned**": start_ours(name, threads, ALLOCATOR),
    }
    conditions = f"{NETWORKS[name][1]}; {thread_count(threads)} each"
    return compare_processes("Ours and a loop with a DataLoader", conditions, workers, rounds)


def thread_count(threads: int) -> str:
    """Return a count such as `1 thread` or `2 threads`."""
    return f"{threads} thread{'s' * (threads > 1)}"


def main() -> None:
    """Run the benchmarks that are selected on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of TensorFlow (default: 2)")
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each case (default: 15)")
    parser.add_argument("--keras", metavar="PYTHON", help="interpreter with TensorFlow; omit it to skip Keras")
    parser.add_argument("--only", choices=["bare", "keras", "dataloader"], help="run this comparison alone")
    parser.add_argument("--nets", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="default: all")
    parser.add_argument("--output", type=Path, help="file to write the tables to, in addition to stdout")
    parser.add_argument("--serve", nargs=2, metavar=("NET", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        name, threads = options.serve
        torch.set_num_threads(int(threads))
        serve(build_epoch(name)[1])
        return
    cpu_env.prepare("0", "benchmarks.training")
    text = f"# Training\n\n{describe_machine()}\n"
    for section in sections(options):
        print(section, flush=True)
        text += f"\n{section}"
    if options.output:
        options.output.write_text(text)


def sections(options: argparse.Namespace) -> Iterator[str]:
    """Run the selected comparisons and yield their sections."""
    for name in options.nets:
        if options.only in (None, "bare"):
            yield compare_bare_steps(name, options.threads, options.rounds)
        if options.only in (None, "dataloader"):
            yield compare_dataloader(name, options.threads, options.rounds)
    if options.keras and options.only in (None, "keras"):
        yield compare_keras(options.keras, options.threads, options.rounds)


if __name__ == "__main__":
    main()

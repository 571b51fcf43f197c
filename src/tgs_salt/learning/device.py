"""`--gpus` decides where a job computes, and each job on a GPU leases its own."""

from __future__ import annotations

import getpass
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from tgs_salt.errors import UserError
from tgs_salt.log import logger


@contextmanager
def device(gpus: str, slots: int = 1) -> Iterator[torch.device]:
    """Yield the device of this job, leased until the end.

    `gpus` is what Snakemake granted: "0" is the CPU on purpose, "1" (or more) one CUDA device, "auto" one CUDA device
    of those that the scheduler made visible. Raises UserError if there is none.
    """
    if gpus == "0":
        yield torch.device("cpu")
        return
    if gpus != "auto" and not gpus.isdigit():
        raise UserError(f"--gpus: expected 0, a number of GPUs, or auto, found {gpus!r}.")
    if not torch.cuda.is_available():
        raise UserError(
            "this job was given a GPU, but torch finds no CUDA device here; to compute on the CPU, "
            "run snakemake with --resources gpu=0 (workflow/presets/cpu.yaml is made for that)."
        )
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    with lease(names, slots) as index:
        torch.cuda.set_device(index)
        logger.info(f"GPU {index}: {torch.cuda.get_device_name(index)}")
        yield torch.device("cuda", index)


@contextmanager
def lease(names: list[str], slots: int, folder: Path | None = None, pause: float = 1.0) -> Iterator[int]:
    """Hold one of `slots` places on one of the devices `names`; yield its index. Waits while all are taken.

    The kernel lets go of a lock when its process ends, however it ends.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"tgs-salt-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for slot in range(slots):
            for index, name in enumerate(names):
                lock = FileLock(folder / f"{name}.{slot}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                try:
                    yield index
                finally:
                    lock.release()
                return
        if not waiting:
            logger.info(f"all {len(names) * slots} places on {len(names)} devices are taken; waiting for one")
            waiting = True
        time.sleep(pause)


def synchronise(where: torch.device) -> None:
    """Wait for a GPU to finish, so that a clock can be read."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def peak_memory_mb(where: torch.device) -> float:
    """Most memory that this process held: of the GPU where it computes on one, else of the machine. MiB."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 2**20
    try:
        import resource
        import sys

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (2**20 if sys.platform == "darwin" else 2**10)
    except ImportError:  # Windows
        return float("nan")

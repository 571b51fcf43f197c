"""`--gpus` decides where a job computes, and each job on a GPU leases its own.

TGS_SALT_PRETEND_GPUS=2 pretends two GPUs, for tests of leases and clusters on a machine without one: the leases are
real, the computing is done on the CPU.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from tgs_salt.errors import UserError
from tgs_salt.log import logger

PRETEND = "TGS_SALT_PRETEND_GPUS"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def use_device(gpus: str, slots: int = 1) -> Iterator[torch.device]:
    """Yield the device of this job, leased until the end.

    `gpus` is what Snakemake granted: "0" is the CPU on purpose, "1" (or more) one of the CUDA devices that
    CUDA_VISIBLE_DEVICES lets torch see, "auto" the one that a scheduler gave. That one is used without a lease, since
    the scheduler may share it on purpose; of several, auto leases one too. Raises UserError if there is none.
    """
    if gpus == "0":
        yield torch.device("cpu")
        return
    if gpus != "auto" and not gpus.isdigit():
        raise UserError(f"--gpus: expected 0, a number of GPUs, or auto, found {gpus!r}.")
    names = _visible()
    if not names:
        hidden = f"{VISIBLE} is {os.environ[VISIBLE]!r}; " if VISIBLE in os.environ else ""
        raise UserError(
            f"this job was given a GPU, but torch finds no CUDA device here; {hidden}to compute on the CPU, "
            "run snakemake with --resources gpu=0 (workflow/presets/cpu.yaml is made for that), or use --gpus 0."
        )
    if gpus == "auto" and len(names) == 1:
        yield _use(0, names[0])
        return
    with lease(names, slots) as index:
        yield _use(index, names[index])


def _visible() -> list[str]:
    """Names of the devices that this process may use, in torch's order: the same name in every process."""
    if PRETEND not in os.environ:
        count = torch.cuda.device_count()
        return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
    count = int(os.environ[PRETEND])
    chosen = os.environ.get(VISIBLE, ",".join(map(str, range(count))))
    return [f"pretended-{index}" for index in chosen.split(",") if index.isdigit() and int(index) < count]


def _use(index: int, name: str) -> torch.device:
    if PRETEND in os.environ:
        logger.info(f"GPU {index}: {name}; computing on the CPU")
        return torch.device("cpu")
    torch.cuda.set_device(index)
    logger.info(f"GPU {index}: {torch.cuda.get_device_name(index)}")
    return torch.device("cuda", index)


@contextmanager
def lease(names: list[str], slots: int, folder: Path | None = None, pause: float = 1.0) -> Iterator[int]:
    """Hold one of `slots` places on one of the devices `names`; yield its index. Waits while all are taken.

    The kernel lets go of a lock when its process ends, however it ends.
    """
    folder = folder or lock_folder()
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
                taken = time.time()
                try:
                    yield index
                finally:
                    logger.debug(f"lease of {name}, place {slot}: from {taken:.3f} to {time.time():.3f}")
                    lock.release()
                return
        if not waiting:
            logger.info(f"all {len(names) * slots} places on {len(names)} devices are taken; waiting for one")
            waiting = True
        time.sleep(pause)


def lock_folder() -> Path:
    """Where this user's processes on this machine meet.

    Linux' /dev/shm is the machine's own, whereas TMPDIR may be a job's own or a network's.
    """
    shared = Path("/dev/shm")
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return (shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())) / f"tgs-salt-{user}"


def synchronize(device: torch.device) -> None:
    """Wait for a GPU to finish, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mb(device: torch.device) -> float:
    """Most memory that this process held: of the GPU where it computes on one, else of the machine. MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
        import sys

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (2**20 if sys.platform == "darwin" else 2**10)
    except ImportError:  # Windows
        return float("nan")

"""Choose the device of a job from `--gpus`, and lease a GPU to each job.

TGS_SALT_FAKE_GPUS=2 simulates two GPUs on a machine without any, to test leases and clusters: the leases are real,
the computation runs on the CPU.
"""

from __future__ import annotations

import getpass
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from tgs_salt.errors import UserError
from tgs_salt.log import logger

FAKE_GPUS = "TGS_SALT_FAKE_GPUS"
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@contextmanager
def use_device(gpus: str, jobs_per_gpu: int = 1) -> Iterator[torch.device]:
    """Yield the device of this job; a GPU is leased until the context ends.

    Args:
        gpus: "0" for the CPU; "1" or more for one of the visible CUDA devices; "auto" for the device that a cluster
            scheduler assigned. A single assigned device is used without a lease, because the scheduler may share it on
            purpose. With several, "auto" leases one.
        jobs_per_gpu: Number of jobs that may share a GPU.

    Raises:
        UserError: `gpus` is invalid, there is no CUDA device, or torch does not support its driver or capability.
    """
    if gpus == "0":
        yield torch.device("cpu")
        return
    if gpus != "auto" and not gpus.isdigit():
        raise UserError(f"--gpus: expected 0, a number of GPUs, or auto, found {gpus!r}.")
    names = _visible_gpus()
    if not names:
        visible = f"{VISIBLE_DEVICES} is {os.environ[VISIBLE_DEVICES]!r}; " if VISIBLE_DEVICES in os.environ else ""
        raise UserError(
            f"this job requested a GPU, but torch finds no CUDA device; {visible}to compute on the CPU, "
            "run snakemake with --resources gpu=0 (see workflow/presets/cpu.yaml) or use --gpus 0."
        )
    if gpus == "auto" and len(names) == 1:
        yield _select_gpu(0, names[0])
        return
    with lease(names, jobs_per_gpu) as index:
        yield _select_gpu(index, names[index])


def _visible_gpus() -> list[str]:
    """Return a name for each visible GPU, in torch's order; a GPU has the same name in every process."""
    if FAKE_GPUS not in os.environ:
        count = torch.cuda.device_count()
        try:
            return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
        except RuntimeError as error:  # the driver lists the GPUs, but CUDA cannot start
            raise UserError(
                f"CUDA {torch.version.cuda}, which this torch was built for, cannot start "
                f"({str(error).splitlines()[0][:200]}); update the NVIDIA driver, or install a torch build for an "
                "older CUDA (TORCH_BACKEND in the Makefile)."
            ) from None
    count = int(os.environ[FAKE_GPUS])
    visible = os.environ.get(VISIBLE_DEVICES, ",".join(map(str, range(count))))
    return [f"fake-{index}" for index in visible.split(",") if index.isdigit() and int(index) < count]


def _select_gpu(index: int, name: str) -> torch.device:
    """Make GPU `index` the current CUDA device and return it; for a fake GPU return the CPU."""
    if FAKE_GPUS in os.environ:
        logger.info(f"GPU {index}: {name}; computing on the CPU")
        return torch.device("cpu")
    _check_capability(index)
    torch.cuda.set_device(index)
    logger.info(f"GPU {index}: {torch.cuda.get_device_name(index)}")
    return torch.device("cuda", index)


def _check_capability(index: int) -> None:
    """Raise UserError if the installed torch has no kernels for the compute capability of GPU `index`."""
    capability = torch.cuda.get_device_capability(index)
    # Such as sm_75 and sm_90a. Kernels of a lower minor version of the same major version run as well.
    compiled = [int(digits) for arch in torch.cuda.get_arch_list() if (digits := re.sub(r"\D", "", arch))]
    oldest = min(compiled, default=0)
    if capability[0] * 10 + capability[1] < oldest:
        raise UserError(
            f"{torch.cuda.get_device_name(index)} has compute capability {capability[0]}.{capability[1]}, and this "
            f"build of torch supports {oldest // 10}.{oldest % 10} and later; install a build for older "
            "GPUs (TORCH_BACKEND in the Makefile), or use another GPU."
        )


@contextmanager
def lease(names: list[str], jobs_per_gpu: int, folder: Path | None = None, pause: float = 1.0) -> Iterator[int]:
    """Lease one of the GPUs `names`, waiting until one is free, and yield its index.

    A lease is a lock on one of `jobs_per_gpu` files per GPU. The kernel releases it when the process ends, even if the
    process is killed.

    Args:
        names: Names of the GPUs.
        jobs_per_gpu: Number of leases per GPU.
        folder: Folder of the lock files; default: `lock_folder()`.
        pause: Seconds between attempts.
    """
    folder = folder or lock_folder()
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for slot in range(jobs_per_gpu):
            for index, name in enumerate(names):
                lock = FileLock(folder / f"{name}.{slot}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                acquired_at = time.time()
                try:
                    yield index
                finally:
                    logger.debug(f"lease of {name}, slot {slot}: from {acquired_at:.3f} to {time.time():.3f}")
                    lock.release()
                return
        if not waiting:
            slots = len(names) * jobs_per_gpu
            logger.info(f"all {slots} slots on {len(names)} GPUs are in use; waiting for a free one")
            waiting = True
        time.sleep(pause)


def lock_folder() -> Path:
    """Return the folder of lock files, shared by all processes of this user on this machine.

    It is in /dev/shm where possible, because TMPDIR may be private to a job or on a network file system.
    """
    shared = Path("/dev/shm")
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return (shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())) / f"tgs-salt-{user}"


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work, for timing; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of this process in MiB: GPU memory on a GPU, else resident memory (NaN on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
        import sys

        max_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
        return max_rss / (2**20 if sys.platform == "darwin" else 2**10)
    except ImportError:  # Windows
        return float("nan")

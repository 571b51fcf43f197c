"""Checkpoints of one training run: when to save, which one to resume from, and the lock of a model and fold.

checkpoints/checkpoint.pt, previous.pt    training states; used only if settings, data and code match
checkpoints/lock, holder.txt              held by the process that trains this model and fold
checkpoints/history.csv                   for readers that do not import torch
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tgs_salt import files, signals
from tgs_salt.errors import UserError
from tgs_salt.log import logger
from tgs_salt.models.model_file import read_torch_file, serialize

State = dict[str, Any]


class CheckpointManager:
    """The latest two checkpoints of one training run in `folder`, saved after each epoch and every `minutes`.

    `fingerprint` maps everything that the trained model depends on to its value as text.
    """

    def __init__(
        self, folder: Path, fingerprint: dict[str, str], minutes: float, stop_request: signals.StopRequest
    ) -> None:
        self.latest, self.previous = folder / "checkpoint.pt", folder / "previous.pt"
        self.fingerprint, self.interval, self.stop_request = fingerprint, 60 * minutes, stop_request
        self.next_save = time.monotonic() + self.interval

    def load(self) -> State | None:
        """Return the latest undamaged state with the same fingerprint, or None; log a warning for each one skipped."""
        paths = [path for path in (self.latest, self.previous) if path.exists()]
        for path in paths:
            fallback = "trying the previous checkpoint" if path != paths[-1] else "starting from the first epoch"
            state = read_torch_file(path)
            if state is None:
                logger.warning(f"{path} is damaged; {fallback}")
                continue
            differences = _differences(state.get("fingerprint", {}), self.fingerprint)
            if not differences:
                return state
            logger.warning(
                f"{path} belongs to a training run with different settings, data or code ({differences}); {fallback}"
            )
        return None

    def save(self, state: State) -> None:
        """Write `state` as the latest checkpoint, and keep the one before it as the previous one."""
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        files.write_bytes(self.latest, serialize({"fingerprint": self.fingerprint, **state}))
        self.next_save = time.monotonic() + self.interval

    def maybe_save(self, get_state: Callable[[], State]) -> None:
        """Save if a checkpoint is due; after a signal, save and raise Interrupted. Call it between two batches.

        It only checks the time and a flag. `get_state`, which waits for the GPU, is called only to save.
        """
        if self.stop_request.number is None and time.monotonic() < self.next_save:
            return
        self.save(get_state())
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raise Interrupted if a signal has asked this process to stop."""
        if self.stop_request.number is not None:
            raise signals.Interrupted(self.stop_request.number, "a checkpoint was saved after the last completed step")


def _differences(old: dict[str, str], new: dict[str, str]) -> str:
    """Return how two fingerprints differ, such as `epochs was 20, is now 30`."""
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key, 'not set')}, is now {new.get(key, 'not set')}" for key in keys)


@contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """Hold the lock in `folder` while its model and fold are trained.

    The operating system releases the lock when the process ends for any reason. Raises UserError if another process
    holds it, or if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder.parent}: {_holder(folder)} is training this model and fold; wait for it, or stop it, "
            "and run the same command again."
        ) from None
    except OSError as error:
        raise files.disk_full_error(error, folder) or UserError(
            f"{folder}: cannot be written ({error.strerror}); make it writable and run the same command again."
        ) from None
    try:
        files.write_text(folder / "holder.txt", f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return (folder / "holder.txt").read_text()
    except OSError:
        return "another process"


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished training run, so that `--force` trains again.

    They are kept if the Snakemake process that started this run has ended. The next Snakemake does not know that
    the fold is done and runs the job again, which then ends at once and with the same bytes.
    """
    snakemake_pid = os.environ.get("TGS_SALT_SNAKEMAKE")
    if snakemake_pid is not None and not files.is_running(int(snakemake_pid)):
        logger.info("Keeping the checkpoint: Snakemake has ended, and its next run resumes from it")
        return
    shutil.rmtree(folder, ignore_errors=True)

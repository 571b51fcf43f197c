"""Where a training goes on: its checkpoint and the one before it, when one is due, and who holds the fold.

checkpoints/checkpoint.pt, previous.pt    the state of the training; other settings, data or code are refused
checkpoints/lock, holder.txt              held by the process that trains this fold
checkpoints/history.csv                   for those who look on without torch
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
from tgs_salt.models.model_file import read_torch, to_bytes

State = dict[str, Any]


class CheckpointManager:
    """The checkpoints of one training in `folder`: at least one an epoch, every `minutes`, and one before it stops.

    `fingerprint` names what the training's numbers depend on, and its values as text.
    """

    def __init__(self, folder: Path, fingerprint: dict[str, str], minutes: float, asked: signals.StopRequest) -> None:
        self.newest, self.previous = folder / "checkpoint.pt", folder / "previous.pt"
        self.fingerprint, self.seconds, self.asked = fingerprint, 60 * minutes, asked
        self.due = time.monotonic() + self.seconds

    def load(self) -> State | None:
        """The newest state of this very training that is whole, or None to start clean; a warning says why."""
        kept = [path for path in (self.newest, self.previous) if path.exists()]
        for path in kept:
            then = "trying the one before it" if path != kept[-1] else "starting from the first epoch"
            state = read_torch(path)
            if state is None:
                logger.warning(f"{path} is damaged; {then}")
                continue
            differs = _differences(state.get("fingerprint", {}), self.fingerprint)
            if not differs:
                return state
            logger.warning(f"{path} is of another training ({differs}); {then}")
        return None

    def save(self, state: State) -> None:
        """Write a checkpoint, and keep the last one beside it."""
        if self.newest.exists():
            os.replace(self.newest, self.previous)
        files.write_bytes(self.newest, to_bytes({"fingerprint": self.fingerprint, **state}))
        self.due = time.monotonic() + self.seconds

    def pause(self, state: Callable[[], State]) -> None:
        """Between two steps: save where that is due; after a signal save, and raise Stopped.

        It reads a clock and a flag; a GPU is waited for only where its state is saved.
        """
        if self.asked.number is None and time.monotonic() < self.due:
            return
        self.save(state())
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        if self.asked.number is not None:
            raise signals.Interrupted(self.asked.number, "the training up to its last step is saved")


def _differences(had: dict[str, str], now: dict[str, str]) -> str:
    """What two fingerprints differ in, such as `epochs 20, now 30`."""
    names = [name for name in dict.fromkeys([*had, *now]) if had.get(name) != now.get(name)]
    return ", ".join(f"{name} {had.get(name, 'not there')}, now {now.get(name, 'not there')}" for name in names)


@contextmanager
def fold_lock(folder: Path) -> Iterator[None]:
    """Hold a fold's folder while it is trained; UserError says who holds it already.

    The kernel lets go of a lock when its process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder.parent}: {_holder(folder)} is training this fold; wait for it, or stop it, "
            "and run the same command again."
        ) from None
    except OSError as problem:
        raise files.disk_full_error(problem, folder) or UserError(
            f"{folder}: cannot be written ({problem.strerror}); make it writable and run the same command again."
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
    """Remove what a finished training has no more use for: `--force` has to train again.

    A trainer that outlived the Snakemake that started it leaves its last checkpoint. The next Snakemake was never told
    that the fold is done and asks for it again; it is then done in no time, and to the same bytes.
    """
    started_by = os.environ.get("TGS_SALT_SNAKEMAKE")
    if started_by is not None and not files.is_running(int(started_by)):
        logger.info("the snakemake that started this training is gone; the next one takes the weights over")
        return
    shutil.rmtree(folder, ignore_errors=True)

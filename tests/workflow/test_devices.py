"""Several fake GPUs on one machine: four folds on two devices, and a training that is killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from helpers import workflow_runner

FOUR_FOLDS = {"folds": {"n_splits": 4}, "runtime": {"log_level": "debug"}}
LEASE = re.compile(r"lease of (fake-\d), slot (\d): from ([\d.]+) to ([\d.]+)")


@dataclass(frozen=True)
class Lease:
    slot: str
    begin: float
    end: float


def leases(folder: Path) -> list[Lease]:
    """Return the device leases in the logs of all trainings and predictions."""
    logs = sorted((folder / "results/tiny/models").rglob("*.log"))
    return [
        Lease(f"{device}.{slot}", float(begin), float(end))
        for log in logs
        for device, slot, begin, end in LEASE.findall(log.read_text())
    ]


def max_concurrent(held: list[Lease]) -> int:
    """Return the largest number of leases that were held at the same time."""
    return max(sum(other.begin <= lease.begin < other.end for other in held) for lease in held)


@pytest.mark.slow
@pytest.mark.parametrize(("jobs_per_gpu", "most"), [(1, 2), (2, 4)])
def test_four_folds_on_two_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs_per_gpu: int, most: int
) -> None:
    monkeypatch.setenv("TGS_SALT_FAKE_GPUS", "2")
    # Snakemake starts all four jobs, as it does if --resources names more GPUs than there are.
    experiment = workflow_runner.tiny(**workflow_runner.merge(FOUR_FOLDS, {"runtime": {"jobs_per_gpu": jobs_per_gpu}}))
    done = workflow_runner.run(tmp_path, experiment, "--until", "predict", "--cores", "4", "--resources", "gpu=4")
    assert done.code == 0, done.output
    held = leases(tmp_path)
    assert len(held) == 12, "four trainings and eight predictions"
    assert len({lease.slot for lease in held}) == 2 * jobs_per_gpu
    for slot in {lease.slot for lease in held}:
        assert max_concurrent([lease for lease in held if lease.slot == slot]) == 1
    assert 2 <= max_concurrent(held) <= most
    if jobs_per_gpu == 1:
        logs = [path.read_text() for path in (tmp_path / "results/tiny/models").rglob("train.log")]
        assert sum("all 2 slots on 2 GPUs are in use; waiting for a free one" in log for log in logs) >= 2


@pytest.mark.slow
def test_a_killed_training_frees_its_device_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGS_SALT_FAKE_GPUS", "1")
    experiment = workflow_runner.tiny(models={"base": {"epochs": 12}}, runtime={"log_level": "debug"})
    model = [workflow_runner.model_file("base", fold) for fold in (0, 1)]
    with ThreadPoolExecutor() as pool:
        running = pool.submit(workflow_runner.run, tmp_path, experiment, *model, "--resources", "gpu=2")
        while not (victims := list(_trainings_with_a_checkpoint(tmp_path))) and not running.done():
            time.sleep(0.02)
        os.kill(victims[0], signal.SIGKILL)
        assert running.result().code == 1
    assert sum((tmp_path / path).exists() for path in model) == 1, "the waiting training got the device"
    again = workflow_runner.run(tmp_path, experiment, *model, "--resources", "gpu=1")
    assert again.code == 0 and len(again.names) == 1, again.output
    assert re.search(r"resuming after epoch \d+ of 12", again.output)


def _trainings_with_a_checkpoint(folder: Path) -> Iterator[int]:
    """Yield the process ids of running trainings that have finished an epoch."""
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:  # the process has ended
            continue
        if command[1:4] == ["-m", "tgs_salt", "train"]:
            output = folder / command[command.index("--output") + 1]
            if output.with_name("checkpoints").joinpath("checkpoint.pt").exists():
                yield process.pid

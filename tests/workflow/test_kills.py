"""Runs that are killed, leave orphans or are started twice: the next run gives the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment, model_file
from reliability.contents import results
from reliability.kills import jobs

Copy = Callable[[FinishedExperiment], FinishedExperiment]
KILLS = Path(__file__).parents[1] / "reliability" / "kills.py"
CPU = ("--resources", "gpu=0")


def run_kills(work: Path, kills: int, *options: object) -> None:
    """Kill runs in `work` so many times and check that all of them recover."""
    command = [sys.executable, KILLS, work, "--kills", kills, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["kills"] == kills and summary["problems"] == []


@pytest.mark.slow
def test_two_kills(tmp_path: Path, finished: FinishedExperiment) -> None:
    run_kills(tmp_path / "work", 2, "--stages", 1, "--reference", finished.folder)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    run_kills(tmp_path / "work", 20)


@pytest.mark.slow
def test_two_runs_at_the_same_time(copy: Copy, finished: FinishedExperiment) -> None:
    experiment = copy(finished)
    (experiment.results / "submission.csv").unlink()
    # A training that outlived its Snakemake process leaves this after the next run has given up on the fold.
    checkpoint = experiment.results / "models/base/fold0/checkpoints/checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_text("a finished training")
    assert experiment.dry_run().names == {"submission", "report"}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(experiment.run_again, *CPU)
        while not list(experiment.folder.glob(".snakemake/locks/*")) and not first.done():
            time.sleep(0.01)
        second = workflow_runner.run(experiment.folder, experiment.experiment, *CPU, quick=True)
    assert second.code != 0 and not second.jobs
    assert "Directory cannot be locked" in second.output and "--unlock" in second.output
    assert first.result().code == 0, first.result().output
    assert results(experiment.folder) == results(finished.folder)


@pytest.mark.slow
def test_a_training_that_outlives_its_snakemake_process_locks_its_fold(tmp_path: Path) -> None:
    model, experiment = model_file("base", 0), workflow_runner.tiny(models={"base": {"epochs": 12}})
    assert workflow_runner.run(tmp_path / "undisturbed", experiment, model, *CPU).code == 0
    folder = tmp_path / "killed"
    with ThreadPoolExecutor() as pool:
        first = pool.submit(workflow_runner.run, folder, experiment, model, *CPU)
        checkpoint = folder / model_file("base", 0).replace("model.pt", "checkpoints/checkpoint.pt")
        while not checkpoint.exists() and not first.done():
            time.sleep(0.005)
        (trainer,) = (job for job, name in jobs(os.getpid()) if name == "train")
        trainer.suspend()
        snakemake = next(process for process in trainer.parents() if "snakemake" in process.cmdline())
        snakemake.kill()
        assert first.result().code == -signal.SIGKILL
    assert "Directory cannot be locked" in workflow_runner.run(folder, experiment, model, *CPU).output
    assert workflow_runner.run(folder, experiment, "--unlock").code == 0
    second = workflow_runner.run(folder, experiment, model, *CPU)
    assert second.code == 1
    assert f"process {trainer.pid} on" in second.output
    assert "is training this model and fold; wait for it, or stop it, and run the same command again." in second.output
    trainer.resume()
    psutil.wait_procs([trainer], timeout=120)
    # The second run gave up on the job, so the weights that were written later are accepted.
    third = workflow_runner.run(folder, experiment, model, *CPU)
    assert third.code == 0 and not third.jobs, third.output
    outputs = {name: digest for name, digest in results(folder).items() if "/checkpoints/" not in name}
    assert outputs == results(tmp_path / "undisturbed")

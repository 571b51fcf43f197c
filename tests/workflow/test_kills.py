"""Killed at random, killed and left with orphans, started twice: the next run ends with the bytes of a run in peace."""

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
from helpers.workflow_runner import Finished, model_file
from reliability.contents import results
from reliability.kills import jobs

Copy = Callable[[Finished], Finished]
KILLS = Path(__file__).parents[1] / "reliability" / "kills.py"
CPU = ("--resources", "gpu=0")


def killed(work: Path, kills: int, *options: object) -> None:
    """A campaign of so many kills, all recovered."""
    command = [sys.executable, KILLS, work, "--kills", kills, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["kills"] == kills and summary["problems"] == []


@pytest.mark.slow
def test_two_kills(tmp_path: Path, finished: Finished) -> None:
    killed(tmp_path / "work", 2, "--stages", 1, "--peace", finished.folder)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    killed(tmp_path / "work", 20)


@pytest.mark.slow
def test_two_runs_at_once(copy: Copy, finished: Finished) -> None:
    one = copy(finished)
    (one.results / "submission.csv").unlink()
    # As a trainer leaves it that outlived its Snakemake and finished a fold that the next one had given up.
    left = one.results / "models/base/fold0/checkpoints/checkpoint.pt"
    left.parent.mkdir()
    left.write_text("a finished training")
    assert one.dry_run().names == {"submission", "report"}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(one.go_on, *CPU)
        while not list(one.folder.glob(".snakemake/locks/*")) and not first.done():
            time.sleep(0.01)
        second = workflow_runner.run(one.folder, one.experiment, *CPU, quick=True)
    assert second.code != 0 and not second.jobs
    assert "Directory cannot be fold_lock" in second.output and "--unlock" in second.output
    assert first.result().code == 0, first.result().output
    assert results(one.folder) == results(finished.folder)


@pytest.mark.slow
def test_a_trainer_that_outlives_its_snakemake_holds_its_fold(tmp_path: Path) -> None:
    model, experiment = model_file("base", 0), workflow_runner.tiny(models={"base": {"epochs": 12}})
    assert workflow_runner.run(tmp_path / "peace", experiment, model, *CPU).code == 0
    folder = tmp_path / "killed"
    with ThreadPoolExecutor() as pool:
        first = pool.submit(workflow_runner.run, folder, experiment, model, *CPU)
        held = folder / model_file("base", 0).replace("model.pt", "checkpoints/checkpoint.pt")
        while not held.exists() and not first.done():
            time.sleep(0.005)
        (trainer,) = (job for job, name in jobs(os.getpid()) if name == "train")
        trainer.suspend()
        snakemake = next(one for one in trainer.parents() if "snakemake" in one.cmdline())
        snakemake.kill()
        assert first.result().code == -signal.SIGKILL
    assert "Directory cannot be fold_lock" in workflow_runner.run(folder, experiment, model, *CPU).output
    assert workflow_runner.run(folder, experiment, "--unlock").code == 0
    second = workflow_runner.run(folder, experiment, model, *CPU)
    assert second.code == 1
    assert f"process {trainer.pid} on" in second.output
    assert "is training this fold; wait for it, or stop it, and run the same command again." in second.output
    trainer.resume()
    psutil.wait_procs([trainer], timeout=120)
    # The second run gave the job up and forgot it, so weights that came after that are taken as they are.
    third = workflow_runner.run(folder, experiment, model, *CPU)
    assert third.code == 0 and not third.jobs, third.output
    found = {name: seen for name, seen in results(folder).items() if "/checkpoints/" not in name}
    assert found == results(tmp_path / "peace")

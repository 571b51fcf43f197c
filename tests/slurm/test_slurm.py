"""The workflow on a real SLURM cluster: devices, a canceled training, one that exceeds its time limit, and gres."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from cluster import slurm as run_client
from helpers import workflow_runner

from tgs_salt.settings import Model
from tgs_salt.training.fit import TrainingInputs, train

pytestmark = pytest.mark.slurm

PROFILE = workflow_runner.ROOT / "profiles" / "slurm" / "profile.yaml"
# Short intervals, and options for a SLURM without accounting.
OPTIONS = {
    "slurm-no-account": True, "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 2,
    "seconds-between-status-checks": 2, "latency-wait": 5,
}  # fmt: skip
EXPERIMENT = workflow_runner.tiny(models={"base": {"epochs": 60}})


def profile(folder: Path, **changes: object) -> list[str]:
    """Return snakemake options that use the slurm profile with `changes`."""
    folder.mkdir()
    shipped = yaml.safe_load(PROFILE.read_text())
    (folder / "profile.yaml").write_text(yaml.safe_dump(workflow_runner.merge(shipped, {**OPTIONS, **changes})))
    return ["--workflow-profile", str(folder), "--cores", "8"]


@dataclass(frozen=True)
class SuspendedTraining:
    """A running training that is suspended on its node."""

    job: str
    visible: str

    @property
    def state(self) -> str:
        return run_client("squeue", "--noheader", "--states=all", f"--jobs={self.job}", "--format=%T").split()[0]


def suspend(folder: Path, fold: int, running: Future[workflow_runner.Run]) -> SuspendedTraining:
    """Suspend the training of a fold after its first checkpoint, so that it exceeds its time limit."""
    checkpoints = (folder / workflow_runner.model_file("base", fold)).with_name("checkpoints")
    while not (checkpoints / "checkpoint.pt").exists():
        assert not running.done(), running.result().output
        time.sleep(0.02)
    process = psutil.Process(int(re.findall(r"process (\d+)", (checkpoints / "holder.txt").read_text())[0]))
    os.kill(process.pid, signal.SIGSTOP)
    environment = process.environ()
    return SuspendedTraining(environment["SLURM_JOB_ID"], environment["CUDA_VISIBLE_DEVICES"])


@dataclass(frozen=True)
class InterruptedRun:
    """A run in which the training of fold 0 was canceled and that of fold 1 exceeded its time limit."""

    folder: Path
    run: workflow_runner.Run
    suspended: list[SuspendedTraining]
    states: list[str]


@pytest.fixture(scope="module")
def interrupted(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> InterruptedRun:
    folder = tmp_path_factory.mktemp("interrupted")
    options = profile(folder / "profile")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setenv("TGS_SALT_FAKE_GPUS", "2")
        running = pool.submit(workflow_runner.run, folder, EXPERIMENT, *options)
        suspended = [suspend(folder, fold, running) for fold in (0, 1)]
        run_client("scancel", suspended[0].job)
        run_client("scontrol", "update", f"JobId={suspended[1].job}", "TimeLimit=1")
        while any(training.state in ("RUNNING", "COMPLETING") for training in suspended):
            time.sleep(1)
        states = [training.state for training in suspended]
        return InterruptedRun(folder, running.result(), suspended, states)


def test_the_workflow_runs_to_the_end(interrupted: InterruptedRun) -> None:
    assert interrupted.run.code == 0, interrupted.run.output
    assert (interrupted.folder / "results/tiny/submission.csv").exists()
    assert (
        interrupted.run.names
        >= workflow_runner.train_jobs("base") | workflow_runner.predict_jobs("base") | workflow_runner.AFTER_PREDICTIONS
    )


def test_concurrent_folds_get_different_devices(interrupted: InterruptedRun) -> None:
    assert {training.visible for training in interrupted.suspended} == {"0", "1"}
    logs = [(interrupted.folder / workflow_runner.model_file("base", fold)).with_name("train.log") for fold in (0, 1)]
    assert all(re.search(r"GPU 0: fake-[01]; computing on the CPU", log.read_text()) for log in logs)


def test_canceled_and_timed_out_trainings_resume_to_the_same_bytes(interrupted: InterruptedRun, tmp_path: Path) -> None:
    assert interrupted.states == ["CANCELLED", "TIMEOUT"]
    data = interrupted.folder / "results/tiny/data"
    files = TrainingInputs(
        data / "train_images.npy", data / "train_masks.npy", data / "tiles.csv",
        interrupted.folder / "results/tiny/folds.csv",
    )  # fmt: skip
    for fold in (0, 1):
        resumed = interrupted.folder / workflow_runner.model_file("base", fold)
        assert re.search(r"base fold \d: resuming after epoch", resumed.with_name("train.log").read_text())
        train("base", fold, Model(**EXPERIMENT["models"]["base"]), files, tmp_path / f"{fold}/model.pt", gpus="0")
        assert resumed.read_bytes() == (tmp_path / f"{fold}/model.pt").read_bytes()


def test_a_retry_requests_more_memory(interrupted: InterruptedRun) -> None:
    jobs = run_client("squeue", "--noheader", "--states=all", "--format=%i %m %P %k").splitlines()
    trainings = [line.split() for line in jobs if "rule_train" in line]
    assert [memory for _, memory, *_ in sorted(trainings, key=lambda job: int(job[0]))] == ["8000M"] * 2 + [
        "16000M"
    ] * 2
    assert {partition for _, _, partition, _ in trainings} == {"gpu"}
    assert {line.split()[2] for line in jobs if "rule_ensemble" in line} == {"cpu"}


def test_gres_with_automatic_gpu_allocation(interrupted: InterruptedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGS_SALT_FAKE_GPUS", "2")
    options = profile(interrupted.folder / "gres", **{"set-resources": {"train": {"gpu": 0, "gres": "gpu:1"}}})
    short = workflow_runner.merge(
        EXPERIMENT, {"models": {"base": {"epochs": 1}}, "runtime": {"gpu_allocation": "auto"}}
    )
    done = workflow_runner.run(interrupted.folder, short, workflow_runner.model_file("base", 0), *options)
    assert done.code == 0 and done.names == {"train base 0"}, done.output
    log = (interrupted.folder / workflow_runner.model_file("base", 0)).with_name("train.log").read_text()
    assert re.search(r"GPU 0: fake-[01]; computing on the CPU", log)

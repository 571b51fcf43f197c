"""The whole graph on a real SLURM: devices, a cancelled training, one that ran into its time limit, and gres."""

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
from cluster import slurm as ask
from helpers import workflow_runner

from tgs_salt.settings import Model
from tgs_salt.training.fit import Inputs, train

pytestmark = pytest.mark.slurm

SHIPPED = workflow_runner.ROOT / "profiles" / "slurm" / "profile.yaml"
# A quick clock, and what a SLURM without accounting needs.
HERE = {
    "slurm-no-account": True, "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 2,
    "seconds-between-status-checks": 2, "latency-wait": 5,
}  # fmt: skip
EXPERIMENT = workflow_runner.tiny(models={"base": {"epochs": 60}})


def profile(folder: Path, **changes: object) -> list[str]:
    """Options of snakemake for the shipped profile with `changes`."""
    folder.mkdir()
    shipped = yaml.safe_load(SHIPPED.read_text())
    (folder / "profile.yaml").write_text(yaml.safe_dump(workflow_runner.merged(shipped, {**HERE, **changes})))
    return ["--workflow-profile", str(folder), "--cores", "8"]


@dataclass(frozen=True)
class Caught:
    """A training on a node that is held in the middle."""

    job: str
    visible: str

    @property
    def state(self) -> str:
        return ask("squeue", "--noheader", "--states=all", f"--jobs={self.job}", "--format=%T").split()[0]


def catch(folder: Path, fold: int, running: Future[workflow_runner.Run]) -> Caught:
    """Stop the training of a fold after its first checkpoint, so that SLURM's slow clock can run out on it."""
    resume = (folder / workflow_runner.model_file("base", fold)).with_name("checkpoints")
    while not (resume / "checkpoint.pt").exists():
        assert not running.done(), running.result().output
        time.sleep(0.02)
    process = psutil.Process(int(re.findall(r"process (\d+)", (resume / "holder.txt").read_text())[0]))
    os.kill(process.pid, signal.SIGSTOP)
    environment = process.environ()
    return Caught(environment["SLURM_JOB_ID"], environment["CUDA_VISIBLE_DEVICES"])


@dataclass(frozen=True)
class Disturbed:
    """A run in which the training of fold 0 was cancelled and that of fold 1 ran into its time limit."""

    folder: Path
    run: workflow_runner.Run
    caught: list[Caught]
    states: list[str]


@pytest.fixture(scope="module")
def disturbed(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    folder = tmp_path_factory.mktemp("disturbed")
    options = profile(folder / "profile")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setenv("TGS_SALT_PRETEND_GPUS", "2")
        running = pool.submit(workflow_runner.run, folder, EXPERIMENT, *options)
        caught = [catch(folder, fold, running) for fold in (0, 1)]
        ask("scancel", caught[0].job)
        ask("scontrol", "update", f"JobId={caught[1].job}", "TimeLimit=1")
        while any(one.state in ("RUNNING", "COMPLETING") for one in caught):
            time.sleep(1)
        states = [one.state for one in caught]
        return Disturbed(folder, running.result(), caught, states)


def test_the_whole_graph_runs_to_its_end(disturbed: Disturbed) -> None:
    assert disturbed.run.code == 0, disturbed.run.output
    assert (disturbed.folder / "results/tiny/submission.csv").exists()
    assert (
        disturbed.run.names >= workflow_runner.trains("base") | workflow_runner.predicts("base") | workflow_runner.BELOW
    )


def test_folds_at_the_same_time_see_different_devices(disturbed: Disturbed) -> None:
    assert {one.visible for one in disturbed.caught} == {"0", "1"}
    logs = [(disturbed.folder / workflow_runner.model_file("base", fold)).with_name("train.log") for fold in (0, 1)]
    assert all(re.search(r"GPU 0: pretended-[01]; computing on the CPU", log.read_text()) for log in logs)


def test_a_cancelled_training_and_one_out_of_time_go_on_to_the_same_bytes(disturbed: Disturbed, tmp_path: Path) -> None:
    assert disturbed.states == ["CANCELLED", "TIMEOUT"]
    dataset = disturbed.folder / "results/tiny/dataset"
    files = Inputs(
        dataset / "train_images.npy", dataset / "train_masks.npy", dataset / "tiles.csv",
        disturbed.folder / "results/tiny/folds.csv",
    )  # fmt: skip
    for fold in (0, 1):
        resumed = disturbed.folder / workflow_runner.model_file("base", fold)
        assert re.search(r"base fold \d: going on after epoch", resumed.with_name("train.log").read_text())
        train("base", fold, Model(**EXPERIMENT["models"]["base"]), files, tmp_path / f"{fold}/model.pt", gpus="0")
        assert resumed.read_bytes() == (tmp_path / f"{fold}/model.pt").read_bytes()


def test_a_second_try_asks_for_more_memory(disturbed: Disturbed) -> None:
    jobs = ask("squeue", "--noheader", "--states=all", "--format=%i %m %P %k").splitlines()
    trainings = [line.split() for line in jobs if "rule_train" in line]
    assert [memory for _, memory, *_ in sorted(trainings, key=lambda job: int(job[0]))] == ["8000M"] * 2 + [
        "16000M"
    ] * 2
    assert {partition for _, _, partition, _ in trainings} == {"gpu"}
    assert {line.split()[2] for line in jobs if "rule_ensemble" in line} == {"cpu"}


def test_gres_and_auto(disturbed: Disturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGS_SALT_PRETEND_GPUS", "2")
    options = profile(disturbed.folder / "gres", **{"set-resources": {"train": {"gpu": 0, "gres": "gpu:1"}}})
    short = workflow_runner.merged(EXPERIMENT, {"models": {"base": {"epochs": 1}}, "runtime": {"gpus": "auto"}})
    done = workflow_runner.run(disturbed.folder, short, workflow_runner.model_file("base", 0), *options)
    assert done.code == 0 and done.names == {"train base 0"}, done.output
    log = (disturbed.folder / workflow_runner.model_file("base", 0)).with_name("train.log").read_text()
    assert re.search(r"GPU 0: pretended-[01]; computing on the CPU", log)

"""Kill a small run of the real Snakefile at random times until it finishes; its files must equal an undisturbed run's.

    python tests/reliability/kills.py WORK --kills 100 [--seed 1]     one JSON line per kill, then a summary

The target of SIGKILL is random: one job; Snakemake alone, whose jobs survive; or everything. Training takes most of
the time, so jobs of rules that were rarely killed are killed soon after they start. Then the same command runs again,
after `--unlock` if Snakemake requires it. The bytes of a finished experiment are compared, and the next one starts in
another folder, until there were enough kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import yaml
from helpers import workflow_runner
from reliability.contents import results

TARGETS = ("job", "snakemake", "everything")
RULES = 9  # rules of the experiment
MAX_RUNS = 200  # per experiment
TRAINING_LOCKED = "is training this model and fold; wait for it"


@dataclass
class Campaign:
    """One experiment, run repeatedly in folders of `work` and killed `kills` times in total."""

    work: Path
    experiment: dict[str, Any]
    kills: int
    random: random.Random
    snakemake: Callable[[list[str]], None]
    killed: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    job_seconds: float = 1.0

    def run(self, reference: Path | None) -> None:
        """Run until there were enough kills; `reference` is the folder of an undisturbed run (None: run it first)."""
        if reference is None:
            reference = self.work / "reference"
            self.finish(reference, 0)
        expected, self.job_seconds = results(reference), mean_job_seconds(reference)
        assert any(name.endswith("submission.csv") for name in expected), expected
        while len(self.killed) < self.kills and not self.problems:
            self.runs += 1
            folder = self.work / f"run{self.runs}"
            self.finish(folder, self.kills)
            digests = results(folder)
            if digests != expected:
                self.problems.append(f"{folder}: {sorted(set(digests.items()) ^ set(expected.items()))}")

    def finish(self, folder: Path, kills: int) -> None:
        """Run the experiment to its end, killing it until there were `kills` kills in total."""
        folder.mkdir(parents=True)
        overlay = folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(self.experiment))
        orphans: list[psutil.Process] = []
        for _ in range(MAX_RUNS):
            code, output, surviving = self.attempt(folder, overlay, kills)
            orphans += surviving
            if code == 0:
                break
            if code > 0:
                self.check_failure(folder, output)
            if "Directory cannot be locked" in output or "could not be locked" in output:
                process = self.start(folder, overlay, "--unlock")
                assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        else:
            self.problems.append(f"{folder}: not finished after {MAX_RUNS} runs; last output: {output[-2000:]}")
        psutil.wait_procs(orphans, timeout=60)

    def check_failure(self, folder: Path, output: str) -> None:
        """Record the errors of a failed run, except those about kills and about a trainer that still runs."""
        errors = [line for line in output.splitlines() if line.startswith("error: ") and TRAINING_LOCKED not in line]
        if errors or "Traceback" in output:
            self.problems.append(f"{folder}: {errors or output[-2000:]}")

    def attempt(self, folder: Path, overlay: Path, kills: int) -> tuple[int, str, list[psutil.Process]]:
        """Run Snakemake once; return its exit code (or minus the signal), its output and its surviving jobs."""
        process = self.start(folder, overlay, "--resources", "gpu=0")
        surviving: list[psutil.Process] = []
        code = None
        while code is None:
            kill_again = len(self.killed) < kills
            code = self.wait(process) if kill_again else wait_for_exit(process, None)
            if code is None:
                surviving = self.kill(process)
        return code, (folder / "output.txt").read_text(errors="replace"), surviving

    def wait(self, process: int) -> int | None:
        """Wait until the next kill; return the exit code if Snakemake ends before, else None."""
        deadline = time.monotonic() + self.random.uniform(0, 2 * self.job_seconds)
        kills = Counter(name for kill in self.killed for name in kill["jobs"])
        while time.monotonic() < deadline:
            code = wait_for_exit(process, 0.1)
            if code is not None:
                return code
            if any(kills[name] < len(self.killed) / (2 * RULES) for _, name in jobs(process)):
                return wait_for_exit(process, self.random.uniform(0, self.job_seconds / 2))
        return None

    def kill(self, process: int) -> list[psutil.Process]:
        """Send SIGKILL to a random target; return the jobs that survive their Snakemake process."""
        running = list(jobs(process))
        target = self.random.choice(TARGETS)
        if target == "job" and not running:
            return []
        names = [name for _, name in running]
        surviving = []
        if target == "job":
            job, name = self.random.choice(running)
            names = [name]
            job.kill()
        elif target == "snakemake":
            surviving = [job for job, _ in running]
            os.kill(process, signal.SIGKILL)
        else:
            os.killpg(process, signal.SIGKILL)
        self.killed.append({"kill": target, "jobs": names})
        print(json.dumps(self.killed[-1]), flush=True)
        return surviving

    def start(self, folder: Path, overlay: Path, *arguments: str) -> int:
        """Start Snakemake in its own process group; return its pid."""
        request = {
            "command": workflow_runner.snakemake_arguments(folder, overlay, *arguments), "folder": str(folder),
            "jobs": str(folder / "jobs.jsonl"), "output": str(folder / "output.txt"),
        }  # fmt: skip
        child = os.fork()
        if child == 0:
            os.setsid()
            workflow_runner.become_snakemake(self.snakemake, request)
        return child

    def summary(self) -> dict[str, Any]:
        """Return the numbers of kills and runs, the problems, and the kills by target and by job."""
        by_job = {
            target: Counter(name for kill in self.killed if kill["kill"] == target for name in kill["jobs"])
            for target in TARGETS
        }
        return {
            "kills": len(self.killed), "runs": self.runs, "problems": self.problems,
            "targets": Counter(kill["kill"] for kill in self.killed), "jobs": by_job,
        }  # fmt: skip


def wait_for_exit(process: int, seconds: float | None) -> int | None:
    """Return the exit code of a child, or None if it is still running after `seconds` (None: wait forever)."""
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    while time.monotonic() < deadline:
        pid, status = os.waitpid(process, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return None


def jobs(process: int) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the running tgs-salt jobs of a Snakemake process with their names."""
    for child in psutil.Process(process).children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        # Snakemake runs `status` at its end; it is not a job.
        if command[1:3] == ["-m", "tgs_salt"] and command[3] != "status":
            yield child, command[3]


def mean_job_seconds(folder: Path) -> float:
    """Return the mean time between the ends of two jobs of an undisturbed run."""
    end_times = sorted(log.stat().st_mtime for log in folder.rglob("*.log") if ".snakemake" not in log.parts)
    return (end_times[-1] - end_times[0]) / len(end_times)


def small_experiment(stages: int) -> dict[str, Any]:
    """Return the tiny experiment, or one whose only ensemble member is a second stage that starts from the first."""
    if stages == 1:
        return workflow_runner.tiny()
    finetuned = {"extends": "base", "init_from": "base", "loss": "lovasz"}
    return workflow_runner.tiny(models={"base": {"epochs": 2}, "tuned": finetuned}, ensemble={"models": ["tuned"]})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, choices=(1, 2), default=2)
    parser.add_argument("--reference", type=Path, help="folder of an undisturbed run")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = random.Random(args.seed)  # for the kills; the experiments have seeds in their settings
    experiment, snakemake = small_experiment(args.stages), workflow_runner.import_snakemake()
    campaign = Campaign(args.work.resolve(), experiment, args.kills, rng, snakemake)
    campaign.run(args.reference)
    print(json.dumps(campaign.summary()), flush=True)
    sys.exit(bool(campaign.problems))


if __name__ == "__main__":
    main()

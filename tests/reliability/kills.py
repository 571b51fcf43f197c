"""Kill a small run of the real Snakefile at random moments until it is done; its files are those of a run in peace.

    python tests/reliability/kills.py WORK --kills 100 [--seed 1]     one JSON line a kill, the sum of all at the end

What gets SIGKILL is drawn: one job; Snakemake alone, whose jobs live on; or everything. Trainings take most of the
time, so a rule that was running at few kills so far is struck soon after its job begins. Then the same command runs
again, after `--unlock` where Snakemake asks for it. When an experiment is done, all its bytes are compared, and the
next one begins in another folder, until there were enough kills.
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

HOWS = ("job", "snakemake", "everything")
RULES = 9  # of the experiment
TRIES = 200  # runs of one command in a row that may end without success
HELD = "is training this fold; wait for it"


@dataclass
class Campaign:
    """An experiment that is run in folders of `work` again and again, killed `kills` times in all."""

    work: Path
    experiment: dict[str, Any]
    kills: int
    random: random.Random
    snakemake: Callable[[list[str]], None]
    killed: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    pace: float = 1.0

    def run(self, peace: Path | None) -> None:
        """`peace` is a folder where this experiment ran undisturbed; without one it runs so first."""
        if peace is None:
            peace = self.work / "peace"
            self.finish(peace, 0)
        wanted, self.pace = results(peace), pace(peace)
        assert any(name.endswith("submission.csv") for name in wanted), wanted
        while len(self.killed) < self.kills and not self.problems:
            self.runs += 1
            folder = self.work / f"run{self.runs}"
            self.finish(folder, self.kills)
            found = results(folder)
            if found != wanted:
                self.problems.append(f"{folder}: {sorted(set(found.items()) ^ set(wanted.items()))}")

    def finish(self, folder: Path, kills: int) -> None:
        """Run the experiment to its end, with kills on the way until there were `kills` in all."""
        folder.mkdir(parents=True)
        overlay = folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(self.experiment))
        orphans: list[psutil.Process] = []
        for _ in range(TRIES):
            code, said, left = self.attempt(folder, overlay, kills)
            orphans += left
            if code == 0:
                break
            if code > 0:
                self.evaluate_oof(folder, said)
            if "Directory cannot be fold_lock" in said or "could not be fold_lock" in said:
                process = self.start(folder, overlay, "--unlock")
                assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        else:
            self.problems.append(f"{folder}: not done after {TRIES} runs; the last one said: {said[-2000:]}")
        psutil.wait_procs(orphans, timeout=60)

    def evaluate_oof(self, folder: Path, said: str) -> None:
        """Of a run that ended by itself and failed: it may complain of kills and of a trainer that lives on alone."""
        errors = [line for line in said.splitlines() if line.startswith("error: ") and HELD not in line]
        if errors or "Traceback" in said:
            self.problems.append(f"{folder}: {errors or said[-2000:]}")

    def attempt(self, folder: Path, overlay: Path, kills: int) -> tuple[int, str, list[psutil.Process]]:
        """Run Snakemake once: its exit code (minus the signal's number), what it said, and the jobs it left behind."""
        process = self.start(folder, overlay, "--resources", "gpu=0")
        left: list[psutil.Process] = []
        code = None
        while code is None:
            more = len(self.killed) < kills
            code = self.wait(process) if more else ended(process, None)
            if code is None:
                left = self.kill(process)
        return code, (folder / "output.txt").read_text(errors="replace"), left

    def wait(self, process: int) -> int | None:
        """Until the moment of the next kill: None, or the exit code of a Snakemake that ended before it."""
        until = time.monotonic() + self.random.uniform(0, 2 * self.pace)
        struck = Counter(name for kill in self.killed for name in kill["jobs"])
        while time.monotonic() < until:
            code = ended(process, 0.1)
            if code is not None:
                return code
            if any(struck[name] < len(self.killed) / (2 * RULES) for _, name in jobs(process)):
                return ended(process, self.random.uniform(0, self.pace / 2))
        return None

    def kill(self, process: int) -> list[psutil.Process]:
        """SIGKILL to something of the run; jobs that live on without their Snakemake."""
        running = list(jobs(process))
        how = self.random.choice(HOWS)
        if how == "job" and not running:
            return []
        names = [name for _, name in running]
        left = []
        if how == "job":
            job, name = self.random.choice(running)
            names = [name]
            job.kill()
        elif how == "snakemake":
            left = [job for job, _ in running]
            os.kill(process, signal.SIGKILL)
        else:
            os.killpg(process, signal.SIGKILL)
        self.killed.append({"kill": how, "jobs": names})
        print(json.dumps(self.killed[-1]), flush=True)
        return left

    def start(self, folder: Path, overlay: Path, *arguments: str) -> int:
        """Snakemake in a process group of its own; its number."""
        request = {
            "command": workflow_runner.words(folder, overlay, *arguments), "folder": str(folder),
            "jobs": str(folder / "jobs.jsonl"), "output": str(folder / "output.txt"),
        }  # fmt: skip
        child = os.fork()
        if child == 0:
            os.setsid()
            workflow_runner.be_snakemake(self.snakemake, request)
        return child

    def summary(self) -> dict[str, Any]:
        by_rule = {how: Counter(n for kill in self.killed if kill["kill"] == how for n in kill["jobs"]) for how in HOWS}
        return {
            "kills": len(self.killed), "runs": self.runs, "problems": self.problems,
            "hows": Counter(kill["kill"] for kill in self.killed), "running": by_rule,
        }  # fmt: skip


def ended(process: int, seconds: float | None) -> int | None:
    """The exit code of a child, or None if it still runs after so many seconds."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return None


def jobs(process: int) -> Iterator[tuple[psutil.Process, str]]:
    """The commands of tgs-salt that a Snakemake runs now, with their names."""
    for child in psutil.Process(process).children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        # `status` is what Snakemake says at its end, and no job.
        if command[1:3] == ["-m", "tgs_salt"] and command[3] != "status":
            yield child, command[3]


def pace(folder: Path) -> float:
    """Seconds from the end of one job to the end of the next, where they were not disturbed."""
    ends = sorted(log.stat().st_mtime for log in folder.rglob("*.log") if ".snakemake" not in log.parts)
    return (ends[-1] - ends[0]) / len(ends)


def small(stages: int) -> dict[str, Any]:
    """The tiny experiment of the other tests; or with a second stage that goes on from the first one, and votes."""
    if stages == 1:
        return workflow_runner.tiny()
    tuned = {"extends": "base", "init_from": "base", "loss": "lovasz"}
    return workflow_runner.tiny(models={"base": {"epochs": 2}, "tuned": tuned}, ensemble={"models": ["tuned"]})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, choices=(1, 2), default=2)
    parser.add_argument("--peace", type=Path, help="where this experiment ran undisturbed")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    # The campaign's own draws; what it kills has its seeds in its settings.
    draws = random.Random(given.seed)
    campaign = Campaign(given.work.resolve(), small(given.stages), given.kills, draws, workflow_runner.load_snakemake())
    campaign.run(given.peace)
    print(json.dumps(campaign.summary()), flush=True)
    sys.exit(bool(campaign.problems))


if __name__ == "__main__":
    main()

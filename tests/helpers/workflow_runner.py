"""Run the real Snakefile in a temporary folder and list its jobs, as Snakemake reports them.

Importing Snakemake takes most of a dry run. Dry runs are therefore forks of one process that has imported it:

    python tests/helpers/workflow_runner.py     reads one JSON request per line, writes one exit code per line
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config.yaml"
PLUGIN = ROOT / "tests" / "workflow"
WILDCARDS = ("model", "fold", "split", "shard")
AFTER_ENSEMBLE = {"threshold", "submission", "report"}
AFTER_PREDICTIONS = {"ensemble", *AFTER_ENSEMBLE}
_numbers = itertools.count()


@dataclass(frozen=True)
class Job:
    """One job; `name` is its rule and wildcards, such as `predict unet 0 oof`."""

    name: str
    reason: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """The exit code of a run, its output, and its jobs without `all`."""

    code: int
    output: str
    jobs: tuple[Job, ...]

    @property
    def names(self) -> set[str]:
        """The names of the jobs."""
        return {job.name for job in self.jobs}


def tiny(**changes: Any) -> dict[str, Any]:
    """Return settings that run in seconds (24 synthetic tiles, 2 folds, 1 epoch), with `changes` merged in."""
    experiment: dict[str, Any] = {
        "name": "tiny",
        "data": {"source": "synthetic", "train_tiles": 24, "test_tiles": 8, "tile_size": 32},
        "folds": {"n_splits": 2},
        "models": {
            "base": {"architecture": "article", "epochs": 1, "batch_size": 12, "weight_averaging": "none", "threads": 1}
        },
        "ensemble": {"models": ["base"]},
    }
    return merge(experiment, changes)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `changes`, nested mappings included."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else value
    return result


def dry_run(folder: Path, experiment: Mapping[str, Any] | Path | None, *arguments: str, root: Path = ROOT) -> Run:
    """Run `snakemake -n` in `folder` with config.yaml and `experiment` over it; `arguments` start with targets."""
    return run(folder, experiment, *arguments, "--dry-run", quick=True, root=root)


def run(
    folder: Path, experiment: Mapping[str, Any] | Path | None, *arguments: str, quick: bool = False, root: Path = ROOT
) -> Run:
    """Run `snakemake` in `folder` with the Snakefile and code of the checkout at `root`.

    `quick` runs it in a fork of the process that has imported Snakemake.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = next(_numbers)
    overlay = experiment if isinstance(experiment, Path) else folder / f"overlay{number}.yaml"
    if not isinstance(experiment, Path):
        overlay.write_text(yaml.safe_dump(dict(experiment or {})))
    listing, output = folder / f"jobs{number}.jsonl", folder / f"output{number}.txt"
    command = snakemake_arguments(folder, overlay, *arguments, root=root)
    if quick and hasattr(os, "fork"):
        request = {"command": command, "folder": str(folder), "jobs": str(listing), "output": str(output)}
        code = _run_quickly(request)
    else:
        path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "SNAKEMAKE_JOBS_FILE": str(listing),
            "OMP_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
        }
        with open(output, "w") as stream:
            code = subprocess.run(
                [sys.executable, "-m", "snakemake", *command], cwd=folder, env=environment, check=False,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            ).returncode  # fmt: skip
    lines = listing.read_text().splitlines() if listing.exists() else []
    jobs = [_job(json.loads(line)) for line in lines]
    return Run(code, output.read_text(encoding="utf-8"), tuple(job for job in jobs if job.name != "all"))


def snakemake_arguments(folder: Path, overlay: Path, *arguments: str, root: Path = ROOT) -> list[str]:
    """Return the arguments of `snakemake` that run the Snakefile of the checkout at `root` in `folder`."""
    return [
        "--cores", "2", *arguments, "--snakefile", str(root / "Snakefile"), "--directory", str(folder),
        "--logger", "jobs", "--configfile", str(CONFIG), str(overlay),
    ]  # fmt: skip


def _job(record: dict[str, Any]) -> Job:
    wildcards = [record["wildcards"][key] for key in WILDCARDS if key in record["wildcards"]]
    return Job(" ".join([record["rule"], *wildcards]), record["reason"], tuple(record["output"]))


def model_file(model: str, fold: int) -> str:
    return f"results/tiny/models/{model}/fold{fold}/model.pt"


def train_jobs(*models: str, folds: Sequence[int] = (0, 1)) -> set[str]:
    return {f"train {model} {fold}" for model in models for fold in folds}


def predict_jobs(*models: str, folds: Sequence[int] = (0, 1)) -> set[str]:
    return {f"predict {model} {fold} {split}" for model in models for fold in folds for split in ("oof", "test")}


def finish_by_touch(folder: Path, experiment: Mapping[str, Any]) -> None:
    """Make `experiment` look finished to Snakemake: every output is a small text file that is recorded as its own."""
    fresh = dry_run(folder, experiment)
    assert fresh.code == 0, fresh.output
    for path in (folder / name for job in fresh.jobs for name in job.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.relative_to(folder)}\n")
    touched = run(folder, experiment, "--touch", "--forceall", quick=True)
    assert touched.code == 0, touched.output


@dataclass(frozen=True)
class FinishedExperiment:
    """A folder with a finished experiment. Tests that change files use a `copy` of it."""

    folder: Path
    experiment: dict[str, Any]
    first_output: str = ""  # of the run that made it

    @property
    def results(self) -> Path:
        """The results folder of the experiment."""
        return self.folder / "results" / self.experiment["name"]

    def dry_run(self, *arguments: str, **changes: Any) -> Run:
        """Run `snakemake -n` with `changes` of the settings."""
        return dry_run(self.folder, merge(self.experiment, changes), *arguments)

    def run_again(self, *arguments: str, **changes: Any) -> Run:
        """Run `snakemake` with `changes` of the settings."""
        return run(self.folder, merge(self.experiment, changes), *arguments)


@functools.cache
def _server() -> subprocess.Popen[str]:
    # It ends when this process ends and closes its stdin.
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _run_quickly(request: dict[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def import_snakemake() -> Any:
    """Import what a run needs and return the `snakemake` command's function."""
    sys.path[:0] = [str(PLUGIN), str(ROOT / "src")]
    import snakemake.cli
    import snakemake.workflow

    import tgs_salt.settings  # noqa: F401

    return snakemake.cli.main


def _serve() -> None:
    main = import_snakemake()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            become_snakemake(main, request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become_snakemake(main: Any, request: dict[str, Any]) -> None:
    """Run `snakemake` in this forked process and exit; `request` has the arguments, the folder and the output files."""
    descriptor = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(request["folder"])
    os.environ["SNAKEMAKE_JOBS_FILE"] = request["jobs"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tgs_salt"]:
        del sys.modules[name]  # import the package from the Snakefile's own checkout; keep third-party modules
    code = 99
    try:
        main(request["command"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()

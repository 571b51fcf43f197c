"""Runs of the real Snakefile in a folder of the test's own, and the jobs that Snakemake itself says it has.

Most of a dry run is the import of Snakemake. So dry runs are children of one process that has imported it:

    python tests/helpers/workflow_runner.py     one JSON request a line on stdin, one exit code a line on stdout
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
ORDER = ("model", "fold", "split", "shard")
DECISION = {"threshold", "submission", "report"}
BELOW = {"ensemble", *DECISION}  # what follows the predictions
_numbers = itertools.count()


@dataclass(frozen=True)
class Job:
    """One job: `name` is its rule and wildcards, such as `predict unet 0 oof`."""

    name: str
    reason: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """How a run ended, all that it printed, and its jobs without `all`."""

    code: int
    output: str
    jobs: tuple[Job, ...]

    @property
    def names(self) -> set[str]:
        return {job.name for job in self.jobs}


def tiny(**changes: Any) -> dict[str, Any]:
    """An experiment of seconds: 24 drawn tiles, two folds, one model of one epoch; `changes` are merged into it."""
    experiment: dict[str, Any] = {
        "name": "tiny",
        "data": {"source": "synthetic", "train_tiles": 24, "test_tiles": 8, "tile_size": 32},
        "folds": {"n_splits": 2},
        "models": {
            "base": {"architecture": "article", "epochs": 1, "batch_size": 12, "weight_averaging": "none", "threads": 1}
        },
        "ensemble": {"models": ["base"]},
    }
    return merged(experiment, changes)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def dry_run(folder: Path, experiment: Mapping[str, Any] | Path | None, *arguments: str, root: Path = ROOT) -> Run:
    """`snakemake -n` in `folder` with config.yaml and `experiment` over it; targets go first in `arguments`."""
    return run(folder, experiment, *arguments, "--dry-run", quick=True, root=root)


def run(
    folder: Path, experiment: Mapping[str, Any] | Path | None, *arguments: str, quick: bool = False, root: Path = ROOT
) -> Run:
    """`snakemake` in `folder` with the Snakefile and code of the checkout at `root`; `quick` runs it as a child of the
    process that has imported Snakemake."""
    folder.mkdir(parents=True, exist_ok=True)
    number = next(_numbers)
    overlay = experiment if isinstance(experiment, Path) else folder / f"overlay{number}.yaml"
    if not isinstance(experiment, Path):
        overlay.write_text(yaml.safe_dump(dict(experiment or {})))
    listing, output = folder / f"jobs{number}.jsonl", folder / f"output{number}.txt"
    command = words(folder, overlay, *arguments, root=root)
    if quick and hasattr(os, "fork"):
        request = {"command": command, "folder": str(folder), "jobs": str(listing), "output": str(output)}
        code = _served(request)
    else:
        path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "SNAKES_JOBS": str(listing),
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
    return Run(
        code, output.read_text(encoding="utf-8"), tuple(job for job in jobs if job.name != "all")
    )


def words(folder: Path, overlay: Path, *arguments: str, root: Path = ROOT) -> list[str]:
    """What is typed after `snakemake` to run the Snakefile of the checkout at `root` in `folder`."""
    return [
        "--cores", "2", *arguments, "--snakefile", str(root / "Snakefile"), "--directory", str(folder),
        "--logger", "jobs", "--configfile", str(CONFIG), str(overlay),
    ]  # fmt: skip


def _job(record: dict[str, Any]) -> Job:
    wildcards = [record["wildcards"][key] for key in ORDER if key in record["wildcards"]]
    return Job(" ".join([record["rule"], *wildcards]), record["reason"], tuple(record["output"]))


def model_file(model: str, fold: int) -> str:
    return f"results/tiny/models/{model}/fold{fold}/model.pt"


def trains(*models: str, folds: Sequence[int] = (0, 1)) -> set[str]:
    return {f"train {model} {fold}" for model in models for fold in folds}


def predicts(*models: str, folds: Sequence[int] = (0, 1)) -> set[str]:
    return {f"predict {model} {fold} {split}" for model in models for fold in folds for split in ("oof", "test")}


def finish_by_touch(folder: Path, experiment: Mapping[str, Any]) -> None:
    """Make `experiment` look finished to Snakemake, at no cost: every output is a small file, and recorded as made."""
    fresh = dry_run(folder, experiment)
    assert fresh.code == 0, fresh.output
    for path in (folder / name for job in fresh.jobs for name in job.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.relative_to(folder)}\n")
    touched = run(folder, experiment, "--touch", "--forceall", quick=True)
    assert touched.code == 0, touched.output


@dataclass(frozen=True)
class Finished:
    """An experiment that has nothing left to do, and where it lies. Tests that change files take a `copy`."""

    folder: Path
    experiment: dict[str, Any]
    made_by: Run | None = None

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.experiment["name"]

    def dry_run(self, *arguments: str, **changes: Any) -> Run:
        return dry_run(self.folder, merged(self.experiment, changes), *arguments)

    def go_on(self, *arguments: str, **changes: Any) -> Run:
        return run(self.folder, merged(self.experiment, changes), *arguments)


@functools.cache
def _server() -> subprocess.Popen[str]:
    # It ends with its stdin, that is with this process.
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _served(request: dict[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def load_snakemake() -> Any:
    """Import all that a run needs; the function that is `snakemake`."""
    sys.path[:0] = [str(PLUGIN), str(ROOT / "src")]
    import snakemake.cli
    import snakemake.workflow

    import tgs_salt.settings  # noqa: F401

    return snakemake.cli.main


def _serve() -> None:
    main = load_snakemake()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            be_snakemake(main, request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def be_snakemake(main: Any, request: dict[str, Any]) -> None:
    """Become `snakemake` with `command` in `folder`; what it says goes to `output`, its jobs to `jobs`. Of a fork."""
    descriptor = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(request["folder"])
    os.environ["SNAKES_JOBS"] = request["jobs"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tgs_salt"]:
        del sys.modules[name]  # the Snakefile's own checkout is to be imported; what it needs of others stays
    code = 99
    try:
        main(request["command"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()

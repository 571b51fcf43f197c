"""The paths of layout.py are those that the rules of the workflow spell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers import workflow_runner

from tgs_salt import layout
from tgs_salt.layout import ExperimentPaths, FoldPaths

NOT_OUTPUTS = {"folder", "models", "checkpoints", "settings"}  # folders, and a file that no rule reads or writes
SHARDS = 2


def known_paths(paths: ExperimentPaths | FoldPaths) -> set[Path]:
    """Return the value of every property."""
    names = {name for name, value in vars(type(paths)).items() if isinstance(value, property)} - NOT_OUTPUTS
    return {getattr(paths, name) for name in names}


def test_rules_and_layout_name_the_same_files(tmp_path: Path) -> None:
    experiment = workflow_runner.tiny(data={"source": "kaggle"}, predict={"shards": SHARDS})
    run = workflow_runner.dry_run(tmp_path, experiment, "all", "export", "submit")
    assert run.code == 0, run.output
    outputs = {Path(path) for job in run.jobs for path in job.output if path.startswith("results/")}

    paths = ExperimentPaths(Path("results/tiny"))
    expected = known_paths(paths) | {paths.ensemble(split) for split in ("oof", "test")}
    for fold in (paths.fold("base", number) for number in range(2)):
        expected |= known_paths(fold) | {fold.predictions(split) for split in ("oof", "test")}
        expected |= {fold.shard(shard, SHARDS) for shard in range(SHARDS)}
    assert outputs == expected


def test_layout_imports_the_standard_library_only() -> None:
    subprocess.run([sys.executable, "-I", "-S", layout.__file__], check=True)

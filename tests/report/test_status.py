"""`status` of finished, running and stopped trainings."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.command_line import SOURCE, tgs_salt
from helpers.experiments import make_experiment

from tgs_salt.errors import UserError
from tgs_salt.report import status


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Return an experiment with six trainings: two done, and one running, stopped, on another machine and waiting."""
    folder = make_experiment(tmp_path / "salt")
    for name in ("threshold.json", "scores.csv", "submission.csv"):
        (folder / name).unlink()
    for name in ("first/fold2", "second/fold0", "second/fold1", "second/fold2"):
        (folder / "models" / name / "model.pt").unlink()
        (folder / "models" / name / "timing.json").unlink()
        (folder / "models" / name / "history.csv").rename(folder / "models" / name / "full_history.csv")
    exited = subprocess.Popen([sys.executable, "-c", ""])
    exited.wait()
    start_training(folder / "models/first/fold2", f"process {os.getpid()} on {platform.node()}", epochs=3)
    start_training(folder / "models/second/fold0", f"process {exited.pid} on {platform.node()}", epochs=5)
    start_training(folder / "models/second/fold1", "process 1 on elsewhere", epochs=0)
    shutil.rmtree(folder / "models/second/fold2")
    return folder


def start_training(fold: Path, holder: str, epochs: int) -> None:
    (fold / "checkpoints").mkdir()
    (fold / "checkpoints/holder.txt").write_text(holder)
    lines = (fold / "full_history.csv").read_text().splitlines()
    if epochs:
        (fold / "checkpoints/history.csv").write_text("\n".join(lines[: epochs + 1]) + "\n")


def parse_table(text: str) -> dict[str, list[str]]:
    """Return the cells of the printed table by model and fold; a cell may be wrapped over several lines."""
    rows: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        name = f"{cells[0]} {cells[1]}" if cells[1] else name
        start = rows.get(name, [""] * len(cells[2:]))
        rows[name] = [f"{left} {right}".strip() for left, right in zip(start, cells[2:], strict=True)]
    return rows


def test_state_of_each_training(experiment: Path) -> None:
    done = tgs_salt("status", experiment)
    assert done.returncode == 0, done.stderr
    table = parse_table(done.stdout)
    score = (experiment / "models/first/fold0/history.csv").read_text().splitlines()[-1].split(",")[3]
    assert table["first 0"] == ["", f"{float(score):.4f}", "", "8/8", "done, 12 s"]
    score = (experiment / "models/first/fold2/checkpoints/history.csv").read_text().splitlines()[-1].split(",")[3]
    here = f"process {os.getpid()} on {platform.node()}"
    assert table["first 2"] == ["", f"{float(score):.4f}", "", "3/8", f"running: {here}"]
    assert table["second 0"][3:] == ["5/8", "stopped; resumes on the next run"]
    assert table["second 1"] == ["", "", "", "0/8", "running: process 1 on elsewhere"]
    assert table["second 2"] == ["", "", "", "0/8", "waiting"]
    assert "not finished yet; run the same snakemake command again" in done.stdout


def test_without_settings_every_fold_with_a_folder_is_listed(experiment: Path) -> None:
    (experiment / "settings.json").unlink()
    table = parse_table(tgs_salt("status", experiment).stdout)
    assert set(table) == {"first 0", "first 1", "first 2", "second 0", "second 1"}
    assert table["first 2"][3] == "3"


def test_newer_or_missing_model(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "salt")
    weights = folder / "models/first/fold1/model.pt"
    newer_time = (folder / "threshold.json").stat().st_mtime + 5
    os.utime(weights, (newer_time, newer_time))
    output = tgs_salt("status", folder).stdout
    assert f"{weights} is newer than the scores below" in output
    assert "cross-fitted score" in output and "next:" in output and "is not trained" not in output
    weights.unlink()
    output = tgs_salt("status", folder).stdout
    assert "first fold 1 is not trained; run the same snakemake command again to continue" in output
    assert "cross-fitted score" in output and "next:" not in output and "is newer" not in output


def test_older_version_is_listed_with_the_command_to_retrain(experiment: Path) -> None:
    timing = experiment / "models/first/fold1/timing.json"
    timing.write_text(json.dumps({**json.loads(timing.read_text()), "code": "0123456789abcdef"}))
    done = tgs_salt("status", experiment, "--rerun-options", " --resources gpu=0 --configfile mine.yaml")
    following = done.stdout.partition("first fold 1 was trained by an older version. To retrain:\n")[2]
    command = (
        f"snakemake --cores all --resources gpu=0 --configfile mine.yaml -R {experiment}/models/first/fold1/model.pt"
    )
    assert following.splitlines()[0].strip() == command


def test_single_model_has_no_ensemble_rows(tmp_path: Path) -> None:
    single = parse_table(tgs_salt("status", make_experiment(tmp_path / "single", models=("only",))).stdout)
    assert set(single) == {"only 0", "only 1", "only 2"}
    assert all(cells[2] for cells in single.values())
    both = parse_table(tgs_salt("status", make_experiment(tmp_path / "both")).stdout)
    assert {name for name in both if name.startswith("ensemble")} == {"ensemble 0", "ensemble 1", "ensemble 2"}


def test_torch_is_not_imported(experiment: Path) -> None:
    code = f"import sys; sys.argv = ['tgs-salt', 'status', {str(experiment)!r}]; from tgs_salt.cli import app; "
    code += "app(standalone_mode=False); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_watch_ends_when_all_folds_are_trained(experiment: Path) -> None:
    watcher = threading.Thread(target=status.watch, args=(experiment, 0.05))
    watcher.start()
    watcher.join(0.5)
    assert watcher.is_alive()
    for model in ("first", "second"):
        for fold in range(3):
            fold_folder = experiment / f"models/{model}/fold{fold}"
            fold_folder.mkdir(exist_ok=True)
            (fold_folder / "model.pt").write_text("weights")
    watcher.join(20)
    assert not watcher.is_alive()


def test_watch_of_a_finished_experiment_prints_its_status(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "salt")
    done = tgs_salt("status", folder, "--watch")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cross-fitted score +0\.\d{4} ", done.stdout, re.MULTILINE)
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        status.watch(tmp_path / "nowhere")

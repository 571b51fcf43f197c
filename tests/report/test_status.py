"""How far an experiment is, from small files alone: also while others train it, and from another machine."""

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
    """Of six trainings: two done, one running here, one stopped, one on another machine, one waiting."""
    folder = make_experiment(tmp_path / "salt")
    for name in ("threshold.json", "scores.csv", "submission.csv"):
        (folder / name).unlink()
    for name in ("first/fold2", "second/fold0", "second/fold1", "second/fold2"):
        (folder / "models" / name / "model.pt").unlink()
        (folder / "models" / name / "timing.json").unlink()
        (folder / "models" / name / "history.csv").rename(folder / "models" / name / "kept.csv")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    begin(folder / "models/first/fold2", f"process {os.getpid()} on {platform.node()}", epochs=3)
    begin(folder / "models/second/fold0", f"process {gone.pid} on {platform.node()}", epochs=5)
    begin(folder / "models/second/fold1", "process 1 on elsewhere", epochs=0)
    shutil.rmtree(folder / "models/second/fold2")
    return folder


def begin(fold: Path, holder: str, epochs: int) -> None:
    (fold / "checkpoints").mkdir()
    (fold / "checkpoints/holder.txt").write_text(holder)
    lines = (fold / "kept.csv").read_text().splitlines()
    if epochs:
        (fold / "checkpoints/history.csv").write_text("\n".join(lines[: epochs + 1]) + "\n")


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the printed table, by model and fold; a cell may go over several lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        name = f"{cells[0]} {cells[1]}" if cells[1] else name
        before = found.get(name, [""] * len(cells[2:]))
        found[name] = [f"{old} {new}".strip() for old, new in zip(before, cells[2:], strict=True)]
    return found


def test_each_training_is_told(experiment: Path) -> None:
    done = tgs_salt("status", experiment)
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    score = (experiment / "models/first/fold0/history.csv").read_text().splitlines()[-1].split(",")[3]
    assert table["first 0"] == ["", f"{float(score):.4f}", "", "8/8", "done, 12 s"]
    score = (experiment / "models/first/fold2/checkpoints/history.csv").read_text().splitlines()[-1].split(",")[3]
    here = f"process {os.getpid()} on {platform.node()}"
    assert table["first 2"] == ["", f"{float(score):.4f}", "", "3/8", f"running: {here}"]
    assert table["second 0"][3:] == ["5/8", "stopped; goes on when run again"]
    assert table["second 1"] == ["", "", "", "0/8", "running: process 1 on elsewhere"]
    assert table["second 2"] == ["", "", "", "0/8", "waiting"]
    assert "not finished yet; the snakemake command" in done.stdout


def test_without_settings_what_has_a_folder_is_told(experiment: Path) -> None:
    (experiment / "settings.json").unlink()
    table = rows(tgs_salt("status", experiment).stdout)
    assert set(table) == {"first 0", "first 1", "first 2", "second 0", "second 1"}
    assert table["first 2"][3] == "3"


def test_a_fold_that_is_newer_or_gone_is_told_beside_the_scores(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "salt")
    weights = folder / "models/first/fold1/model.pt"
    later = (folder / "threshold.json").stat().st_mtime + 5
    os.utime(weights, (later, later))
    newer = tgs_salt("status", folder).stdout
    assert f"{weights} is newer than these scores" in newer
    assert "cross-fitted score" in newer and "next:" in newer and "is not trained" not in newer
    weights.unlink()
    gone = tgs_salt("status", folder).stdout
    assert "first fold 1 is not trained; the snakemake command that began it goes on from here" in gone
    assert "cross-fitted score" in gone and "next:" not in gone and "is newer" not in gone


def test_older_code_is_told_with_what_to_type(experiment: Path) -> None:
    timing = experiment / "models/first/fold1/timing.json"
    timing.write_text(json.dumps({**json.loads(timing.read_text()), "code": "0123456789abcdef"}))
    done = tgs_salt("status", experiment, "--same", " --resources gpu=0 --configfile mine.yaml")
    told = done.stdout.partition("first fold 1 was trained by older code; to train them again:\n")[2]
    again = (
        f"snakemake --cores all --resources gpu=0 --configfile mine.yaml -R {experiment}/models/first/fold1/model.pt"
    )
    assert told.splitlines()[0].strip() == again


def test_a_single_vote_is_told_once(tmp_path: Path) -> None:
    alone = rows(tgs_salt("status", make_experiment(tmp_path / "alone", models=("only",))).stdout)
    assert set(alone) == {"only 0", "only 1", "only 2"}
    assert all(cells[2] for cells in alone.values()), "with their scores"
    both = rows(tgs_salt("status", make_experiment(tmp_path / "both")).stdout)
    assert {name for name in both if name.startswith("ensemble")} == {"ensemble 0", "ensemble 1", "ensemble 2"}


def test_no_torch_is_imported(experiment: Path) -> None:
    looks = f"import sys; sys.argv = ['tgs-salt', 'status', {str(experiment)!r}]; from tgs_salt.cli import app; "
    looks += "app(standalone_mode=False); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", looks], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_watching_ends_when_all_are_trained(experiment: Path) -> None:
    watching = threading.Thread(target=status.watch, args=(experiment, 0.05))
    watching.start()
    watching.join(0.5)
    assert watching.is_alive()
    for model in ("first", "second"):
        for fold in range(3):
            place = experiment / f"models/{model}/fold{fold}"
            place.mkdir(exist_ok=True)
            (place / "model.pt").write_text("weights")
    watching.join(20)
    assert not watching.is_alive()


def test_watching_a_finished_experiment_prints_it(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "salt")
    done = tgs_salt("status", folder, "--watch")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cross-fitted score +0\.\d{4} ", done.stdout, re.MULTILINE)
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        status.watch(tmp_path / "nowhere")

"""Time, memory and size of the report of the full competition: 4,000 + 18,000 tiles, three folds of two models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import SOURCE
from helpers.experiments import make_experiment

# Runs the command and prints its seconds and its peak memory. On Linux, ru_maxrss may include the parent process before
# exec, so VmHWM is read instead where it exists.
MEASURE = """
import json, pathlib, re, resource, sys, time
sys.argv = ["tgs-salt", *sys.argv[1:]]
from tgs_salt.cli import app
start = time.monotonic()
app(standalone_mode=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
status = pathlib.Path("/proc/self/status")
if status.exists():
    peak = 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
print(json.dumps({"seconds": time.monotonic() - start, "bytes": peak}))
"""


@pytest.fixture(scope="module")
def full_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an experiment with 60 test tiles that are then repeated 300 times, in all files that the report reads."""
    folder = make_experiment(tmp_path_factory.mktemp("scale") / "salt", side=101, train=4000, test=60)
    repeats = 300
    for path in (folder / "data/test_images.npy", folder / "ensemble/test.npy"):
        np.save(path, np.tile(np.load(path), (repeats, 1, 1)))
    predictions = sorted(folder.glob("models/*/fold*/test.npy"))
    np.save(predictions[0], np.tile(np.load(predictions[0]), (repeats, 1, 1)))
    for path in predictions[1:]:
        path.unlink()
        os.link(predictions[0], path)
    tiles, *rows = (folder / "data/tiles.csv").read_text().splitlines()
    train, test = rows[:4000], [row.split(",") for row in rows[4000:]]
    test_rows = [",".join([f"u{n:06d}", *test[n % 60][1:2], str(n), *test[n % 60][3:]]) for n in range(60 * repeats)]
    (folder / "data/tiles.csv").write_text("\n".join([tiles, *train, *test_rows]) + "\n")
    header, *masks = (folder / "submission.csv").read_text().splitlines()
    lines = [f"u{n:06d},{masks[n % 60].partition(',')[2]}" for n in range(60 * repeats)]
    (folder / "submission.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


@pytest.mark.slow
def test_report_of_the_full_competition(full_experiment: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "report", str(full_experiment), "--threads", "2"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    usage = json.loads(done.stdout.splitlines()[-1])
    page = (full_experiment / "report.html").read_text()
    assert "18,000 rows, valid" in page and "<b>4,000</b>" in page and "Highest disagreement" in page
    assert len(page.encode()) < 10e6
    assert usage["bytes"] < 2e9, usage
    assert usage["seconds"] < 60, usage
    shutil.rmtree(full_experiment)

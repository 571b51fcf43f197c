"""The page of a whole competition: 4,000 labelled and 18,000 test tiles, three folds of two models."""

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

# Runs the command and tells its seconds and its largest memory. Linux hands getrusage's figure on from the process that
# started this one, so its own is read where there is one.
MEASURED = """
import json, pathlib, re, resource, sys, time
sys.argv = ["tgs-salt", *sys.argv[1:]]
from tgs_salt.cli import app
began = time.monotonic()
app(standalone_mode=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
status = pathlib.Path("/proc/self/status")
if status.exists():
    peak = 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
print(json.dumps({"seconds": time.monotonic() - began, "bytes": peak}))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small experiment of real steps, whose test tiles are then repeated: nobody but the report reads them after."""
    folder = make_experiment(tmp_path_factory.mktemp("scale") / "salt", side=101, train=4000, test=60)
    times = 300
    for path in (folder / "data/test_images.npy", folder / "ensemble/test.npy"):
        np.save(path, np.tile(np.load(path), (times, 1, 1)))
    predictions = sorted(folder.glob("models/*/fold*/test.npy"))
    np.save(predictions[0], np.tile(np.load(predictions[0]), (times, 1, 1)))
    for path in predictions[1:]:
        path.unlink()
        os.link(predictions[0], path)
    tiles, *rows = (folder / "data/tiles.csv").read_text().splitlines()
    train, test = rows[:4000], [row.split(",") for row in rows[4000:]]
    again = [",".join([f"u{n:06d}", *test[n % 60][1:2], str(n), *test[n % 60][3:]]) for n in range(60 * times)]
    (folder / "data/tiles.csv").write_text("\n".join([tiles, *train, *again]) + "\n")
    header, *codes = (folder / "submission.csv").read_text().splitlines()
    sent = [f"u{n:06d},{codes[n % 60].partition(',')[2]}" for n in range(60 * times)]
    (folder / "submission.csv").write_text("\n".join([header, *sent]) + "\n")
    return folder


@pytest.mark.slow
def test_a_whole_competition(whole: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "report", str(whole), "--threads", "2"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout.splitlines()[-1])
    page = (whole / "report.html").read_text()
    assert "18,000 rows, checked" in page and "<b>4,000</b>" in page and "The most disputed" in page
    assert len(page.encode()) < 10e6
    assert used["bytes"] < 2e9, used
    assert used["seconds"] < 60, used
    shutil.rmtree(whole)

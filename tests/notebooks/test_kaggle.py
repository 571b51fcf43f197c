"""The Kaggle notebook, executed with a synthetic dataset in place of the mounted competition data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from helpers import workflow_runner
from helpers.datasets import make_dataset
from nbclient import NotebookClient

NOTEBOOK = workflow_runner.ROOT / "notebooks" / "kaggle.ipynb"
# A fake pip that writes down its arguments: everything is already installed.
PIP = "import json, sys\nopen({!r}, 'w').write(json.dumps(sys.argv[1:]))\n"


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_the_notebook_writes_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle = tmp_path / "kaggle"
    (kaggle / "working").mkdir(parents=True)
    dataset = make_dataset(kaggle / "input/competitions/tgs-salt-identification-challenge", 24, 8, 32)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(workflow_runner.tiny()))
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/pip.py").write_text(PIP.format(str(tmp_path / "pip.json")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setenv("HOME", str(tmp_path))  # no settings of this machine's user
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    notebook = nbformat.read(NOTEBOOK, 4)
    for before, after in (
        ('"/kaggle/', f'"{kaggle}/'),
        ('"https://github.com/you/tgs-salt"', repr(f"file://{workflow_runner.ROOT}")),
        ("PRESETS = []", f"PRESETS = [{str(tmp_path / 'tiny.yaml')!r}]"),
    ):
        assert any(before in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(before, after)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=dict(os.environ)
    )

    checkout = kaggle / "working/tgs-salt"
    assert json.loads((tmp_path / "pip.json").read_text()) == ["install", "--quiet", str(checkout)]
    submission = pd.read_csv(kaggle / "working/submission.csv", keep_default_na=False)
    assert list(submission["id"]) == list(pd.read_csv(dataset / "sample_submission.csv")["id"])
    (score,) = notebook.cells[-1].outputs
    decision = json.loads((checkout / "results/kaggle/threshold.json").read_text())
    assert float(score.data["text/plain"]) == decision["cross_fitted_score"]

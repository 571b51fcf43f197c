"""The same settings give the same bytes: in a second run, on other core counts, in another order, after other folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment, model_file

Copy = Callable[[FinishedExperiment], FinishedExperiment]
# These and the logs contain times and machine names.
VARYING = {"timing.json", "report.html"}


def contents(results: Path) -> dict[str, bytes]:
    """Return the outputs that are determined by the settings, by path."""
    paths = [path for path in results.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths if path.name not in VARYING}


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls",
    [
        [["--cores", "2"]],
        [[model_file("base", 1), "--cores", "1"], ["--cores", "1"]],
    ],
    ids=["second run", "one core, last fold first"],
)
def test_an_independent_run_gives_the_same_bytes(
    tmp_path: Path, finished: FinishedExperiment, calls: list[list[str]]
) -> None:
    for arguments in calls:
        run = workflow_runner.run(tmp_path, finished.experiment, *arguments, "--resources", "gpu=0")
        assert run.code == 0, run.output
    expected, actual = contents(finished.results), contents(tmp_path / "results/tiny")
    assert {"folds.csv", "submission.csv", "models/base/fold0/model.pt", "ensemble/oof.npy"} <= set(expected)
    assert [name for name in expected if actual.get(name) != expected[name]] == [] and set(actual) == set(expected)


@pytest.mark.slow
def test_fewer_folds_give_the_same_bytes_as_a_fresh_run(copy: Copy, finished: FinishedExperiment) -> None:
    experiment = copy(finished)
    for folds in ({"n_splits": 3}, {"n_splits": 2}):
        run = experiment.run_again("--resources", "gpu=0", folds=folds)
        assert run.code == 0, run.output
        used = json.loads((experiment.results / "threshold.json").read_text())["folds"]
        assert used == list(range(folds["n_splits"]))
    stale = {name for name in contents(experiment.results) if "fold2" in name}
    assert "models/base/fold2/model.pt" in stale, "models of other folds are kept"
    current = {name: data for name, data in contents(experiment.results).items() if name not in stale}
    assert current == contents(finished.results)
    assert set(pd.read_csv(experiment.results / "scores.csv")["fold"]) == {0, 1}
    assert "base fold 2" not in (experiment.results / "report.html").read_text()


@pytest.mark.slow
def test_a_fold_that_is_not_selected_is_not_used(copy: Copy, finished: FinishedExperiment) -> None:
    experiment = copy(finished)
    run = experiment.run_again("--resources", "gpu=0", folds={"selected": [1]})
    assert run.code == 0 and run.names == workflow_runner.AFTER_PREDICTIONS, run.output
    assert json.loads((experiment.results / "threshold.json").read_text())["folds"] == [1]
    assert set(pd.read_csv(experiment.results / "scores.csv")["fold"]) == {1}
    assert "base fold 0" not in (experiment.results / "report.html").read_text()
    # The ensemble of one network predicts the same as the network.
    single = (experiment.results / "models/base/fold1/test.npy").read_bytes()
    assert (experiment.results / "ensemble/test.npy").read_bytes() == single

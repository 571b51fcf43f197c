"""The same settings end with the same bytes: run twice, with other cores, in another order, after other folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers import workflow_runner
from helpers.workflow_runner import Finished, model_file

Copy = Callable[[Finished], Finished]
# Times and machines are told in these, and in the logs.
VARYING = {"timing.json", "report.html"}


def contents(results: Path) -> dict[str, bytes]:
    """All outputs whose bytes are fixed by the settings."""
    paths = [path for path in results.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths if path.name not in VARYING}


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls",
    [
        [["--cores", "2"]],
        [[model_file("base", 1), "--cores", "1"], ["--cores", "1"]],
    ],
    ids=["again", "one core, the last fold first"],
)
def test_a_run_of_its_own_ends_with_the_same_bytes(tmp_path: Path, finished: Finished, calls: list[list[str]]) -> None:
    for arguments in calls:
        run = workflow_runner.run(tmp_path, finished.experiment, *arguments, "--resources", "gpu=0")
        assert run.code == 0, run.output
    wanted, found = contents(finished.results), contents(tmp_path / "results/tiny")
    assert {"folds.csv", "submission.csv", "models/base/fold0/model.pt", "ensemble/oof.npy"} <= set(wanted)
    assert [name for name in wanted if found.get(name) != wanted[name]] == [] and set(found) == set(wanted)


@pytest.mark.slow
def test_fewer_folds_leave_nothing_of_the_others(copy: Copy, finished: Finished) -> None:
    experiment = copy(finished)
    for folds in ({"n_splits": 3}, {"n_splits": 2}):
        run = experiment.go_on("--resources", "gpu=0", folds=folds)
        assert run.code == 0, run.output
        told = json.loads((experiment.results / "threshold.json").read_text())["folds"]
        assert told == list(range(folds["n_splits"]))
    stale = {name for name in contents(experiment.results) if "fold2" in name}
    assert "models/base/fold2/model.pt" in stale, "kept, for who wants it back"
    assert {name: held for name, held in contents(experiment.results).items() if name not in stale} == contents(
        finished.results
    )
    assert set(pd.read_csv(experiment.results / "scores.csv")["fold"]) == {0, 1}
    assert "base fold 2" not in (experiment.results / "report.html").read_text()


@pytest.mark.slow
def test_a_fold_out_of_use_has_no_say(copy: Copy, finished: Finished) -> None:
    experiment = copy(finished)
    run = experiment.go_on("--resources", "gpu=0", folds={"selected": [1]})
    assert run.code == 0 and run.names == workflow_runner.BELOW, run.output
    assert json.loads((experiment.results / "threshold.json").read_text())["folds"] == [1]
    assert set(pd.read_csv(experiment.results / "scores.csv")["fold"]) == {1}
    assert "base fold 0" not in (experiment.results / "report.html").read_text()
    # The only network's word on the test tiles is the ensemble's.
    alone = (experiment.results / "models/base/fold1/test.npy").read_bytes()
    assert (experiment.results / "ensemble/test.npy").read_bytes() == alone

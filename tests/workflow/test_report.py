"""The report as a rule of the workflow, its refresh after a submission, and Snakemake's own report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from helpers import workflow_runner
from helpers.report_parser import Page
from helpers.workflow_runner import FinishedExperiment

Copy = Callable[[FinishedExperiment], FinishedExperiment]


def test_settings_are_written_when_a_run_starts(finished: FinishedExperiment) -> None:
    written = json.loads((finished.results / "settings.json").read_text())
    assert set(written["models"]) == {"base"}, "unused models are left out"
    assert written["models"]["base"]["epochs"] == 1 and written["folds"]["n_splits"] == 2
    assert "runtime" not in written


def test_the_report_of_a_run(finished: FinishedExperiment) -> None:
    page = Page(finished.results / "report.html")
    decision = json.loads((finished.results / "threshold.json").read_text())
    assert f"{decision['cross_fitted_score']:.4f} cross-fitted score" in page.text["score"]
    assert "threshold.json has" not in page.text["header"] and "out of date" not in page.text["header"]
    assert "8 rows, valid" in page.text["submission"]
    assert "epochs: 1" in page.text["settings"]


@pytest.mark.slow
def test_a_receipt_refreshes_the_report_and_reruns_nothing(copy: Copy, finished: FinishedExperiment) -> None:
    experiment = copy(finished)
    receipt = {"ref": "77", "status": "COMPLETE", "public_score": "0.81", "private_score": "0.83"}
    path = experiment.results / "submitted.json"
    path.write_text(json.dumps(receipt))
    later = (experiment.results / "report.html").stat().st_mtime + 5
    os.utime(path, (later, later))
    assert not experiment.dry_run().jobs
    # Every successful run refreshes the report; `submit` is one.
    again = experiment.run_again("results/tiny/threshold.json", "--force")
    assert again.code == 0 and again.names == {"threshold"}, again.output
    assert "public score 0.81" in Page(experiment.results / "report.html").text["submission"]


def test_snakemake_report(copy: Copy, finished: FinishedExperiment) -> None:
    experiment = copy(finished)
    done = workflow_runner.run(
        experiment.folder, experiment.experiment, "--report", "results/tiny/snakemake.html", quick=True
    )
    assert done.code == 0, done.output
    text = (experiment.results / "snakemake.html").read_text()
    for caption in ("How good the experiment is", "From a seismic dataset", "fold by fold", "each threshold"):
        assert caption in text
    for word in ("Experiment", "Tables", "the whole experiment"):
        assert word in text

"""The page as a part of the graph, what a receipt does to it, and Snakemake's own report beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from helpers import workflow_runner
from helpers.report_parser import Page
from helpers.workflow_runner import Finished

Copy = Callable[[Finished], Finished]


def test_settings_are_written_down(finished: Finished) -> None:
    written = json.loads((finished.results / "settings.json").read_text())
    assert set(written["models"]) == {"base"}, "models that nobody needs are left out"
    assert written["models"]["base"]["epochs"] == 1 and written["folds"]["n_splits"] == 2
    assert "runtime" not in written


def test_the_page_of_a_real_run(finished: Finished) -> None:
    page = Page(finished.results / "report.html")
    decision = json.loads((finished.results / "threshold.json").read_text())
    assert f"{decision['cross_fitted_score']:.4f} cross-fitted score" in page.text["score"]
    assert "threshold.json says" not in page.text["header"] and "of old" not in page.text["header"]
    assert "8 rows, checked" in page.text["submission"]
    assert "epochs: 1" in page.text["settings"]


@pytest.mark.slow
def test_a_receipt_refreshes_the_page_and_reruns_nothing(copy: Copy, finished: Finished) -> None:
    sent = copy(finished)
    receipt = {"ref": "77", "status": "COMPLETE", "public_score": "0.81", "private_score": "0.83"}
    path = sent.results / "submitted.json"
    path.write_text(json.dumps(receipt))
    later = (sent.results / "report.html").stat().st_mtime + 5
    os.utime(path, (later, later))
    assert not sent.dry_run().jobs
    # Any run that ends well brings the page up; `submit` is one.
    again = sent.go_on("results/tiny/threshold.json", "--force")
    assert again.code == 0 and again.names == {"threshold"}, again.output
    assert "public score 0.81" in Page(sent.results / "report.html").text["submission"]


def test_snakemakes_own_report(copy: Copy, finished: Finished) -> None:
    own = copy(finished)
    done = workflow_runner.run(own.folder, own.experiment, "--report", "results/tiny/snakemake.html", quick=True)
    assert done.code == 0, done.output
    text = (own.results / "snakemake.html").read_text()
    for caption in ("How good the experiment is", "From a seismic dataset", "fold by fold", "each threshold"):
        assert caption in text
    for word in ("Experiment", "Tables", "the whole experiment"):
        assert word in text

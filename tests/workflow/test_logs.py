"""The log of a failed job ends with the cause, for every rule, and Snakemake prints it; notices about models."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from helpers.workflow_runner import FinishedExperiment, model_file

Copy = Callable[[FinishedExperiment], FinishedExperiment]
FOLD = "models/base/fold0"
SHARDED = {"predict": {"shards": 2}}
# By rule: a file that it reads, the target, the log, and settings that enable the rule.
DAMAGED = {
    "folds": ("data/tiles.csv", "folds.csv", "folds.log", {}),
    "train": ("data/train_masks.npy", f"{FOLD}/model.pt", f"{FOLD}/train.log", {}),
    "predict": (f"{FOLD}/model.pt", f"{FOLD}/oof.npy", f"{FOLD}/predict_oof.log", {}),
    "predict_shard": (f"{FOLD}/model.pt", f"{FOLD}/test.npy", f"{FOLD}/test/0-of-2.log", SHARDED),
    "ensemble": (f"{FOLD}/oof.npy", "ensemble/oof.npy", "ensemble/ensemble.log", {}),
    "threshold": ("ensemble/oof.npy", "threshold.json", "threshold.log", {}),
    "submission": ("threshold.json", "submission.csv", "submission.log", {}),
    "report": ("scores.csv", "report.html", "report.log", {}),
    "export": ("ensemble/weights.json", "bundle.zip", "export.log", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", DAMAGED)
def test_the_log_of_a_failed_job_ends_with_the_cause(copy: Copy, finished: FinishedExperiment, rule: str) -> None:
    damaged, target, log, changes = DAMAGED[rule]
    experiment = copy(finished)
    content = (experiment.results / damaged).read_bytes()
    (experiment.results / damaged).write_bytes(content[: len(content) // 2])
    failed = experiment.run_again(f"results/tiny/{target}", "--resources", "gpu=0", **changes)
    assert failed.code != 0 and "Traceback" not in failed.output, failed.output
    last = (experiment.results / log).read_text().splitlines()[-1]
    assert last.startswith("error: ") and damaged.rpartition("/")[2] in last
    assert last in failed.output, "Snakemake prints the log of a failed job"
    assert failed.output.count("A job failed or was stopped. See the last line of its log.") == 1


def test_unused_models_are_printed_before_and_after_a_run(finished: FinishedExperiment) -> None:
    # The tiny experiment adds to the two models of config.yaml.
    sentence = "Skipping models that are not part of the ensemble: "
    output = finished.first_output
    assert output.count(f"{sentence}unet, lovasz (add them to ensemble.models)\n") == 2
    assert output.index(sentence) < output.index("Building DAG") < output.rindex(sentence)
    idle = {
        "mine": {"extends": "base"},
        "start": {"extends": "base"},
        "tuned": {"extends": "base", "init_from": "start"},
    }
    planned = finished.dry_run(models=idle, ensemble={"models": ["base", "tuned"]})
    assert f"{sentence}unet, lovasz, mine (add them to ensemble.models)\n" in planned.output


def test_nothing_is_printed_if_all_models_are_used(finished: FinishedExperiment) -> None:
    planned = finished.dry_run(ensemble={"models": None})
    assert planned.code == 0 and "Skipping models" not in planned.output


@pytest.mark.slow
def test_models_trained_by_an_older_version_are_reported_not_retrained(
    copy: Copy, finished: FinishedExperiment
) -> None:
    experiment = copy(finished)
    timing = experiment.results / FOLD / "timing.json"
    assert finished.first_output and "older version" not in finished.first_output
    timing.write_text(json.dumps({**json.loads(timing.read_text()), "code": "0123456789abcdef"}))
    again = experiment.run_again("--resources", "gpu=0")
    assert again.code == 0 and again.names == {"report"}, again.output
    command = f"-R {model_file('base', 0)}"
    notice = "base fold 0 was trained by an older version"
    printed = again.output.partition(f"{notice}. To retrain:\n")[2].splitlines()[0].strip()
    assert printed.startswith("snakemake --cores all --resources gpu=0 --configfile ") and printed.endswith(command)
    page = (experiment.results / "report.html").read_text()
    assert f"{notice}." in page and f"snakemake --cores all {command}" in page

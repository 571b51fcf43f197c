"""The log of a job that fails ends with the cause and what to do, and Snakemake shows it; so for every rule."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from helpers.workflow_runner import Finished, model_file

Copy = Callable[[Finished], Finished]
FOLD = "models/base/fold0"
SHARDED = {"predict": {"shards": 2}}
# By rule: a file that it reads, what is asked for, the log, and settings that make the rule exist.
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
def test_a_log_ends_with_the_cause(copy: Copy, finished: Finished, rule: str) -> None:
    damaged, target, log, changes = DAMAGED[rule]
    poorer = copy(finished)
    whole = (poorer.results / damaged).read_bytes()
    (poorer.results / damaged).write_bytes(whole[: len(whole) // 2])
    failed = poorer.go_on(f"results/tiny/{target}", "--resources", "gpu=0", **changes)
    assert failed.code != 0 and "Traceback" not in failed.output, failed.output
    last = (poorer.results / log).read_text().splitlines()[-1]
    assert last.startswith("error: ") and damaged.rpartition("/")[2] in last
    assert last in failed.output, "Snakemake shows the log of a failed job"
    assert failed.output.count("A job failed or was stopped: its log is above") == 1


def test_models_that_nobody_needs_are_told_before_a_run_and_after(finished: Finished) -> None:
    assert finished.made_by is not None
    # config.yaml's own two are still there under the tiny experiment's.
    sentence = "Not trained, for they neither vote (ensemble.models: base) nor does a voter start or learn from them: "
    output = finished.made_by.output
    assert output.count(f"{sentence}unet, lovasz\n") == 2
    assert output.index(sentence) < output.index("Building DAG") < output.rindex(sentence)
    idle = {
        "mine": {"extends": "base"},
        "start": {"extends": "base"},
        "tuned": {"extends": "base", "init_from": "start"},
    }
    planned = finished.dry_run(models=idle, ensemble={"models": ["base", "tuned"]})
    assert "(ensemble.models: base, tuned) nor does a voter start or learn from them: unet, lovasz, mine\n" in (
        planned.output
    )


def test_nothing_is_told_where_every_model_is_needed(finished: Finished) -> None:
    everybody = finished.dry_run(ensemble={"models": None})
    assert everybody.code == 0 and "Not trained" not in everybody.output


@pytest.mark.slow
def test_older_code_is_told_at_the_end_and_on_the_page(copy: Copy, finished: Finished) -> None:
    experiment = copy(finished)
    timing = experiment.results / FOLD / "timing.json"
    assert finished.made_by is not None and "older code" not in finished.made_by.output
    timing.write_text(json.dumps({**json.loads(timing.read_text()), "code": "0123456789abcdef"}))
    again = experiment.go_on("--resources", "gpu=0")
    assert again.code == 0 and again.names == {"report"}, "it is told, not trained"
    command = f"-R {model_file('base', 0)}"
    told = again.output.partition("base fold 0 was trained by older code; to train them again:\n")[2].splitlines()[0]
    assert told.strip().startswith("snakemake --cores all --resources gpu=0 --configfile ") and told.endswith(command)
    page = (experiment.results / "report.html").read_text()
    assert "base fold 0 was trained by older code." in page and f"snakemake --cores all {command}" in page

"""What a change of the configuration, of a file or of a mind runs again: no job more, no job less."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import BELOW, DECISION, Finished, model_file, predicts, trains

Copy = Callable[[Finished], Finished]
VOTERS = ("tuned", "student")
EVERYTHING_LEARNED = trains("base", *VOTERS) | predicts("base", *VOTERS) | BELOW

CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, set()),
    "runtime": ({"runtime": {"log_level": "debug", "jobs_per_gpu": 3}}, set()),
    "idle model": ({"models": {"idle": {"epochs": 9}, "other": {"extends": "tuned"}}}, set()),
    "inherited or written out": (
        {
            "models": {
                "tuned": {
                    "extends": None,
                    "architecture": "article",
                    "batch_size": 12,
                    "weight_averaging": "none",
                    "threads": 1,
                }
            }
        },
        set(),
    ),
    "value": ({"threshold": {"value": 128}}, DECISION),
    "smallest area": ({"threshold": {"min_area": 5}}, DECISION),
    "votes": ({"ensemble": {"weights": {"tuned": 2}}}, BELOW),
    "searched votes": ({"ensemble": {"weights": "search"}}, BELOW),
    "one voter less": ({"ensemble": {"models": ["tuned"]}}, BELOW),
    "one voter more": (
        {"ensemble": {"models": ["tuned", "student", "idle"]}},
        trains("idle") | predicts("idle") | BELOW,
    ),
    # A teacher's predictions do not follow the code, a parameter less.
    "a voter becomes a teacher": (
        {"models": {"idle": {"teacher": "tuned"}}, "ensemble": {"models": ["tuned", "student", "idle"]}},
        trains("idle") | predicts("tuned", "idle") | BELOW,
    ),
    "a model already trained votes too": ({"ensemble": {"models": ["tuned", "student", "base"]}}, BELOW),
    # A student learns from predictions, so it learns again; what starts from weights does not.
    "tta": ({"predict": {"tta": "none"}}, predicts("base", *VOTERS) | trains("student") | BELOW),
    "epochs of one model": ({"models": {"tuned": {"epochs": 2}}}, trains("tuned") | predicts("tuned") | BELOW),
    "loss of the student": ({"models": {"student": {"loss": "dice"}}}, trains("student") | predicts("student") | BELOW),
    "epochs of a model that others follow": (
        {"models": {"base": {"epochs": 2}}},
        EVERYTHING_LEARNED,
    ),
    "fewer folds in use": ({"folds": {"selected": [0]}}, BELOW),
    "seed of the folds": (
        {"folds": {"seed": 1}},
        {"folds"} | EVERYTHING_LEARNED,
    ),
    "name": (
        {"name": "other"},
        {"preprocess", "folds"} | EVERYTHING_LEARNED,
    ),
    "data": (
        {"data": {"seed": 1}},
        {"synthesize", "preprocess", "folds"} | EVERYTHING_LEARNED,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_the_configuration(staged: Finished, change: str) -> None:
    changes, jobs = CHANGES[change]
    again = staged.dry_run(**changes)
    assert again.code == 0, again.output
    assert again.names == jobs
    assert all(job.reason for job in again.jobs)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, set()),
        ({"threshold": {"value": 128}}, DECISION),
        ({"predict": {"tta": "none"}}, predicts("base") | BELOW),
        ({"models": {"base": {"epochs": 2}}}, trains("base") | predicts("base") | BELOW),
    ],
    ids=["nothing", "level", "tta", "epochs"],
)
def test_change_after_a_real_run(finished: Finished, changes: dict[str, Any], jobs: set[str]) -> None:
    assert finished.dry_run(**changes).names == jobs


def test_back_to_all_folds_trains_the_new_ones_alone(tmp_path: Path, staged: Finished) -> None:
    experiment = workflow_runner.merged(staged.experiment, {"folds": {"selected": [0]}})
    workflow_runner.finish_by_touch(tmp_path, experiment)
    again = workflow_runner.dry_run(tmp_path, staged.experiment)
    assert again.names == trains("base", *VOTERS, folds=[1]) | predicts("base", *VOTERS, folds=[1]) | BELOW


def test_one_fold_alone(finished: Finished, staged: Finished) -> None:
    assert finished.dry_run(model_file("base", 1), "--force").names == {"train base 1"}
    assert staged.dry_run(model_file("tuned", 0), "--force").names == {"train tuned 0"}


def test_one_fold_and_everything_below_it(finished: Finished, staged: Finished) -> None:
    one = {"folds": [1]}
    again = finished.dry_run("-R", model_file("base", 1))
    assert again.names == trains("base", **one) | predicts("base", **one) | BELOW
    again = staged.dry_run("-R", model_file("tuned", 1))
    assert again.names == trains("tuned", **one) | predicts("tuned", **one) | BELOW
    again = staged.dry_run("-R", model_file("base", 1))
    assert again.names == trains("base", *VOTERS, **one) | predicts("base", *VOTERS, **one) | BELOW


def test_all_folds_of_one_model(staged: Finished) -> None:
    files = [model_file("student", fold) for fold in (0, 1)]
    assert staged.dry_run(*files, "--force").names == trains("student")
    assert staged.dry_run("-R", *files).names == trains("student") | predicts("student") | BELOW


def test_all_predictions_again(staged: Finished) -> None:
    # A student follows its teacher.
    assert staged.dry_run("-R", "predict").names == predicts("base", *VOTERS) | trains("student") | BELOW


# By module of the package, the jobs of the staged experiment that a change of it runs again; tests/test_sources.py has
# the modules of each rule.
CODE: dict[str, set[str]] = {
    "training/losses.py": {"report"},
    # Not those of a teacher: its student would train again.
    "inference/backends.py": predicts(*VOTERS) | BELOW,
    "postprocessing/ensemble_selection.py": BELOW,
    "postprocessing/submission.py": {"submission", "report"},
}


@pytest.mark.parametrize("module", CODE)
def test_changed_code(checkout: Path, staged: Finished, module: str) -> None:
    with (checkout / "src/tgs_salt" / module).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    again = workflow_runner.dry_run(staged.folder, staged.experiment, root=checkout)
    assert again.code == 0, again.output
    assert again.names == CODE[module]


def test_another_checkout_of_the_same_code_has_nothing_to_do(checkout: Path, staged: Finished) -> None:
    assert not workflow_runner.dry_run(staged.folder, staged.experiment, root=checkout).jobs


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The code at another place, with other times of its files."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copyfile(workflow_runner.ROOT / name, place / name)
    for name in ("workflow", "src", "envs", "profiles"):
        shutil.copytree(
            workflow_runner.ROOT / name, place / name, copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    return place


def test_a_fold_that_has_to_be_made_first_brings_what_it_needs(tmp_path: Path, staged: Finished) -> None:
    fresh = workflow_runner.dry_run(tmp_path, staged.experiment, model_file("student", 1))
    before = {"synthesize", "preprocess", "folds"}
    assert fresh.names == before | trains("base", "student", folds=[1]) | predicts("base", folds=[1])


@pytest.mark.parametrize("model", ["base", *VOTERS])
def test_deleted_weights_are_noticed(copy: Copy, staged: Finished, model: str) -> None:
    poorer = copy(staged)
    (poorer.folder / model_file(model, 0)).unlink()
    models = ("base", *VOTERS) if model == "base" else (model,)
    assert poorer.dry_run().names == trains(*models, folds=[0]) | predicts(*models, folds=[0]) | BELOW


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("submission.csv", {"submission", "report"}),
        ("report.html", {"report"}),
        ("threshold.json", {"threshold", "submission", "report"}),
        ("ensemble/oof.npy", BELOW),
        ("ensemble/test.npy", BELOW),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_deleted_results_are_made_again_alone(copy: Copy, staged: Finished, file: str, jobs: set[str]) -> None:
    poorer = copy(staged)
    (poorer.results / file).unlink()
    assert poorer.dry_run().names == jobs


def test_a_moved_folder_has_nothing_to_do(copy: Copy, staged: Finished) -> None:
    assert not copy(staged).dry_run().jobs


def test_results_without_the_records_of_snakemake_are_taken_as_they_are(copy: Copy, staged: Finished) -> None:
    bare = copy(staged)
    shutil.rmtree(bare.folder / ".snakemake")
    assert not bare.dry_run().jobs

"""Exactly the jobs that a change of the settings, the code or the files affects run again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import (
    AFTER_ENSEMBLE,
    AFTER_PREDICTIONS,
    FinishedExperiment,
    model_file,
    predict_jobs,
    train_jobs,
)

Copy = Callable[[FinishedExperiment], FinishedExperiment]
ENSEMBLE = ("tuned", "student")
ALL_MODELS = train_jobs("base", *ENSEMBLE) | predict_jobs("base", *ENSEMBLE) | AFTER_PREDICTIONS

CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, set()),
    "runtime": ({"runtime": {"log_level": "debug", "jobs_per_gpu": 3}}, set()),
    "idle model": ({"models": {"idle": {"epochs": 9}, "other": {"extends": "tuned"}}}, set()),
    "inherited keys written out": (
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
    "value": ({"threshold": {"value": 128}}, AFTER_ENSEMBLE),
    "smallest area": ({"threshold": {"min_area": 5}}, AFTER_ENSEMBLE),
    "weights": ({"ensemble": {"weights": {"tuned": 2}}}, AFTER_PREDICTIONS),
    "searched weights": ({"ensemble": {"weights": "search"}}, AFTER_PREDICTIONS),
    "one ensemble model less": ({"ensemble": {"models": ["tuned"]}}, AFTER_PREDICTIONS),
    "one ensemble model more": (
        {"ensemble": {"models": ["tuned", "student", "idle"]}},
        train_jobs("idle") | predict_jobs("idle") | AFTER_PREDICTIONS,
    ),
    # Predictions of a teacher have no code digest, so one parameter changes.
    "an ensemble model becomes a teacher": (
        {"models": {"idle": {"teacher": "tuned"}}, "ensemble": {"models": ["tuned", "student", "idle"]}},
        train_jobs("idle") | predict_jobs("tuned", "idle") | AFTER_PREDICTIONS,
    ),
    "a trained model joins the ensemble": ({"ensemble": {"models": ["tuned", "student", "base"]}}, AFTER_PREDICTIONS),
    # Predictions are inputs of a student, but not of a model that starts from weights.
    "tta": ({"predict": {"tta": "none"}}, predict_jobs("base", *ENSEMBLE) | train_jobs("student") | AFTER_PREDICTIONS),
    "epochs of one model": (
        {"models": {"tuned": {"epochs": 2}}},
        train_jobs("tuned") | predict_jobs("tuned") | AFTER_PREDICTIONS,
    ),
    "loss of the student": (
        {"models": {"student": {"loss": "dice"}}},
        train_jobs("student") | predict_jobs("student") | AFTER_PREDICTIONS,
    ),
    "epochs of a model that others depend on": (
        {"models": {"base": {"epochs": 2}}},
        ALL_MODELS,
    ),
    "fewer selected folds": ({"folds": {"selected": [0]}}, AFTER_PREDICTIONS),
    "seed of the folds": (
        {"folds": {"seed": 1}},
        {"folds"} | ALL_MODELS,
    ),
    "name": (
        {"name": "other"},
        {"preprocess", "folds"} | ALL_MODELS,
    ),
    "data": (
        {"data": {"seed": 1}},
        {"synthesize", "preprocess", "folds"} | ALL_MODELS,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_settings_rerun_what_they_affect(staged: FinishedExperiment, change: str) -> None:
    changes, jobs = CHANGES[change]
    again = staged.dry_run(**changes)
    assert again.code == 0, again.output
    assert again.names == jobs
    assert all(job.reason for job in again.jobs)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, set()),
        ({"threshold": {"value": 128}}, AFTER_ENSEMBLE),
        ({"predict": {"tta": "none"}}, predict_jobs("base") | AFTER_PREDICTIONS),
        ({"models": {"base": {"epochs": 2}}}, train_jobs("base") | predict_jobs("base") | AFTER_PREDICTIONS),
    ],
    ids=["nothing", "threshold", "tta", "epochs"],
)
def test_changed_settings_after_a_run(finished: FinishedExperiment, changes: dict[str, Any], jobs: set[str]) -> None:
    assert finished.dry_run(**changes).names == jobs


def test_selecting_all_folds_again_trains_only_the_new_ones(tmp_path: Path, staged: FinishedExperiment) -> None:
    experiment = workflow_runner.merge(staged.experiment, {"folds": {"selected": [0]}})
    workflow_runner.finish_by_touch(tmp_path, experiment)
    again = workflow_runner.dry_run(tmp_path, staged.experiment)
    assert (
        again.names
        == train_jobs("base", *ENSEMBLE, folds=[1]) | predict_jobs("base", *ENSEMBLE, folds=[1]) | AFTER_PREDICTIONS
    )


def test_force_trains_one_fold(finished: FinishedExperiment, staged: FinishedExperiment) -> None:
    assert finished.dry_run(model_file("base", 1), "--force").names == {"train base 1"}
    assert staged.dry_run(model_file("tuned", 0), "--force").names == {"train tuned 0"}


def test_forcerun_trains_one_fold_and_reruns_what_depends_on_it(
    finished: FinishedExperiment, staged: FinishedExperiment
) -> None:
    one = {"folds": [1]}
    again = finished.dry_run("-R", model_file("base", 1))
    assert again.names == train_jobs("base", **one) | predict_jobs("base", **one) | AFTER_PREDICTIONS
    again = staged.dry_run("-R", model_file("tuned", 1))
    assert again.names == train_jobs("tuned", **one) | predict_jobs("tuned", **one) | AFTER_PREDICTIONS
    again = staged.dry_run("-R", model_file("base", 1))
    assert (
        again.names == train_jobs("base", *ENSEMBLE, **one) | predict_jobs("base", *ENSEMBLE, **one) | AFTER_PREDICTIONS
    )


def test_force_and_forcerun_of_all_folds_of_one_model(staged: FinishedExperiment) -> None:
    files = [model_file("student", fold) for fold in (0, 1)]
    assert staged.dry_run(*files, "--force").names == train_jobs("student")
    assert staged.dry_run("-R", *files).names == train_jobs("student") | predict_jobs("student") | AFTER_PREDICTIONS


def test_forcerun_of_all_predictions(staged: FinishedExperiment) -> None:
    # A student depends on the predictions of its teacher.
    assert (
        staged.dry_run("-R", "predict").names
        == predict_jobs("base", *ENSEMBLE) | train_jobs("student") | AFTER_PREDICTIONS
    )


# The jobs of the staged experiment that a changed module runs again. test_provenance.py tests the modules by rule.
CODE: dict[str, set[str]] = {
    "training/losses.py": {"report"},
    # Without those of the teacher, whose student would train again.
    "inference/backends.py": predict_jobs(*ENSEMBLE) | AFTER_PREDICTIONS,
    "postprocessing/ensemble_selection.py": AFTER_PREDICTIONS,
    "postprocessing/submission.py": {"submission", "report"},
}


@pytest.mark.parametrize("module", CODE)
def test_changed_code_reruns_what_it_affects(checkout: Path, staged: FinishedExperiment, module: str) -> None:
    with (checkout / "src/tgs_salt" / module).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    again = workflow_runner.dry_run(staged.folder, staged.experiment, root=checkout)
    assert again.code == 0, again.output
    assert again.names == CODE[module]


def test_another_checkout_of_the_same_code_reruns_nothing(checkout: Path, staged: FinishedExperiment) -> None:
    assert not workflow_runner.dry_run(staged.folder, staged.experiment, root=checkout).jobs


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code in another folder, with new file times."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copyfile(workflow_runner.ROOT / name, folder / name)
    for name in ("workflow", "src", "envs", "profiles"):
        shutil.copytree(
            workflow_runner.ROOT / name, folder / name, copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    return folder


def test_one_model_file_as_target_runs_only_what_it_needs(tmp_path: Path, staged: FinishedExperiment) -> None:
    fresh = workflow_runner.dry_run(tmp_path, staged.experiment, model_file("student", 1))
    before = {"synthesize", "preprocess", "folds"}
    assert fresh.names == before | train_jobs("base", "student", folds=[1]) | predict_jobs("base", folds=[1])


@pytest.mark.parametrize("model", ["base", *ENSEMBLE])
def test_deleted_weights_are_detected(copy: Copy, staged: FinishedExperiment, model: str) -> None:
    experiment = copy(staged)
    (experiment.folder / model_file(model, 0)).unlink()
    models = ("base", *ENSEMBLE) if model == "base" else (model,)
    assert (
        experiment.dry_run().names
        == train_jobs(*models, folds=[0]) | predict_jobs(*models, folds=[0]) | AFTER_PREDICTIONS
    )


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("submission.csv", {"submission", "report"}),
        ("report.html", {"report"}),
        ("threshold.json", {"threshold", "submission", "report"}),
        ("ensemble/oof.npy", AFTER_PREDICTIONS),
        ("ensemble/test.npy", AFTER_PREDICTIONS),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_deleted_result_reruns_only_what_it_affects(
    copy: Copy, staged: FinishedExperiment, file: str, jobs: set[str]
) -> None:
    experiment = copy(staged)
    (experiment.results / file).unlink()
    assert experiment.dry_run().names == jobs


def test_a_moved_folder_reruns_nothing(copy: Copy, staged: FinishedExperiment) -> None:
    assert not copy(staged).dry_run().jobs


def test_results_without_snakemake_metadata_rerun_nothing(copy: Copy, staged: FinishedExperiment) -> None:
    bare = copy(staged)
    shutil.rmtree(bare.folder / ".snakemake")
    assert not bare.dry_run().jobs

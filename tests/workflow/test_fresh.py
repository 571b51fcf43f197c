"""The jobs of a run in an empty folder: all that the settings need, and no others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import workflow_runner
from helpers.workflow_runner import AFTER_PREDICTIONS, predict_jobs, train_jobs

from tgs_salt.settings import Settings, load_files

PRESETS = sorted((workflow_runner.ROOT / "workflow" / "presets").glob("*.yaml"))
SOURCE_RULES = {"kaggle": {"download"}, "synthetic": {"synthesize"}, "directory": set()}


def expected_jobs(settings: Settings) -> set[str]:
    """Return the names of all jobs that the settings need."""
    folds = settings.folds.selected_folds
    teachers = {settings.models[name].teacher for name in settings.required_models} - {None}
    return (
        SOURCE_RULES[settings.data.source]
        | {"preprocess", "folds"}
        | train_jobs(*settings.required_models, folds=folds)
        | predict_jobs(*settings.ensemble_models, *map(str, teachers), folds=folds)
        | AFTER_PREDICTIONS
    )


def test_presets_exist() -> None:
    assert PRESETS


@pytest.mark.parametrize("overlay", [None, *PRESETS], ids=lambda path: path.stem if path else "config")
def test_every_job_is_planned_once_and_has_a_reason(tmp_path: Path, overlay: Path | None) -> None:
    fresh = workflow_runner.dry_run(tmp_path, overlay)
    assert fresh.code == 0, fresh.output
    assert [job.name for job in fresh.jobs if not job.reason] == []
    assert max(Counter(job.name for job in fresh.jobs).values()) == 1
    settings = load_files(*filter(None, [workflow_runner.CONFIG, overlay]))
    assert fresh.names == expected_jobs(settings)
    assert not any("checkpoints" in path for job in fresh.jobs for path in job.output)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_only_its_own_models(tmp_path: Path, preset: Path) -> None:
    own = set(yaml.safe_load(preset.read_text())["models"])
    trained = {name.split()[1] for name in workflow_runner.dry_run(tmp_path, preset).names if name.startswith("train ")}
    assert trained and trained <= own


def test_more_stages_of_the_cpu_preset_keep_the_trained_models(tmp_path: Path) -> None:
    preset = workflow_runner.ROOT / "workflow" / "presets" / "cpu.yaml"
    ensemble = "ensemble={'models': ['restart', 'pseudo1', 'pseudo2'], 'weights': 'search'}"
    longer = workflow_runner.dry_run(tmp_path, preset, "--config", ensemble)
    default = workflow_runner.dry_run(tmp_path, preset)
    new = ("pseudo1", "pseudo2")
    assert longer.names - default.names == train_jobs(*new, folds=range(5)) | predict_jobs(*new, folds=range(5))
    assert default.names <= longer.names


def test_only_models_that_the_ensemble_needs_are_trained(tmp_path: Path) -> None:
    models = {
        "tuned": {"extends": "base", "init_from": "base"},
        "student": {"extends": "base", "teacher": "tuned"},
        "idle": {"extends": "base", "teacher": "student", "init_from": "tuned"},
    }
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(models=models, ensemble={"models": ["student"]}))
    # base is only a starting point: its weights are needed, its predictions are not.
    dataset = {"synthesize", "preprocess", "folds"}
    assert (
        fresh.names
        == dataset | train_jobs("base", "tuned", "student") | predict_jobs("tuned", "student") | AFTER_PREDICTIONS
    )


def test_the_ensemble_defaults_to_all_models(tmp_path: Path) -> None:
    fresh = workflow_runner.dry_run(
        tmp_path, workflow_runner.tiny(models={"more": {"extends": "base"}}, ensemble={"models": None})
    )
    # The overlay adds to the models of config.yaml.
    assert fresh.names >= train_jobs("base", "more", "unet", "lovasz") | predict_jobs("base", "more", "unet", "lovasz")


def test_one_selected_fold_runs_to_the_end(tmp_path: Path) -> None:
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(folds={"selected": [1]}))
    dataset = {"synthesize", "preprocess", "folds"}
    assert fresh.names == dataset | train_jobs("base", folds=[1]) | predict_jobs("base", folds=[1]) | AFTER_PREDICTIONS


def test_submit_is_a_separate_target(tmp_path: Path) -> None:
    kaggle = workflow_runner.tiny(data={"source": "kaggle"})
    everything = workflow_runner.dry_run(tmp_path, kaggle)
    submit = workflow_runner.dry_run(tmp_path, kaggle, "submit")
    assert everything.code == submit.code == 0
    assert "submit" not in everything.names
    assert submit.names == everything.names - {"report"} | {"submit"}


def test_a_synthetic_dataset_cannot_be_submitted(tmp_path: Path) -> None:
    failed = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "submit")
    assert failed.code == 1
    assert "submit: this dataset is synthetic and has no competition; set data.source to kaggle." in failed.output


def test_each_shard_of_the_test_tiles_is_a_job(tmp_path: Path) -> None:
    whole = workflow_runner.dry_run(tmp_path, workflow_runner.tiny())
    sharded = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(predict={"shards": 3}))
    test = {f"predict base {fold} test" for fold in (0, 1)}
    shards = {f"predict_shard base {fold} {shard}" for fold in (0, 1) for shard in range(3)}
    assert sharded.names == whole.names - test | shards | {f"merge_shards base {fold}" for fold in (0, 1)}

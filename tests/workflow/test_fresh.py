"""What a fresh folder holds: every job of the experiment with its reason, and none of any other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import workflow_runner
from helpers.workflow_runner import BELOW, predicts, trains

from tgs_salt.settings import Settings, load_files

PRESETS = sorted((workflow_runner.ROOT / "workflow" / "presets").glob("*.yaml"))
SOURCE_RULES = {"kaggle": {"download"}, "synthetic": {"synthesize"}, "directory": set()}


def expected(settings: Settings) -> set[str]:
    folds = settings.folds.used
    teachers = {settings.models[name].teacher for name in settings.needed} - {None}
    return (
        SOURCE_RULES[settings.data.source]
        | {"preprocess", "folds"}
        | trains(*settings.needed, folds=folds)
        | predicts(*settings.voters, *map(str, teachers), folds=folds)
        | BELOW
    )


def test_there_is_a_preset() -> None:
    assert PRESETS


@pytest.mark.parametrize("overlay", [None, *PRESETS], ids=lambda path: path.stem if path else "config")
def test_every_job_is_there_once_and_says_why(tmp_path: Path, overlay: Path | None) -> None:
    fresh = workflow_runner.dry_run(tmp_path, overlay)
    assert fresh.code == 0, fresh.output
    assert [job.name for job in fresh.jobs if not job.reason] == []
    assert max(Counter(job.name for job in fresh.jobs).values()) == 1
    settings = load_files(*filter(None, [workflow_runner.CONFIG, overlay]))
    assert fresh.names == expected(settings)
    assert not any("checkpoints" in path for job in fresh.jobs for path in job.output)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_its_own_models_alone(tmp_path: Path, preset: Path) -> None:
    own = set(yaml.safe_load(preset.read_text())["models"])
    trained = {name.split()[1] for name in workflow_runner.dry_run(tmp_path, preset).names if name.startswith("train ")}
    assert trained and trained <= own


def test_another_sitting_of_the_cpu_preset_trains_its_further_stages_alone(tmp_path: Path) -> None:
    preset = workflow_runner.ROOT / "workflow" / "presets" / "cpu.yaml"
    votes = "ensemble={'models': ['again', 'taught', 'further'], 'weights': 'search'}"
    longer = workflow_runner.dry_run(tmp_path, preset, "--config", votes)
    usual = workflow_runner.dry_run(tmp_path, preset)
    more = ("taught", "further")
    assert longer.names - usual.names == trains(*more, folds=range(5)) | predicts(*more, folds=range(5))
    assert usual.names <= longer.names


def test_only_what_the_voters_reach_is_trained(tmp_path: Path) -> None:
    models = {
        "tuned": {"extends": "base", "init_from": "base"},
        "student": {"extends": "base", "teacher": "tuned"},
        "idle": {"extends": "base", "teacher": "student", "init_from": "tuned"},
    }
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(models=models, ensemble={"models": ["student"]}))
    # base is neither asked for a vote nor for lessons: its weights are enough.
    dataset = {"synthesize", "preprocess", "folds"}
    assert fresh.names == dataset | trains("base", "tuned", "student") | predicts("tuned", "student") | BELOW


def test_all_models_vote_if_none_is_named(tmp_path: Path) -> None:
    fresh = workflow_runner.dry_run(
        tmp_path, workflow_runner.tiny(models={"more": {"extends": "base"}}, ensemble={"models": None})
    )
    # config.yaml's models are still there, under the overlay's.
    assert fresh.names >= trains("base", "more", "unet", "lovasz") | predicts("base", "more", "unet", "lovasz")


def test_one_fold_is_a_whole_experiment(tmp_path: Path) -> None:
    fresh = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(folds={"selected": [1]}))
    dataset = {"synthesize", "preprocess", "folds"}
    assert fresh.names == dataset | trains("base", folds=[1]) | predicts("base", folds=[1]) | BELOW


def test_sending_is_a_target_of_its_own(tmp_path: Path) -> None:
    kaggle = workflow_runner.tiny(data={"source": "kaggle"})
    everything = workflow_runner.dry_run(tmp_path, kaggle)
    asked = workflow_runner.dry_run(tmp_path, kaggle, "submit")
    assert everything.code == asked.code == 0
    assert "submit" not in everything.names
    assert asked.names == everything.names - {"report"} | {"submit"}


def test_a_drawn_dataset_is_sent_to_nobody(tmp_path: Path) -> None:
    asked = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(), "submit")
    assert asked.code == 1
    assert "submit: this dataset is synthetic, so there is no competition for it; set data.source." in asked.output


def test_shards_of_the_test_tiles_are_jobs(tmp_path: Path) -> None:
    whole = workflow_runner.dry_run(tmp_path, workflow_runner.tiny())
    parted = workflow_runner.dry_run(tmp_path, workflow_runner.tiny(predict={"shards": 3}))
    test = {f"predict base {fold} test" for fold in (0, 1)}
    shards = {f"predict_shard base {fold} {shard}" for fold in (0, 1) for shard in range(3)}
    assert parted.names == whole.names - test | shards | {f"merge_shards base {fold}" for fold in (0, 1)}

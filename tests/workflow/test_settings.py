"""The table of docs/reliability.md, "What runs again": each of its keys is changed in a dry run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment

from tgs_salt.settings import Augment, Model, Settings

DOCUMENT = workflow_runner.ROOT / "docs" / "reliability.md"
RULES = set(
    re.findall(
        r"^ *rule (\w+):", "".join(p.read_text() for p in workflow_runner.ROOT.glob("workflow/rules/*.smk")), re.M
    )
)
# Another value for every key of an experiment with a synthetic dataset and a U-Net `base`.
VALUES: dict[str, Any] = {
    "name": "other",
    "data.source": "directory", "data.directory": "raw", "data.competition": "other", "data.tile_size": 64,
    "data.train_tiles": 30, "data.test_tiles": 9, "data.seed": 1,
    "folds.n_splits": 3, "folds.selected": [0], "folds.seed": 1,
    "models.*.extends": "other", "models.*.architecture": "article", "models.*.encoder": "resnet18",
    "models.*.encoder_weights": "none", "models.*.decoder_channels": [64, 32, 32, 16, 16],
    "models.*.decoder_attention": "scse", "models.*.hypercolumn": True, "models.*.deep_supervision": True,
    "models.*.empty_head": True, "models.*.depth_channels": True, "models.*.resize_mode": "resize",
    "models.*.input_size": 64, "models.*.init_from": "idle", "models.*.teacher": "idle",
    "models.*.pseudo_labels": "hard", "models.*.pseudo_label_min_confidence": 0.5, "models.*.loss": "dice",
    "models.*.epochs": 2, "models.*.batch_size": 6, "models.*.learning_rate": 0.1,
    "models.*.encoder_lr_multiplier": 0.5, "models.*.weight_decay": 0.1, "models.*.optimizer": "sgd",
    "models.*.lr_scheduler": "cosine", "models.*.weight_averaging": "swa", "models.*.ema_decay": 0.5,
    "models.*.keep_weights": "best_score", "models.*.early_stopping_patience": 3, "models.*.compile": True,
    "models.*.seed": 1, "models.*.threads": 2,
    **{f"models.*.augment.{key}": 0.25 for key in Augment.model_fields},
    "predict.tta": "none", "predict.batch_size": 4, "predict.backend": "eager", "predict.shards": 2,
    "ensemble.models": ["base"], "ensemble.weights": {"base": 2},
    "threshold.value": 9, "threshold.min_area": 9, "threshold.inner_splits": 3,
    "runtime.log_level": "debug", "runtime.jobs_per_gpu": 2, "runtime.gpu_allocation": "auto",
    "runtime.checkpoint_minutes": 1,
}  # fmt: skip


def documented_rows() -> list[tuple[list[str], set[str]]]:
    """Return the keys and the rules of each row of the table, without exceptions after a semicolon."""
    text = DOCUMENT.read_text().partition("## What runs again")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [
        (re.findall(r"`([\w.*]+)`", keys), RULES & set(re.findall(r"`(\w+)`", rules.partition(";")[0])))
        for keys, rules in rows
    ]


def every_key() -> set[str]:
    keys = {"name"}
    for section, field in Settings.model_fields.items():
        if section not in ("name", "models"):
            keys |= {f"{section}.{key}" for key in field.annotation.model_fields}
    keys |= {f"models.*.{key}" for key in Model.model_fields if key != "augment"}
    return keys | {f"models.*.augment.{key}" for key in Augment.model_fields}


def test_every_key_has_one_row() -> None:
    keys = [key for row, _ in documented_rows() for key in row]
    assert sorted(keys) == sorted(every_key()) == sorted(VALUES)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    return touched(tmp_path_factory, {"source": "synthetic"})


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    return touched(tmp_path_factory, {"source": "kaggle"})


def touched(tmp_path_factory: pytest.TempPathFactory, dataset: dict[str, Any]) -> FinishedExperiment:
    """Return an experiment with placeholder files: two models in the ensemble and one that is unused."""
    folder = tmp_path_factory.mktemp("touched")
    unet = {"architecture": "unet", "epochs": 1, "threads": 1}
    models = {"base": unet, "idle": {**unet, "seed": 3}, "other": unet}
    ensemble = {"models": ["base", "other"]}
    experiment = workflow_runner.tiny(data=dataset, models=models, ensemble=ensemble, folds={"selected": [0, 1]})
    (folder / "raw").mkdir()
    (folder / "raw/train.csv").touch()
    workflow_runner.finish_by_touch(folder, experiment)
    return FinishedExperiment(folder, experiment)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "rules"), [(key, rules) for keys, rules in documented_rows() for key in keys])
def test_a_changed_key_reruns_the_documented_rules(request: pytest.FixtureRequest, key: str, rules: set[str]) -> None:
    experiment = request.getfixturevalue("downloaded" if key == "data.competition" else "synthetic")
    changes: Any = VALUES[key]
    for name in reversed(key.replace("*", "base").split(".")):
        changes = {name: changes}
    if key in ("data.source", "data.directory"):
        changes = {"data": {"source": "directory", "directory": "raw"}}
    again = experiment.dry_run(**changes)
    assert again.code == 0, again.output
    # `idle` is trained as soon as another model needs it.
    assert {job.name.split()[0] for job in again.jobs if "idle" not in job.name} == rules

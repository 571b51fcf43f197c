"""The table of docs/reliability.md, "What runs again": each of its keys tried on the real Snakefile."""

from __future__ import annotations

import re
from typing import Any

import pytest
import snakes
from snakes import Finished

from tgs_salt.settings import Augment, Model, Settings

DOCUMENT = snakes.ROOT / "docs" / "reliability.md"
RULES = set(
    re.findall(r"^ *rule (\w+):", "".join(p.read_text() for p in snakes.ROOT.glob("workflow/rules/*.smk")), re.M)
)
# Another value for every key, of a drawn survey and of a model `base` that is a U-Net.
VALUES: dict[str, Any] = {
    "name": "other", "survey.source": "directory", "survey.directory": "drawn", "survey.competition": "other",
    "survey.tile_size": 64, "survey.train_tiles": 30, "survey.test_tiles": 9, "survey.seed": 1,
    "folds.count": 3, "folds.use": [0], "folds.seed": 1,
    "models.*.like": "other", "models.*.network": "article", "models.*.encoder": "resnet18",
    "models.*.weights": "none", "models.*.decoder_channels": [64, 32, 32, 16, 16], "models.*.attention": "scse",
    "models.*.hypercolumn": True, "models.*.deep_supervision": True, "models.*.empty_head": True,
    "models.*.channels": 3, "models.*.fit": "resize", "models.*.input_size": 64, "models.*.init_from": "idle",
    "models.*.teacher": "idle", "models.*.teaching": "hard", "models.*.teacher_sure": 0.5, "models.*.loss": "dice",
    "models.*.epochs": 2, "models.*.batch_size": 6, "models.*.learning_rate": 0.1, "models.*.encoder_rate": 0.5,
    "models.*.weight_decay": 0.1, "models.*.optimiser": "sgd", "models.*.schedule": "cosine",
    "models.*.average": 0.5, "models.*.keep": "score", "models.*.patience": 3, "models.*.compile": True,
    "models.*.seed": 1, "models.*.threads": 2,
    **{f"models.*.augment.{key}": 0.25 for key in Augment.model_fields},
    "predict.tta": "none", "predict.batch_size": 4, "predict.engine": "eager", "predict.shards": 2,
    "ensemble.models": ["base"], "ensemble.weights": {"base": 2},
    "threshold.level": 9, "threshold.min_area": 9, "threshold.parts": 3,
    "runtime.log_level": "debug", "runtime.slots_per_device": 2, "runtime.gpus": "auto",
    "runtime.checkpoint_minutes": 1,
}  # fmt: skip


def documented() -> list[tuple[list[str], set[str]]]:
    """The keys and the rules of each row of the table; what follows a semicolon is a case apart."""
    text = DOCUMENT.read_text().partition("## What runs again")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [
        (re.findall(r"`([\w.*]+)`", keys), RULES & set(re.findall(r"`(\w+)`", rules.partition(";")[0])))
        for keys, rules in rows
    ]


def every_key() -> set[str]:
    found = {"name"}
    for section, field in Settings.model_fields.items():
        if section not in ("name", "models"):
            found |= {f"{section}.{key}" for key in field.annotation.model_fields}
    found |= {f"models.*.{key}" for key in Model.model_fields if key != "augment"}
    return found | {f"models.*.augment.{key}" for key in Augment.model_fields}


def test_every_key_has_one_row() -> None:
    keys = [key for row, _ in documented() for key in row]
    assert sorted(keys) == sorted(every_key()) == sorted(VALUES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return touched(tmp_path_factory, {"source": "synthetic"})


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return touched(tmp_path_factory, {"source": "kaggle"})


def touched(tmp_path_factory: pytest.TempPathFactory, survey: dict[str, Any]) -> Finished:
    """An experiment that looks finished to Snakemake, of two models that vote and one that nobody needs."""
    folder = tmp_path_factory.mktemp("touched")
    unet = {"network": "unet", "epochs": 1, "threads": 1}
    models = {"base": unet, "idle": {**unet, "seed": 3}, "other": unet}
    votes = {"models": ["base", "other"]}
    experiment = snakes.tiny(survey=survey, models=models, ensemble=votes, folds={"use": [0, 1]})
    (folder / "drawn").mkdir()
    (folder / "drawn/train.csv").touch()
    snakes.finish_by_touch(folder, experiment)
    return Finished(folder, experiment)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "rules"), [(key, rules) for keys, rules in documented() for key in keys])
def test_a_changed_setting_runs_what_the_table_says(request: pytest.FixtureRequest, key: str, rules: set[str]) -> None:
    experiment = request.getfixturevalue("fetched" if key == "survey.competition" else "drawn")
    changes: Any = VALUES[key]
    for name in reversed(key.replace("*", "base").split(".")):
        changes = {name: changes}
    if key in ("survey.source", "survey.directory"):
        changes = {"survey": {"source": "directory", "directory": "drawn"}}
    again = experiment.dry_run(**changes)
    assert again.code == 0, again.output
    # `idle` has to be trained once it is needed.
    assert {job.name.split()[0] for job in again.jobs if "idle" not in job.name} == rules

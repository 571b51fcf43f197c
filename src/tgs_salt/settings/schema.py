"""Sections of the configuration and the constraints between them; `model` has the keys of a model.

`tgs-salt config`, the JSON schema for editors and the documentation are generated from these classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tgs_salt.settings.model import Model
from tgs_salt.settings.types import (
    MAX_TILE_SIZE,
    ConfigModel,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    reject_bool,
)

TRAIN_TILES, TEST_TILES = 4000, 18000  # of the competition
SYNTHETIC_TRAIN_TILES, SYNTHETIC_TEST_TILES = 600, 300


class Data(ConfigModel):
    """Source and expected size of the dataset."""

    source: Literal["kaggle", "directory", "synthetic"] = Field(
        "kaggle",
        description="kaggle: download with the kaggle client; directory: read in place; synthetic: generate",
    )
    directory: str | None = Field(
        None, description="for source: directory, a folder or zip in Kaggle's layout, relative to the working directory"
    )
    competition: Name = Field(
        "tgs-salt-identification-challenge", description="name of the competition in its Kaggle URL"
    )
    tile_size: Annotated[int, Field(ge=16, le=MAX_TILE_SIZE), BeforeValidator(reject_bool)] = Field(
        101, description="height and width of a tile in pixels"
    )
    train_tiles: PositiveInt | None = Field(
        None,
        description="number of labeled tiles expected (kaggle: 4000) or generated (synthetic: 600); null: any number",
    )
    test_tiles: PositiveInt | None = Field(
        None,
        description="number of test tiles expected (kaggle: 18000) or generated (synthetic: 300); null: any number",
    )
    seed: NonNegativeInt = Field(0, description="seed of the synthetic dataset")

    @model_validator(mode="after")
    def _fill_tile_counts(self) -> Data:
        if self.source == "directory" and not self.directory:
            raise ValueError("directory: set the folder or zip of the dataset (required by data.source: directory)")
        defaults = {"kaggle": (TRAIN_TILES, TEST_TILES), "synthetic": (SYNTHETIC_TRAIN_TILES, SYNTHETIC_TEST_TILES)}
        for key, count in zip(("train_tiles", "test_tiles"), defaults.get(self.source, (None, None)), strict=True):
            if getattr(self, key) is None:
                object.__setattr__(self, key, count)
        return self


class Folds(ConfigModel):
    """Cross-validation."""

    n_splits: Annotated[int, Field(ge=2, le=1000), BeforeValidator(reject_bool)] = Field(
        5, description="number of folds"
    )
    selected: list[NonNegativeInt] | None = Field(
        None, description="folds to train, such as [0] for a single split; null: all"
    )
    seed: NonNegativeInt = Field(0, description="seed of the shuffle within each stratum")

    @model_validator(mode="after")
    def _check_selected(self) -> Folds:
        if self.selected is not None:
            unknown = [fold for fold in self.selected if fold >= self.n_splits]
            if unknown or not self.selected or len(set(self.selected)) < len(self.selected):
                raise ValueError(
                    f"selected: expected distinct folds from 0 to {self.n_splits - 1} "
                    f"(folds.n_splits is {self.n_splits}), found {self.selected}"
                )
        return self

    @property
    def selected_folds(self) -> list[int]:
        """Return the folds that are trained, in ascending order."""
        return sorted(self.selected) if self.selected is not None else list(range(self.n_splits))


class Predict(ConfigModel):
    """Inference: from weights to uint8 probabilities."""

    tta: Literal["none", "hflip"] = Field(
        "hflip", description="test-time augmentation; hflip: average with the prediction of the left-right flipped tile"
    )
    batch_size: PositiveInt | None = Field(None, description="tiles per batch; null: 16 on a CPU, 256 on a GPU")
    backend: Literal["torchscript", "openvino", "eager"] = Field(
        "torchscript",
        description="engine on a CPU: a frozen TorchScript graph, OpenVINO (the extra tgs-salt[openvino]) or eager "
        "PyTorch; a GPU always uses eager PyTorch",
    )
    shards: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(reject_bool)] = Field(
        1,
        description="number of jobs that share the test predictions of a model and fold; does not change the result",
    )


class Ensemble(ConfigModel):
    """Models of the ensemble and their weights."""

    models: list[Name] | None = Field(None, description="models of the ensemble; null: all of `models`")
    weights: dict[str, PositiveInt] | Literal["search"] = Field(
        {}, description="integer weight of each model (default 1), or search: the best out-of-fold score"
    )


class Threshold(ConfigModel):
    """Binarization: from probabilities to masks."""

    value: Literal["search"] | Annotated[int, Field(ge=0, le=255), BeforeValidator(reject_bool)] = Field(
        "search",
        description="a pixel is salt where its uint8 probability >= value: 0 to 255, "
        "or search: the best out-of-fold score",
    )
    min_area: Literal["search"] | NonNegativeInt = Field(
        "search",
        description="a mask with fewer salt pixels becomes empty: a number of pixels, "
        "or search: the best out-of-fold score",
    )
    inner_splits: Annotated[int, Field(ge=2), BeforeValidator(reject_bool)] = Field(
        5, description="with a single selected fold, number of splits of its tiles for the cross-fitted score"
    )


class Runtime(ConfigModel):
    """Settings that never trigger a rerun."""

    log_level: Literal["debug", "info", "warning"] = Field("info", description="minimum level of log messages")
    jobs_per_gpu: PositiveInt = Field(1, description="number of jobs that may share one GPU")
    gpu_allocation: Literal["snakemake", "auto"] = Field(
        "snakemake",
        description="snakemake: a job uses the GPU that Snakemake allocates from --resources gpu=N; auto: a GPU that "
        "the scheduler made visible, for clusters that manage GPUs only as gres",
    )
    checkpoint_minutes: PositiveFloat = Field(
        10, description="minutes between checkpoints within an epoch; every epoch also ends with a checkpoint"
    )


class Settings(ConfigModel):
    """Settings of an experiment."""

    name: Name = Field("tgs", description="name of the experiment; its files are in results/<name>")
    data: Data = Field(default_factory=Data, description="source of the dataset")
    folds: Folds = Field(default_factory=Folds, description="cross-validation")
    models: dict[Name, Model] = Field(description="models by name; only those that the ensemble requires are trained")
    predict: Predict = Field(default_factory=Predict, description="inference: from weights to probabilities")
    ensemble: Ensemble = Field(default_factory=Ensemble, description="models of the ensemble and their weights")
    threshold: Threshold = Field(default_factory=Threshold, description="binarization: from probabilities to masks")
    runtime: Runtime = Field(default_factory=Runtime, description="settings that never trigger a rerun")

    @model_validator(mode="after")
    def _check_references(self) -> Settings:
        if not self.models:
            raise ValueError("models: expected at least one model")
        for key, names in (
            ("ensemble.models", self.ensemble.models or []),
            ("ensemble.weights", () if self.ensemble.weights == "search" else self.ensemble.weights),
        ):
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{key}: unknown model {name!r}; available models: {', '.join(self.models)}")
        if self.ensemble.models is not None and len(set(self.ensemble.models)) < max(1, len(self.ensemble.models)):
            raise ValueError(
                "ensemble.models: expected distinct models, at least one; to weight them, use ensemble.weights"
            )
        self._with_dependencies(self.models)
        return self

    def _with_dependencies(self, names: Iterable[str]) -> set[str]:
        """Return `names` and all models that they depend on through init_from and teacher."""
        required: set[str] = set()
        for name in names:
            self._add_dependencies(name, required, [])
        return required

    def _add_dependencies(self, name: str, required: set[str], path: list[str]) -> None:
        """Add `name` and its dependencies to `required`; `path` leads from a model to `name`, to detect cycles."""
        if name in path:
            raise ValueError(f"models: {' -> '.join([*path, name])} is circular; remove one init_from or teacher")
        if name in required:
            return
        for key in ("init_from", "teacher"):
            source = getattr(self.models[name], key)
            if source is not None and source not in self.models:
                raise ValueError(
                    f"models.{name}.{key}: unknown model {source!r}; available models: {', '.join(self.models)}"
                )
            if source is not None:
                self._add_dependencies(source, required, [*path, name])
        required.add(name)

    @property
    def ensemble_models(self) -> list[str]:
        """Return the names of the ensemble's models, in the order of `ensemble.models`."""
        return list(self.ensemble.models if self.ensemble.models is not None else self.models)

    @property
    def required_models(self) -> list[str]:
        """Return the names of the models to train: the ensemble and its dependencies, in the order of `models`."""
        required = self._with_dependencies(self.ensemble_models)
        return [name for name in self.models if name in required]

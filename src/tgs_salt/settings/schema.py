"""The configuration: its sections, and what has to hold between them. With `model` and `kinds` its only definition.

`config.yaml`, the command line, the JSON schema for editors and the documentation all derive from these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tgs_salt.settings.model import Model
from tgs_salt.settings.types import MAX_TILE_SIZE, ConfigModel, Count, Name, Positive, Whole, no_bool

TRAIN_TILES, TEST_TILES = 4000, 18000  # what Kaggle hands out
DRAWN_TRAIN_TILES, DRAWN_TEST_TILES = 600, 300


class Data(ConfigModel):
    source: Literal["kaggle", "directory", "synthetic"] = Field(
        "kaggle",
        description="kaggle: download with the kaggle client; directory: read in place; synthetic: generate it",
    )
    directory: str | None = Field(
        None, description="source directory: a folder or one zip in Kaggle's layout, relative to the working directory"
    )
    competition: Name = Field("tgs-salt-identification-challenge", description="Kaggle's slug of the competition")
    tile_size: Annotated[int, Field(ge=16, le=MAX_TILE_SIZE), BeforeValidator(no_bool)] = Field(
        101, description="height and width of a tile in pixels"
    )
    train_tiles: Count | None = Field(
        None, description="labelled tiles expected (kaggle: 4000) or generated (synthetic: 600); null: any number"
    )
    test_tiles: Count | None = Field(
        None, description="test tiles expected (kaggle: 18000) or generated (synthetic: 300); null: any number"
    )
    seed: Whole = Field(0, description="seed of the synthetic dataset")

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if self.source == "directory" and not self.directory:
            raise ValueError("directory: name the folder or zip that holds the dataset (data.source: directory)")
        defaults = {"kaggle": (TRAIN_TILES, TEST_TILES), "synthetic": (DRAWN_TRAIN_TILES, DRAWN_TEST_TILES)}
        for key, count in zip(("train_tiles", "test_tiles"), defaults.get(self.source, (None, None)), strict=True):
            if getattr(self, key) is None:
                object.__setattr__(self, key, count)
        return self


class Folds(ConfigModel):
    n_splits: Annotated[int, Field(ge=2, le=1000), BeforeValidator(no_bool)] = Field(5, description="number of folds")
    selected: list[Whole] | None = Field(None, description="folds to train, such as [0] for a single split; null: all")
    seed: Whole = Field(0, description="seed of the shuffle within strata")

    @model_validator(mode="after")
    def _known_folds(self) -> Folds:
        if self.selected is not None:
            bad = [fold for fold in self.selected if fold >= self.n_splits]
            if bad or not self.selected or len(set(self.selected)) < len(self.selected):
                raise ValueError(
                    f"selected: name each fold once, from 0 to {self.n_splits - 1} (folds.n_splits is {self.n_splits}), "
                    f"found {self.selected}"
                )
        return self

    @property
    def used(self) -> list[int]:
        """The folds that are trained, ascending."""
        return sorted(self.selected) if self.selected is not None else list(range(self.n_splits))


class Predict(ConfigModel):
    tta: Literal["none", "hflip"] = Field("hflip", description="average with the left-right flipped tile")
    batch_size: Count | None = Field(None, description="tiles a step; null: 16 on a CPU, 256 on a GPU")
    backend: Literal["torchscript", "openvino", "eager"] = Field(
        "torchscript",
        description="on a CPU: a frozen TorchScript graph, OpenVINO (an extra to install) or plain torch; a GPU uses torch",
    )
    shards: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(no_bool)] = Field(
        1,
        description="jobs that share the test predictions of a model and fold; changes no result",
    )


class Ensemble(ConfigModel):
    models: list[Name] | None = Field(None, description="the models that vote; null: all of `models`")
    weights: dict[str, Count] | Literal["search"] = Field(
        {}, description="votes of each model as a whole number (1 if not named), or search: the best out of fold"
    )


class Threshold(ConfigModel):
    value: Literal["search"] | Annotated[int, Field(ge=0, le=255), BeforeValidator(no_bool)] = Field(
        "search", description="a pixel is salt where its byte >= value: 0 to 255, or search: the best out of fold"
    )
    min_area: Literal["search"] | Whole = Field(
        "search",
        description="a tile with fewer salt pixels is empty: a number of pixels, or search: the best out of fold",
    )
    inner_splits: Annotated[int, Field(ge=2), BeforeValidator(no_bool)] = Field(
        5, description="with a single selected fold, splits of its tiles over which the score is cross-fitted"
    )


class Runtime(ConfigModel):
    """Settings that never cause a rerun."""

    log_level: Literal["debug", "info", "warning"] = Field("info", description="least severe messages in the logs")
    jobs_per_gpu: Count = Field(1, description="trainings that share one GPU")
    gpu_allocation: Literal["snakemake", "auto"] = Field(
        "snakemake",
        description="snakemake: a job uses the GPUs that --resources gpu=N grants; auto: those that the cluster made "
        "visible, for clusters that manage GPUs as gres only",
    )
    checkpoint_minutes: Positive = Field(
        10, description="minutes between checkpoints within an epoch; each epoch also ends with one"
    )


class Settings(ConfigModel):
    """A whole experiment."""

    name: Name = Field("tgs", description="name of the experiment: its files are in results/<name>")
    data: Data = Field(default_factory=Data, description="source of the tiles")
    folds: Folds = Field(default_factory=Folds, description="cross-validation")
    models: dict[Name, Model] = Field(description="models by name; only those that the ensemble needs are trained")
    predict: Predict = Field(default_factory=Predict, description="from weights to probability bytes")
    ensemble: Ensemble = Field(default_factory=Ensemble, description="models that vote")
    threshold: Threshold = Field(default_factory=Threshold, description="from probabilities to masks")
    runtime: Runtime = Field(default_factory=Runtime, description="settings that never cause a rerun")

    @model_validator(mode="after")
    def _voters_exist(self) -> Settings:
        if not self.models:
            raise ValueError("models: at least one model is needed")
        for key, names in (
            ("ensemble.models", self.ensemble.models or []),
            ("ensemble.weights", () if self.ensemble.weights == "search" else self.ensemble.weights),
        ):
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{key}: there is no model {name!r}; models are {', '.join(self.models)}")
        if self.ensemble.models is not None and len(set(self.ensemble.models)) < max(1, len(self.ensemble.models)):
            raise ValueError(
                "ensemble.models: name at least one model, and each once (for more votes: ensemble.weights)"
            )
        reached: set[str] = set()
        for name in self.models:
            self._reach(name, reached, [])
        return self

    def _reach(self, name: str, reached: set[str], path: list[str]) -> None:
        """Add `name`, and all that it reaches through init_from and teacher, to what is `reached` already."""
        if name in path:
            raise ValueError(f"models: {' -> '.join([*path, name])} is a circle; a stage can only follow another")
        if name in reached:
            return
        for key in ("init_from", "teacher"):
            source = getattr(self.models[name], key)
            if source is not None and source not in self.models:
                raise ValueError(
                    f"models.{name}.{key}: there is no model {source!r}; models are {', '.join(self.models)}"
                )
            if source is not None:
                self._reach(source, reached, [*path, name])
        reached.add(name)

    @property
    def voters(self) -> list[str]:
        """Names of the models that vote, in the order in which they are configured."""
        return list(self.ensemble.models if self.ensemble.models is not None else self.models)

    @property
    def needed(self) -> list[str]:
        """Names of the models that have to be trained: the voters and what they start or learn from."""
        reached: set[str] = set()
        for name in self.voters:
            self._reach(name, reached, [])
        return [name for name in self.models if name in reached]

"""The only definition of a configuration key: its type, bounds, default and help.

`config.yaml`, the command line, the JSON schema for editors and the documentation all derive from these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tgs_salt.settings.loss import parse_loss

TRAIN_TILES, TEST_TILES = 4000, 18000  # what Kaggle hands out
DRAWN_TRAIN_TILES, DRAWN_TEST_TILES = 600, 300
SQUEEZE = 16  # SMP's scSE has one channel for so many
BILLION = 10**9
LARGEST_TILE = 4096  # pixels of a tile's side
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not yes or no")
    return value


def _digit(value: Any) -> Any:
    """A literal number is compared, not coerced, so its text has to become one."""
    return int(value) if isinstance(value, str) and value.isdecimal() else _no_bool(value)


def _countable(value: int) -> int:
    if value > BILLION:
        raise ValueError("a whole number up to a billion is expected")
    return value


Count = Annotated[int, Field(ge=1), BeforeValidator(_no_bool), AfterValidator(_countable)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(_no_bool), AfterValidator(_countable)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_bool)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_bool)]
Name = Annotated[str, Field(pattern=NAME, max_length=100)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are coerced to the declared types.

    Snakemake hands nested values of `--config` over as strings, so `"4"`, `"1e-3"` and `"null"` have to serve.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _null_in_words(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: None if value in ("null", "None", "~") else value for key, value in data.items()}


class Survey(Section):
    source: Literal["kaggle", "directory", "synthetic"] = Field(
        "kaggle", description="kaggle: download with the kaggle client; directory: read in place; synthetic: draw one"
    )
    directory: str | None = Field(
        None, description="source directory: a folder, or one zip, in Kaggle's layout; relative to the working folder"
    )
    competition: Name = Field("tgs-salt-identification-challenge", description="Kaggle's name of the competition")
    tile_size: Annotated[int, Field(ge=16, le=LARGEST_TILE), BeforeValidator(_no_bool)] = Field(
        101, description="height and width of a tile in pixels"
    )
    train_tiles: Count | None = Field(
        None, description="labelled tiles expected (kaggle: 4000), or to draw (synthetic: 600); null: any number"
    )
    test_tiles: Count | None = Field(
        None, description="test tiles expected (kaggle: 18000), or to draw (synthetic: 300); null: any number"
    )
    seed: Whole = Field(0, description="seed of the synthetic survey")

    @model_validator(mode="after")
    def _complete(self) -> Survey:
        if self.source == "directory" and not self.directory:
            raise ValueError("directory: name the folder or zip that holds the survey (survey.source: directory)")
        defaults = {"kaggle": (TRAIN_TILES, TEST_TILES), "synthetic": (DRAWN_TRAIN_TILES, DRAWN_TEST_TILES)}
        for key, count in zip(("train_tiles", "test_tiles"), defaults.get(self.source, (None, None)), strict=True):
            if getattr(self, key) is None:
                object.__setattr__(self, key, count)
        return self


class Folds(Section):
    count: Annotated[int, Field(ge=2, le=1000), BeforeValidator(_no_bool)] = Field(5, description="number of folds")
    use: list[Whole] | None = Field(None, description="folds to train, such as [0] for a single split; null: all")
    seed: Whole = Field(0, description="seed of the shuffle within strata")

    @model_validator(mode="after")
    def _known_folds(self) -> Folds:
        if self.use is not None:
            bad = [fold for fold in self.use if fold >= self.count]
            if bad or not self.use or len(set(self.use)) < len(self.use):
                raise ValueError(
                    f"use: name each fold once, from 0 to {self.count - 1} (folds.count is {self.count}), "
                    f"found {self.use}"
                )
        return self

    @property
    def used(self) -> list[int]:
        """The folds that are trained, ascending."""
        return sorted(self.use) if self.use is not None else list(range(self.count))


class Augment(Section):
    """Applied to each tile on its own, in batches on the training device."""

    flip: Share = Field(0.5, description="chance of a left-right flip; never up-down: depth has a direction")
    shift: Share = Field(0.0, description="largest move right or left, up or down, as a share of the tile's side")
    scale: Share = Field(0.0, description="largest zoom in or out: 0.2 is from 1/1.2 to 1.2")
    rotation: Annotated[float, Field(ge=0, le=45), BeforeValidator(_no_bool)] = Field(
        0.0, description="largest turn, in degrees; at most 45: beyond, down is not down"
    )
    crop: Annotated[float, Field(ge=0, lt=1), BeforeValidator(_no_bool)] = Field(
        0.0, description="largest share of width and of height that is cut off; the rest is stretched to the tile"
    )
    brightness: Share = Field(0.1, description="largest change of brightness, as a share of full scale")
    contrast: Share = Field(0.1, description="largest relative change of contrast")
    noise: Share = Field(0.0, description="largest standard deviation of noise in the pixels, as a share of full scale")
    cutout: Share = Field(
        0.0, description="largest side of a square that is painted over, as a share of the tile's; its label stays"
    )


class Model(Section):
    like: Name | None = Field(None, description="take over every key of this model, then change those given here")
    network: Literal["unet", "article", "article-described"] = Field(
        "unet", description="unet: SMP U-Net; article: as its code ran; article-described: as its text has it"
    )
    encoder: str = Field("tu-tf_efficientnet_lite0", description="unet: any SMP encoder name")
    weights: str = Field(
        "bundled", description="unet: encoder weights: bundled, imagenet (fetched from a hub), none, or a file"
    )
    decoder_channels: list[Annotated[int, Field(ge=1, le=4096), BeforeValidator(_no_bool)]] = Field(
        [256, 128, 64, 32, 16], description="unet: widths of the five decoder blocks, deepest first"
    )
    attention: Literal["none", "scse"] = Field(
        "none", description="unet: scse: decoder blocks weigh their channels and pixels (concurrent squeeze-excitation)"
    )
    hypercolumn: bool = Field(False, description="unet: the pixels are read off all decoder blocks, not the last alone")
    deep_supervision: bool = Field(
        False, description="unet: the loss of each coarser decoder block counts too, at a tenth; training alone changes"
    )
    empty_head: bool = Field(
        False, description="unet: also learn whether a tile is empty; that probability multiplies into its pixels"
    )
    channels: Annotated[Literal[1, 3], BeforeValidator(_digit)] = Field(
        1, description="unet: 1: the tile; 3: also each pixel's row and the tile's depth"
    )
    fit: Literal["pad", "resize"] = Field(
        "pad", description="how a tile becomes input_size: reflect padding or resizing"
    )
    input_size: Annotated[int, Field(ge=32, le=2 * LARGEST_TILE, multiple_of=32), BeforeValidator(_no_bool)] | None = (
        Field(None, description="side of the network's input, a multiple of 32; null: the next one from tile_size")
    )
    init_from: Name | None = Field(None, description="start from this model's weights of the same fold")
    teacher: Name | None = Field(
        None, description="also learn this model's same-fold predictions of the test tiles and of the fold's own tiles"
    )
    teaching: Literal["soft", "hard"] = Field(
        "soft", description="what a teacher says of a pixel: its probability, or salt from 0.5 on"
    )
    teacher_sure: Share = Field(
        0.0, description="learn those tiles of a teacher alone of which it is sure of this share of the pixels"
    )
    loss: str = Field(
        "bce + dice",
        description="sum of bce, dice, focal, lovasz and symmetric_lovasz, each with a factor if wanted: "
        "0.2*bce + lovasz",
    )
    epochs: Count = Field(50, description="length of training; the schedule is fixed by it")
    batch_size: Count = Field(32, description="tiles a step")
    learning_rate: Positive = Field(1e-3, description="peak of the schedule")
    encoder_rate: Positive = Field(1.0, description="learning rate of a pretrained encoder, relative to learning_rate")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_no_bool)] = Field(
        1e-2, description="AdamW's decoupled weight decay"
    )
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has Nesterov momentum 0.9")
    schedule: Literal["one-cycle", "cosine", "constant", "plateau"] = Field(
        "one-cycle",
        description="learning rate over the steps; cosine: from the peak down, for a stage that restarts (init_from); "
        "plateau: a tenth after 5 epochs without a lower validation loss (looks at the fold: flatters the score)",
    )
    average: Literal["swa"] | Annotated[float, Field(ge=0, lt=1), BeforeValidator(_no_bool)] = Field(
        0.99,
        description="decay per step of the averaged weights that are kept; swa: mean over the last quarter of the "
        "epochs; 0: the last weights",
    )
    keep: Literal["last", "score", "loss"] = Field(
        "last",
        description="weights that are kept: of the last epoch, or of the epoch with the best score or the lowest log "
        "loss on the fold (flatters the score)",
    )
    patience: Count | None = Field(
        None, description="stop after so many epochs without a lower validation loss (flatters the score); null: never"
    )
    compile: bool = Field(False, description="torch.compile the network: pays on a GPU, in long trainings")
    augment: Augment = Field(Augment(), description="random changes of the training tiles")
    seed: Whole = Field(0, description="seed of weights, order and augmentation; folds differ by themselves")
    threads: Annotated[int, Field(ge=1, le=1024), BeforeValidator(_no_bool)] = Field(
        4, description="torch's CPU threads; part of the result, so not Snakemake's cores"
    )

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, text: str) -> str:
        parse_loss(text)
        return text

    @model_validator(mode="after")
    def _averages_fixed_schedules(self) -> Model:
        if self.average == "swa" and (self.keep != "last" or self.patience):
            raise ValueError("average: swa averages the last epochs; it goes with keep: last and no patience")
        return self

    @field_validator("decoder_channels")
    @classmethod
    def _five_blocks(cls, widths: list[int]) -> list[int]:
        if len(widths) != 5:
            raise ValueError(f"five widths are expected, found {len(widths)}")
        return widths

    @model_validator(mode="after")
    def _parts_fit(self) -> Model:
        for key in ("attention", "hypercolumn", "deep_supervision", "empty_head", "channels"):
            value = getattr(self, key)
            if self.network != "unet" and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: {value} is for network: unet, found network: {self.network}; drop one of them"
                )
        if self.attention == "scse" and min(self.decoder_channels) < SQUEEZE:
            raise ValueError(
                f"decoder_channels: scse squeezes to a sixteenth, so widths of at least {SQUEEZE} are needed, "
                f"found {self.decoder_channels}"
            )
        return self


class Predict(Section):
    tta: Literal["none", "horizontal"] = Field("horizontal", description="average with the left-right flipped tile")
    batch_size: Count | None = Field(None, description="tiles a step; null: 16 on a CPU, 256 on a GPU")
    engine: Literal["frozen", "openvino", "eager"] = Field(
        "frozen", description="what computes on a CPU: a frozen graph, OpenVINO (to be installed), or torch as it is"
    )
    shards: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_no_bool)] = Field(
        1,
        description="jobs that share a model and fold's prediction of the test tiles; no byte depends on it",
    )


class Ensemble(Section):
    models: list[Name] | None = Field(None, description="the models that vote; null: all of `models`")
    weights: dict[str, Count] | Literal["search"] = Field(
        {}, description="votes of a model, a whole number, those not named have 1; or search: the best out of fold"
    )


class Threshold(Section):
    level: Literal["search"] | Annotated[int, Field(ge=0, le=255), BeforeValidator(_no_bool)] = Field(
        "search", description="salt is where byte >= level; search: the best on the out-of-fold tiles, or 0 to 255"
    )
    min_area: Literal["search"] | Whole = Field(
        "search", description="a tile with fewer salt pixels is empty; search, or a number of pixels"
    )
    parts: Annotated[int, Field(ge=2), BeforeValidator(_no_bool)] = Field(
        5, description="with a single fold, parts of its tiles over which the score is cross-fitted"
    )


class Runtime(Section):
    """What must never cause a rerun."""

    log_level: Literal["debug", "info", "warning"] = Field("info", description="how much the logs say")
    slots_per_device: Count = Field(1, description="trainings that share one GPU")
    gpus: Literal["granted", "auto"] = Field(
        "granted",
        description="granted: a job computes on what --resources gpu grants; auto: on what a scheduler made visible, "
        "for clusters that know GPUs only as gres",
    )
    checkpoint_minutes: Positive = Field(
        10, description="minutes between checkpoints inside an epoch; the end of each epoch has one in any case"
    )


class Settings(Section):
    """A whole experiment."""

    name: Name = Field("tgs", description="the experiment: its files are in results/<name>")
    survey: Survey = Field(default_factory=Survey, description="where the tiles come from")
    folds: Folds = Field(default_factory=Folds, description="cross-validation")
    models: dict[Name, Model] = Field(description="what can be trained, by name; only what votes costs anything")
    predict: Predict = Field(default_factory=Predict, description="from weights to probability bytes")
    ensemble: Ensemble = Field(default_factory=Ensemble, description="who votes")
    threshold: Threshold = Field(default_factory=Threshold, description="from probabilities to masks")
    runtime: Runtime = Field(default_factory=Runtime, description="what must never cause a rerun")

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

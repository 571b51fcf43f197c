"""The keys of a model: architecture, loss, optimization and augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tgs_salt.settings.loss import parse_loss
from tgs_salt.settings.types import (
    MAX_TILE_SIZE,
    ConfigModel,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
    reject_bool,
)

SCSE_REDUCTION = 16  # SMP's default: scSE squeezes to a sixteenth of the channels


class Augment(ConfigModel):
    """Augmentation of training tiles: sampled per tile, applied in batches on the training device."""

    hflip: UnitFloat = Field(
        0.5, description="probability of a left-right flip (never up-down: the vertical axis is depth)"
    )
    shift: UnitFloat = Field(0.0, description="maximum shift along each axis, as a fraction of the tile size")
    scale: UnitFloat = Field(0.0, description="maximum zoom in or out: 0.2 samples factors from 1/1.2 to 1.2")
    rotate: Annotated[float, Field(ge=0, le=45), BeforeValidator(reject_bool)] = Field(
        0.0, description="maximum rotation in degrees, at most 45"
    )
    crop: Annotated[float, Field(ge=0, lt=1), BeforeValidator(reject_bool)] = Field(
        0.0, description="maximum fraction of width and height that is cropped away; the rest is resized to the tile"
    )
    brightness: UnitFloat = Field(0.1, description="maximum change of brightness, as a fraction of full scale")
    contrast: UnitFloat = Field(0.1, description="maximum relative change of contrast")
    gauss_noise: UnitFloat = Field(
        0.0, description="maximum standard deviation of Gaussian noise, as a fraction of full scale"
    )
    cutout: UnitFloat = Field(
        0.0, description="maximum side of an erased square, as a fraction of the tile size; the mask is kept"
    )


class Model(ConfigModel):
    """One model: architecture, stage, loss, optimization and augmentation."""

    extends: Name | None = Field(None, description="inherit all keys of this model that are not set here")
    architecture: Literal["unet", "article", "article-described"] = Field(
        "unet",
        description="unet: U-Net of segmentation_models_pytorch; article: the article's network as in its code; "
        "article-described: as in its text",
    )
    encoder: str = Field(
        "tu-tf_efficientnet_lite0",
        description="unet: any encoder of segmentation_models_pytorch, or tu-NAME for a timm model (docs/encoders.md)",
    )
    encoder_weights: str = Field(
        "bundled",
        description="unet: bundled (installed with the package), imagenet (downloaded), none (random), "
        "or a path to a file",
    )
    decoder_channels: list[Annotated[int, Field(ge=1, le=4096), BeforeValidator(reject_bool)]] = Field(
        [256, 128, 64, 32, 16],
        description="unet: channels of the decoder blocks, deepest first: five, or four to skip the last stage of the "
        "encoder (the input size is then a multiple of 16)",
    )
    decoder_attention: Literal["none", "scse"] = Field(
        "none",
        description="unet: attention in the decoder blocks (scse: concurrent spatial and channel squeeze-excitation)",
    )
    hypercolumn: bool = Field(
        False, description="unet: predict from the features of all decoder blocks instead of the last one"
    )
    deep_supervision: bool = Field(
        False, description="unet: add the losses of the coarser decoder blocks with weight 0.1; changes training only"
    )
    empty_head: bool = Field(
        False,
        description="unet: also classify whether a tile is empty; pixel probabilities are multiplied by P(not empty)",
    )
    depth_channels: bool = Field(
        False, description="unet: add two input channels, the row of each pixel and the depth of the tile"
    )
    resize_mode: Literal["pad", "resize"] = Field(
        "pad", description="how a tile is brought to input_size: reflect padding or resizing"
    )
    input_size: (
        Annotated[int, Field(ge=32, le=2 * MAX_TILE_SIZE, multiple_of=16), BeforeValidator(reject_bool)] | None
    ) = Field(
        None,
        description="height and width of the network input, a multiple of 32 (16 with four decoder blocks); "
        "null: the smallest multiple that contains a tile",
    )
    init_from: Name | None = Field(None, description="start from the weights of this model, same fold")
    teacher: Name | None = Field(
        None,
        description="also train on pseudo-labels: predictions of this model, same fold, on test and held-out tiles",
    )
    pseudo_labels: Literal["soft", "hard"] = Field(
        "soft", description="targets from the teacher: its probabilities, or its masks thresholded at 0.5"
    )
    pseudo_label_min_confidence: UnitFloat = Field(
        0.0,
        description="use pseudo-labels only of tiles with at least this fraction of confident pixels "
        "(p < 0.2 or p >= 0.8)",
    )
    loss: str = Field(
        "bce + dice",
        description="sum of bce, dice, focal, lovasz and symmetric_lovasz with optional factors, "
        "such as 0.2*bce + lovasz",
    )
    epochs: PositiveInt = Field(50, description="training epochs; the learning rate schedule spans them")
    batch_size: PositiveInt = Field(32, description="tiles per training step")
    learning_rate: PositiveFloat = Field(1e-3, description="maximum learning rate")
    encoder_lr_multiplier: PositiveFloat = Field(
        1.0, description="learning rate of the encoder, relative to learning_rate"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(reject_bool)] = Field(
        1e-2, description="decoupled weight decay for adamw; L2 penalty for adam and sgd"
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd uses Nesterov momentum 0.9")
    lr_scheduler: Literal["onecycle", "cosine", "constant", "plateau"] = Field(
        "onecycle",
        description="cosine starts at learning_rate, for stages with init_from; plateau divides by 10 after 5 epochs "
        "without a lower validation loss (it uses the held-out fold, so the score becomes optimistic)",
    )
    weight_averaging: Literal["ema", "swa", "none"] = Field(
        "ema",
        description="ema: exponential moving average over steps; swa: mean over the last quarter of the epochs; none",
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1), BeforeValidator(reject_bool)] = Field(
        0.99, description="decay per step of weight_averaging: ema"
    )
    keep_weights: Literal["last", "best_score", "best_loss"] = Field(
        "last",
        description="epoch whose weights are kept; the best one by score or log loss is chosen on the held-out fold, "
        "so the score becomes optimistic",
    )
    early_stopping_patience: PositiveInt | None = Field(
        None,
        description="stop after this many epochs without a lower validation loss (the score becomes optimistic); "
        "null: never",
    )
    compile: bool = Field(False, description="use torch.compile (needs a C++ compiler)")
    augment: Augment = Field(Augment(), description="augmentation of the training tiles")
    seed: NonNegativeInt = Field(
        0, description="seed of initial weights, tile order and augmentation; each fold derives its own"
    )
    threads: Annotated[int, Field(ge=1, le=1024), BeforeValidator(reject_bool)] = Field(
        4, description="CPU threads of torch; affects the result, so it does not follow Snakemake's --cores"
    )

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, text: str) -> str:
        parse_loss(text)
        return text

    @model_validator(mode="after")
    def _check_averaging(self) -> Model:
        if self.weight_averaging == "swa" and (self.keep_weights != "last" or self.early_stopping_patience):
            raise ValueError(
                "weight_averaging: swa averages the last epochs; it requires keep_weights: last "
                "and no early_stopping_patience"
            )
        return self

    @field_validator("decoder_channels")
    @classmethod
    def _check_decoder_channels(cls, channels: list[int]) -> list[int]:
        if len(channels) not in (4, 5):
            raise ValueError("expected four or five numbers of channels")
        return channels

    @property
    def size_divisor(self) -> int:
        """Return the number that must divide the input size: the encoder halves it once per decoder block."""
        return 2 ** len(self.decoder_channels) if self.architecture == "unet" else 32

    @model_validator(mode="after")
    def _check_architecture(self) -> Model:
        for key in ("decoder_attention", "hypercolumn", "deep_supervision", "empty_head", "depth_channels"):
            value = getattr(self, key)
            if self.architecture != "unet" and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: {value} requires architecture: unet, found architecture: {self.architecture}; "
                    "remove one of them"
                )
        if self.input_size and self.input_size % self.size_divisor:
            raise ValueError(
                f"input_size: expected a multiple of {self.size_divisor}, found {self.input_size}; change or remove it"
            )
        if self.decoder_attention == "scse" and min(self.decoder_channels) < SCSE_REDUCTION:
            raise ValueError(
                f"decoder_channels: scse requires at least {SCSE_REDUCTION} channels in each block, "
                f"found {self.decoder_channels}"
            )
        return self

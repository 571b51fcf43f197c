"""The keys of a model: architecture, loss, optimization and augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tgs_salt.settings.loss import parse_loss
from tgs_salt.settings.types import MAX_TILE_SIZE, ConfigModel, Count, Name, Positive, Share, Whole, no_bool

SQUEEZE = 16  # SMP's scSE has one channel for so many


class Augment(ConfigModel):
    """Augmentation: drawn for each tile, applied in batches on the training device."""

    hflip: Share = Field(0.5, description="probability of a left-right flip (never up-down: depth has a direction)")
    shift: Share = Field(0.0, description="largest shift along each axis, as a share of the tile's side")
    scale: Share = Field(0.0, description="largest zoom in or out: 0.2 draws factors from 1/1.2 to 1.2")
    rotate: Annotated[float, Field(ge=0, le=45), BeforeValidator(no_bool)] = Field(
        0.0, description="largest rotation in degrees, at most 45 (depth has a direction)"
    )
    crop: Annotated[float, Field(ge=0, lt=1), BeforeValidator(no_bool)] = Field(
        0.0, description="largest share of width and height that is cropped; the rest is resized to the tile"
    )
    brightness: Share = Field(0.1, description="largest change of brightness, as a share of full scale")
    contrast: Share = Field(0.1, description="largest relative change of contrast")
    gauss_noise: Share = Field(
        0.0, description="largest standard deviation of Gaussian noise, as a share of full scale"
    )
    cutout: Share = Field(
        0.0, description="largest side of a square that is erased, as a share of the tile's side; the mask stays"
    )


class Model(ConfigModel):
    extends: Name | None = Field(None, description="inherit all keys of this model, except those given here")
    architecture: Literal["unet", "article", "article-described"] = Field(
        "unet", description="unet: SMP's U-Net; article: as the article's code ran; article-described: as its text says"
    )
    encoder: str = Field(
        "tu-tf_efficientnet_lite0",
        description="unet: any encoder of SMP, or tu- and any timm network (docs/encoders.md)",
    )
    encoder_weights: str = Field(
        "bundled", description="unet: bundled (with the package), imagenet (downloaded), none, or a file"
    )
    decoder_channels: list[Annotated[int, Field(ge=1, le=4096), BeforeValidator(no_bool)]] = Field(
        [256, 128, 64, 32, 16],
        description="unet: widths of the decoder blocks, deepest first: five, or four to use the encoder without its "
        "last stage (the input is then a multiple of 16)",
    )
    decoder_attention: Literal["none", "scse"] = Field(
        "none",
        description="unet: attention in the decoder blocks (scse: concurrent spatial and channel squeeze-excitation)",
    )
    hypercolumn: bool = Field(False, description="unet: predict from all decoder blocks instead of the last")
    deep_supervision: bool = Field(
        False, description="unet: add the losses of the coarser decoder blocks, weighted 0.1; changes training only"
    )
    empty_head: bool = Field(
        False, description="unet: also predict whether a tile is empty; multiplies its pixels' probabilities"
    )
    depth_channels: bool = Field(
        False, description="unet: two more input channels, each pixel's row and the tile's depth"
    )
    resize_mode: Literal["pad", "resize"] = Field(
        "pad", description="how a tile gets to input_size: reflect padding or resizing"
    )
    input_size: Annotated[int, Field(ge=32, le=2 * MAX_TILE_SIZE, multiple_of=16), BeforeValidator(no_bool)] | None = (
        Field(
            None,
            description="side of the network's input, a multiple of 32 (16 with four decoder blocks); "
            "null: the smallest that holds a tile",
        )
    )
    init_from: Name | None = Field(None, description="start from the weights of this model, same fold")
    teacher: Name | None = Field(
        None,
        description="also learn from pseudo-labels: predictions of this model, same fold, for test and held-out tiles",
    )
    pseudo_labels: Literal["soft", "hard"] = Field(
        "soft", description="targets from the teacher: its probabilities, or masks thresholded at 0.5"
    )
    pseudo_label_min_confidence: Share = Field(
        0.0,
        description="use pseudo-labels only of tiles with at least this share of confident pixels (p < 0.2 or p >= 0.8)",
    )
    loss: str = Field(
        "bce + dice",
        description="sum of bce, dice, focal, lovasz and symmetric_lovasz with optional factors, such as 0.2*bce + lovasz",
    )
    epochs: Count = Field(50, description="epochs of training; the learning rate schedule spans them")
    batch_size: Count = Field(32, description="tiles per training step")
    learning_rate: Positive = Field(1e-3, description="peak learning rate")
    encoder_lr_multiplier: Positive = Field(1.0, description="learning rate of the encoder, relative to learning_rate")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(no_bool)] = Field(
        1e-2, description="decoupled weight decay for adamw; an L2 penalty for adam and sgd"
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd uses Nesterov momentum 0.9")
    lr_scheduler: Literal["onecycle", "cosine", "constant", "plateau"] = Field(
        "onecycle",
        description="cosine starts at the peak, for stages with init_from; plateau divides by 10 after 5 epochs without "
        "a lower validation loss (it looks at the held-out fold, so the score becomes optimistic)",
    )
    weight_averaging: Literal["ema", "swa", "none"] = Field(
        "ema",
        description="ema: exponential moving average over steps; swa: mean over the last quarter of the epochs; none",
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1), BeforeValidator(no_bool)] = Field(
        0.99, description="decay per step of weight_averaging: ema"
    )
    keep_weights: Literal["last", "best_score", "best_loss"] = Field(
        "last",
        description="epoch whose weights are kept; the best by score or log loss looks at the held-out fold, so the "
        "score becomes optimistic",
    )
    early_stopping_patience: Count | None = Field(
        None,
        description="stop after this many epochs without a lower validation loss (the score becomes optimistic); "
        "null: never",
    )
    compile: bool = Field(False, description="use torch.compile (needs a C++ compiler)")
    augment: Augment = Field(Augment(), description="augmentation of the training tiles")
    seed: Whole = Field(
        0, description="seed of initial weights, tile order and augmentation; each fold derives its own"
    )
    threads: Annotated[int, Field(ge=1, le=1024), BeforeValidator(no_bool)] = Field(
        4, description="CPU threads of torch; changes the result, so it is not taken from Snakemake's cores"
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
                "weight_averaging: swa averages the last epochs; it needs keep_weights: last and no early_stopping_patience"
            )
        return self

    @field_validator("decoder_channels")
    @classmethod
    def _check_decoder_channels(cls, widths: list[int]) -> list[int]:
        if len(widths) not in (4, 5):
            raise ValueError(f"four or five widths are expected, found {len(widths)}")
        return widths

    @property
    def multiple(self) -> int:
        """What divides the side of the network's input: an encoder halves it once for each decoder block."""
        return 2 ** len(self.decoder_channels) if self.architecture == "unet" else 32

    @model_validator(mode="after")
    def _check_architecture(self) -> Model:
        for key in ("decoder_attention", "hypercolumn", "deep_supervision", "empty_head", "depth_channels"):
            value = getattr(self, key)
            if self.architecture != "unet" and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: {value} is for architecture: unet, found architecture: {self.architecture}; drop one of them"
                )
        if self.input_size and self.input_size % self.multiple:
            raise ValueError(
                f"input_size: a multiple of {self.multiple} is expected, found {self.input_size}; change it or drop it"
            )
        if self.decoder_attention == "scse" and min(self.decoder_channels) < SQUEEZE:
            raise ValueError(
                f"decoder_channels: scse squeezes to a sixteenth, so widths of at least {SQUEEZE} are needed, "
                f"found {self.decoder_channels}"
            )
        return self

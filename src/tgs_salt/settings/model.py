"""The keys of a model: its network, its loss, its schedule, and the random changes of its tiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tgs_salt.settings.kinds import LARGEST_TILE, Count, Name, Positive, Section, Share, Whole, digit, no_bool
from tgs_salt.settings.loss import parse_loss

SQUEEZE = 16  # SMP's scSE has one channel for so many


class Augment(Section):
    """Applied to each tile on its own, in batches on the training device."""

    flip: Share = Field(0.5, description="chance of a left-right flip; never up-down: depth has a direction")
    shift: Share = Field(0.0, description="largest move right or left, up or down, as a share of the tile's side")
    scale: Share = Field(0.0, description="largest zoom in or out: 0.2 is from 1/1.2 to 1.2")
    rotation: Annotated[float, Field(ge=0, le=45), BeforeValidator(no_bool)] = Field(
        0.0, description="largest turn, in degrees; at most 45: beyond, down is not down"
    )
    crop: Annotated[float, Field(ge=0, lt=1), BeforeValidator(no_bool)] = Field(
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
    decoder_channels: list[Annotated[int, Field(ge=1, le=4096), BeforeValidator(no_bool)]] = Field(
        [256, 128, 64, 32, 16],
        description="unet: widths of the decoder blocks, deepest first: five, or four for an encoder without its last "
        "stage, whose input is a multiple of 16",
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
    channels: Annotated[Literal[1, 3], BeforeValidator(digit)] = Field(
        1, description="unet: 1: the tile; 3: also each pixel's row and the tile's depth"
    )
    fit: Literal["pad", "resize"] = Field(
        "pad", description="how a tile becomes input_size: reflect padding or resizing"
    )
    input_size: Annotated[int, Field(ge=32, le=2 * LARGEST_TILE, multiple_of=16), BeforeValidator(no_bool)] | None = (
        Field(
            None,
            description="side of the network's input, a multiple of 32, or of 16 with four decoder blocks; "
            "null: the next one from tile_size",
        )
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
    encoder_rate: Positive = Field(1.0, description="learning rate of the encoder, relative to learning_rate")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(no_bool)] = Field(
        1e-2, description="pull of the weights to zero: AdamW's, decoupled; with adam and sgd the gradient's (L2)"
    )
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has Nesterov momentum 0.9")
    schedule: Literal["one-cycle", "cosine", "constant", "plateau"] = Field(
        "one-cycle",
        description="learning rate over the steps; cosine: from the peak down, for a stage that restarts (init_from); "
        "plateau: a tenth after 5 epochs without a lower validation loss (looks at the fold: flatters the score)",
    )
    average: Literal["swa"] | Annotated[float, Field(ge=0, lt=1), BeforeValidator(no_bool)] = Field(
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
    threads: Annotated[int, Field(ge=1, le=1024), BeforeValidator(no_bool)] = Field(
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
    def _four_or_five_blocks(cls, widths: list[int]) -> list[int]:
        if len(widths) not in (4, 5):
            raise ValueError(f"four or five widths are expected, found {len(widths)}")
        return widths

    @property
    def multiple(self) -> int:
        """What divides the side of the network's input: an encoder halves it once for each decoder block."""
        return 2 ** len(self.decoder_channels) if self.network == "unet" else 32

    @model_validator(mode="after")
    def _parts_fit(self) -> Model:
        for key in ("attention", "hypercolumn", "deep_supervision", "empty_head", "channels"):
            value = getattr(self, key)
            if self.network != "unet" and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: {value} is for network: unet, found network: {self.network}; drop one of them"
                )
        if self.input_size and self.input_size % self.multiple:
            raise ValueError(
                f"input_size: a multiple of {self.multiple} is expected, found {self.input_size}; change it or drop it"
            )
        if self.attention == "scse" and min(self.decoder_channels) < SQUEEZE:
            raise ValueError(
                f"decoder_channels: scse squeezes to a sixteenth, so widths of at least {SQUEEZE} are needed, "
                f"found {self.decoder_channels}"
            )
        return self

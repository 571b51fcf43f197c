"""U-Nets of segmentation-models-pytorch by encoder name, with heads of ours."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from tgs_salt.errors import UserError
from tgs_salt.models.cpu_speedups import enlarged_convolution, is_plain_3x3, replace_depthwise
from tgs_salt.models.encoder_weights import BUNDLED_FOR, bundled_weights, load_encoder, read_weights
from tgs_salt.models.heads import EmptyHead, Hypercolumn, Outputs, resized
from tgs_salt.settings import Model


class UNet(nn.Module):
    """The parts of an SMP U-Net, and heads that read all of its decoder blocks; (n, channels, h, w) to `Outputs`."""

    def __init__(self, parts: smp.Unet, settings: Model) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = parts.encoder, parts.decoder, parts.segmentation_head
        widths = settings.decoder_channels
        self.hypercolumn = Hypercolumn(widths) if settings.hypercolumn else None
        self.level_heads = nn.ModuleList(
            nn.Conv2d(width, 1, 1) for width in (widths[:-1] if settings.deep_supervision else [])
        )
        self.empty_head = EmptyHead(self.encoder.out_channels[-1]) if settings.empty_head else None
        self.uses_cpu_kernels = False

    def use_cpu_kernels(self) -> None:
        """Convolve in the ways that a CPU learns faster in: the same sums, but for rounding."""
        replace_depthwise(self.encoder)
        self.uses_cpu_kernels = True

    def forward(self, pixels: Tensor) -> Outputs:
        features = self.encoder(pixels)
        blocks = self._decoded(features)
        last = blocks[-1] if self.hypercolumn is None else self.hypercolumn(blocks)
        levels: tuple[Tensor, ...] = ()
        if self.training:
            heads = zip(self.level_heads, blocks, strict=False)  # the last block has the head of all
            levels = tuple(resized(head(block), last.shape[-2:]) for head, block in heads)
        empty = self.empty_head(features[-1]) if self.empty_head is not None else None
        return Outputs(self.segmentation_head(last), levels, empty)

    def _decoded(self, features: list[Tensor]) -> list[Tensor]:
        """What every decoder block gives, deepest first; SMP's own decoder keeps the last one's alone."""
        *shallow, deepest = features
        found = [self.decoder.center(deepest)]
        for block, skip in zip(self.decoder.blocks, reversed(shallow), strict=True):
            # The skip at full size is the input itself, which SMP leaves out.
            joins = skip if skip is not features[0] else None
            found.append(self._block(block, found[-1], skip.shape[-2:], joins))
        return found[1:]

    def _block(self, block: UnetDecoderBlock, below: Tensor, size: torch.Size, skip: Tensor | None) -> Tensor:
        """What SMP's decoder block gives, of what lies `below` it."""
        if self.uses_cpu_kernels and _is_plain(block, below, size, skip):
            convolution, *rest = block.conv1
            features = enlarged_convolution(below, skip, convolution)
            for layer in rest:
                features = layer(features)
        else:
            features = _enlarged(below, size)
            if skip is not None:
                features = block.attention1(torch.cat([features, skip], dim=1))
            features = block.conv1(features)
        return block.attention2(block.conv2(features))


def _is_plain(block: UnetDecoderBlock, below: Tensor, size: torch.Size, skip: Tensor | None) -> bool:
    """Return whether a block doubles `below`, and its first layer is a plain convolution of that joined to `skip`."""
    twice = size == (2 * below.shape[-2], 2 * below.shape[-1])
    return (
        twice and is_plain_3x3(block.conv1[0]) and (skip is None or isinstance(block.attention1.attention, nn.Identity))
    )


def _enlarged(below: Tensor, size: torch.Size) -> Tensor:
    """Enlarged in the precision of what lies `below`.

    Autocast on CUDA enlarges in float32, and so would write and join twice the bytes for the same numbers.
    """
    with torch.autocast(below.device.type, enabled=False):
        return F.interpolate(below, size=size, mode="nearest")


def build(settings: Model, fetch: bool = True) -> UNet:
    """A U-Net from (n, channels, h, w) standardised tiles to `Outputs` of (n, 1, h, w); h, w: `settings.multiple`s.

    `fetch` false leaves the encoder's weights random, for a network whose weights are loaded right after.
    Raises UserError for an unknown encoder (with the nearest names), for one that makes no U-Net and for weights that
    cannot be had.
    """
    _check_encoder(settings.encoder)
    weights = settings.encoder_weights if fetch else "none"
    if weights == "bundled" and settings.encoder != BUNDLED_FOR:
        raise UserError(
            f"models.*.encoder_weights: bundled weights exist for encoder {BUNDLED_FOR} only, not for {settings.encoder}; "
            "use imagenet (fetched from a hub), none, or a file."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = smp.Unet(
                settings.encoder,
                encoder_depth=len(settings.decoder_channels),
                encoder_weights="imagenet" if weights == "imagenet" else None,
                decoder_channels=settings.decoder_channels,
                decoder_attention_type=None if settings.decoder_attention == "none" else settings.decoder_attention,
                in_channels=1,
                classes=1,
            )
    except (KeyError, ValueError, TypeError) as problem:  # each kind of SMP's encoders has its own for what it lacks
        said = " ".join(str(problem).strip("'\"").split())[:200].rstrip(".") or type(problem).__name__
        raise UserError(
            f"models.*.encoder: {settings.encoder} with weights: {weights} makes no U-Net ({said}); "
            "take other weights or another encoder."
        ) from None
    except (OSError, RuntimeError) as problem:
        if weights != "imagenet":
            raise
        raise UserError(
            f"models.*.encoder_weights: the imagenet weights of {settings.encoder} cannot be fetched "
            f"({type(problem).__name__}); without a network use encoder {BUNDLED_FOR} "
            "with weights: bundled, weights: none, or a file."
        ) from None
    if weights == "bundled":
        load_encoder(network.encoder, bundled_weights(), "bundled")
    elif weights not in ("imagenet", "none"):
        load_encoder(network.encoder, read_weights(Path(weights)), weights)
    if settings.depth_channels:
        _widen(network.encoder, 3)
    _end_with_what_is_used(network.encoder)
    return UNet(network, settings)


def _end_with_what_is_used(encoder: nn.Module) -> None:
    """Drop the stages after the deepest features that are asked for: these of timm's would run them for nobody.

    SMP's own encoders keep such stages as weights, but run none of them.
    """
    inner = getattr(encoder, "model", None)
    if isinstance(inner, EfficientNetFeatures | MobileNetV3Features):
        inner.blocks = inner.blocks[: max(found["stage"] for found in inner.feature_info.get_dicts())]


def _widen(encoder: nn.Module, channels: int) -> None:
    """Let the first convolution take more channels. Their weights start at zero: the tile is seen as by one channel."""
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    more = first.weight.new_zeros(first.out_channels, channels - first.in_channels, *first.kernel_size)
    first.weight = nn.Parameter(torch.cat([first.weight.detach(), more], dim=1))
    first.in_channels = channels


def _check_encoder(name: str) -> None:
    known = smp.encoders.get_encoder_names()
    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    every = [*known, *(f"tu-{model}" for model in timm.list_models())]
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.5) or [BUNDLED_FOR, "resnet34"]
    raise UserError(f"models.*.encoder: there is no encoder {name!r}; the nearest are {', '.join(near)}.")

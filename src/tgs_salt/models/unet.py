"""U-Nets of segmentation-models-pytorch (SMP), by encoder name, with additional heads."""

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
from tgs_salt.models.cpu_speedups import is_plain_conv3x3, replace_wide_depthwise, upsample_concat_conv
from tgs_salt.models.encoder_weights import (
    BUNDLED_ENCODER,
    load_bundled_weights,
    load_encoder_weights,
    read_encoder_weights,
)
from tgs_salt.models.heads import EmptyHead, Hypercolumn, Outputs, resize
from tgs_salt.settings import Model


class UNet(nn.Module):
    """An SMP U-Net whose heads read all decoder blocks.

    Args:
        smp_unet: the U-Net whose encoder, decoder and segmentation head are used.
        settings: the model's settings, which name the additional heads.
    """

    def __init__(self, smp_unet: smp.Unet, settings: Model) -> None:
        super().__init__()
        self.encoder, self.decoder = smp_unet.encoder, smp_unet.decoder
        self.segmentation_head = smp_unet.segmentation_head
        widths = settings.decoder_channels
        self.hypercolumn = Hypercolumn(widths) if settings.hypercolumn else None
        self.level_heads = nn.ModuleList(
            nn.Conv2d(width, 1, 1) for width in (widths[:-1] if settings.deep_supervision else [])
        )
        self.empty_head = EmptyHead(self.encoder.out_channels[-1]) if settings.empty_head else None
        self.uses_cpu_kernels = False

    def use_cpu_kernels(self) -> None:
        """Use convolutions that train faster on a CPU; results do not change except for rounding."""
        replace_wide_depthwise(self.encoder)
        self.uses_cpu_kernels = True

    def forward(self, pixels: Tensor) -> Outputs:
        """Return (n, 1, h, w) logits, and those of the other heads, from (n, channels, h, w) standardized pixels."""
        features = self.encoder(pixels)
        blocks = self._decode(features)
        last = blocks[-1] if self.hypercolumn is None else self.hypercolumn(blocks)
        deep_logits: tuple[Tensor, ...] = ()
        if self.training:
            heads = zip(self.level_heads, blocks, strict=False)  # the last block has no head of its own
            deep_logits = tuple(resize(head(block), last.shape[-2:]) for head, block in heads)
        empty_logit = self.empty_head(features[-1]) if self.empty_head is not None else None
        return Outputs(self.segmentation_head(last), deep_logits, empty_logit)

    def _decode(self, features: list[Tensor]) -> list[Tensor]:
        """Return the outputs of all decoder blocks, deepest first; SMP's decoder returns the last one only."""
        *shallow, deepest = features
        outputs = [self.decoder.center(deepest)]
        for block, stage in zip(self.decoder.blocks, reversed(shallow), strict=True):
            # As in SMP, there is no skip connection from the input, whose features are the first.
            skip = stage if stage is not features[0] else None
            outputs.append(self._run_block(block, outputs[-1], stage.shape[-2:], skip))
        return outputs[1:]

    def _run_block(self, block: UnetDecoderBlock, features: Tensor, size: torch.Size, skip: Tensor | None) -> Tensor:
        """Return what SMP's decoder block returns for `features` upsampled to `size` and `skip`."""
        if self.uses_cpu_kernels and _can_fuse(block, features, size, skip):
            convolution, *activation = block.conv1
            features = upsample_concat_conv(features, skip, convolution)
            for layer in activation:
                features = layer(features)
        else:
            features = _upsample(features, size)
            if skip is not None:
                features = block.attention1(torch.cat([features, skip], dim=1))
            features = block.conv1(features)
        return block.attention2(block.conv2(features))


def _can_fuse(block: UnetDecoderBlock, features: Tensor, size: torch.Size, skip: Tensor | None) -> bool:
    """Return whether `upsample_concat_conv` computes what the block's first convolution does."""
    doubles = size == (2 * features.shape[-2], 2 * features.shape[-1])
    has_attention = skip is not None and not isinstance(block.attention1.attention, nn.Identity)
    return doubles and is_plain_conv3x3(block.conv1[0]) and not has_attention


def _upsample(features: Tensor, size: torch.Size) -> Tensor:
    """Return `features` upsampled to `size` (nearest neighbor) in their own dtype.

    CUDA autocast would upsample in float32: twice the memory for the same numbers.
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.interpolate(features, size=size, mode="nearest")


def build_unet(settings: Model, pretrained: bool = True) -> UNet:
    """Return the U-Net that `settings` describe; its input size is a multiple of `settings.size_divisor`.

    With `pretrained` False the encoder's weights stay random, for models whose weights are loaded afterwards.
    Raises UserError for an unknown encoder (with the nearest names), for an encoder that SMP cannot use in a U-Net,
    and for weights that are not available.
    """
    _check_encoder(settings.encoder)
    weights = settings.encoder_weights if pretrained else "none"
    if weights == "bundled" and settings.encoder != BUNDLED_ENCODER:
        raise UserError(
            f"models.*.encoder_weights: bundled weights exist for encoder {BUNDLED_ENCODER} only, "
            f"not for {settings.encoder}; use imagenet (downloaded), none, or a file."
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
    except MemoryError:
        raise
    except Exception as problem:  # each encoder family raises its own exceptions for what it does not support
        if weights == "imagenet" and isinstance(problem, OSError | RuntimeError):
            raise UserError(
                f"models.*.encoder_weights: the imagenet weights of {settings.encoder} cannot be downloaded "
                f"({type(problem).__name__}); without internet access use encoder {BUNDLED_ENCODER} with "
                "encoder_weights: bundled, encoder_weights: none, or a file."
            ) from None
        reason = " ".join(str(problem).strip("'\"").split())[:200].rstrip(".") or type(problem).__name__
        raise UserError(
            f"models.*.encoder: {settings.encoder} with encoder_weights: {weights} cannot be used in a U-Net "
            f"({reason}); use other weights or another encoder."
        ) from None
    if weights == "bundled":
        load_encoder_weights(network.encoder, load_bundled_weights(), "bundled")
    elif weights not in ("imagenet", "none"):
        load_encoder_weights(network.encoder, read_encoder_weights(Path(weights)), weights)
    if settings.depth_channels:
        _add_input_channels(network.encoder, 3)
    _drop_unused_stages(network.encoder)
    return UNet(network, settings)


def _drop_unused_stages(encoder: nn.Module) -> None:
    """Drop the stages after the deepest features that the decoder reads.

    timm's EfficientNet and MobileNetV3 run such stages. SMP's own encoders keep their weights, but do not run them.
    """
    inner = getattr(encoder, "model", None)
    if isinstance(inner, EfficientNetFeatures | MobileNetV3Features):
        inner.blocks = inner.blocks[: max(info["stage"] for info in inner.feature_info.get_dicts())]


def _add_input_channels(encoder: nn.Module, channels: int) -> None:
    """Widen the first convolution to `channels` inputs. The new weights are zero: they do not change its output."""
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    zeros = first.weight.new_zeros(first.out_channels, channels - first.in_channels, *first.kernel_size)
    first.weight = nn.Parameter(torch.cat([first.weight.detach(), zeros], dim=1))
    first.in_channels = channels


def _check_encoder(name: str) -> None:
    known = smp.encoders.get_encoder_names()
    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    candidates = [*known, *(f"tu-{model}" for model in timm.list_models())]
    nearest = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5) or [BUNDLED_ENCODER, "resnet34"]
    raise UserError(f"models.*.encoder: unknown encoder {name!r}; did you mean {', '.join(nearest)}?")

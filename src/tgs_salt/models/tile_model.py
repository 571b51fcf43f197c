"""The model that maps a tile to logits of the same size: it pads or resizes tiles to the network's input and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgs_salt.compute.amp import autocast
from tgs_salt.compute.oom import explain_job_oom
from tgs_salt.errors import UserError
from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.heads import Outputs, combine_with_empty_logit, resize
from tgs_salt.settings import Model

# Mean and standard deviation of the competition's pixels (0..1) and depths. They are constants, so that a prediction
# depends on nothing but the tile.
PIXEL_MEAN, PIXEL_STD = 0.47, 0.16
DEPTH_MEAN, DEPTH_STD = 506.0, 208.0


class TileModel(nn.Module):
    """Wrap a network so that it takes tiles and returns logits of their size.

    Args:
        inner: the network, from (n, channels, input_size, input_size) to logits of that size or `Outputs`.
        tile_size: height and width of a tile.
        input_size: height and width of the network's input.
        resize_mode: "pad" (reflect padding, cropped afterwards) or "resize" (bilinear).
        standardize: whether to subtract the mean of the pixels and divide by their standard deviation.
        depth_channels: whether `inner` takes two more channels, each pixel's row and the tile's depth.
    """

    def __init__(
        self,
        inner: nn.Module,
        tile_size: int,
        input_size: int,
        resize_mode: str,
        standardize: bool,
        depth_channels: bool = False,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.tile_size, self.input_size, self.resize_mode = tile_size, input_size, resize_mode
        self.depth_channels = depth_channels
        self.mean, self.std = (PIXEL_MEAN, PIXEL_STD) if standardize else (0.0, 1.0)
        self.pad_before = (input_size - tile_size) // 2
        self.pad_after = input_size - tile_size - self.pad_before

    def forward(self, pixels: Tensor, depth: Tensor | None = None) -> Outputs | Tensor:
        """Return `Outputs` in training mode, and in eval mode (n, 1, tile_size, tile_size) logits.

        In eval mode, the sigmoid of the logits is the probability of salt, which includes the empty head.

        Args:
            pixels: (n, 1, tile_size, tile_size) in 0..1.
            depth: (n,) depths as in tiles.csv; ignored without `depth_channels`.
        """
        outputs = self.inner(self._prepare_input(pixels, depth).contiguous(memory_format=torch.channels_last))
        if isinstance(outputs, Tensor):
            outputs = Outputs(outputs)
        logits = self._restore_size(outputs.logits)
        if self.training:
            deep_logits = tuple(self._restore_size(deep) for deep in outputs.deep_logits)
            return Outputs(logits, deep_logits, outputs.empty_logit)
        return logits if outputs.empty_logit is None else combine_with_empty_logit(logits, outputs.empty_logit)

    def _prepare_input(self, pixels: Tensor, depth: Tensor | None) -> Tensor:
        channels = (pixels - self.mean) / self.std
        if self.depth_channels:
            if depth is None:
                raise ValueError("a network with depth channels needs the tiles' depths")
            rows = torch.linspace(-1, 1, self.tile_size, dtype=pixels.dtype, device=pixels.device).view(-1, 1)
            depths = ((depth.to(pixels.dtype) - DEPTH_MEAN) / DEPTH_STD).view(-1, 1, 1, 1)
            channels = torch.cat([channels, rows.expand_as(pixels), depths.expand_as(pixels)], dim=1)
        if self.resize_mode == "resize":
            return resize(channels, (self.input_size, self.input_size))
        return F.pad(channels, (self.pad_before, self.pad_after, self.pad_before, self.pad_after), mode="reflect")

    def _restore_size(self, logits: Tensor) -> Tensor:
        if self.resize_mode == "resize":
            return resize(logits, (self.tile_size, self.tile_size))
        end = self.pad_before + self.tile_size
        return logits[..., self.pad_before : end, self.pad_before : end]


def build_model(settings: Model, tile_size: int, pretrained: bool = True) -> TileModel:
    """Return the model that `settings` describe, in channels-last memory format.

    With `pretrained` False the encoder's weights stay random, for models whose weights are loaded afterwards.
    Raises UserError if the input size does not fit the tile, or if the encoder or its weights are not available.
    """
    min_size = -(-tile_size // settings.size_divisor) * settings.size_divisor
    max_size = 3 * tile_size - 2
    input_size = settings.input_size or min_size
    if settings.resize_mode == "pad" and not tile_size <= input_size <= max_size:
        raise UserError(
            f"models.*.input_size: reflect padding of tiles of {tile_size} pixels supports {min_size} to {max_size} "
            f"pixels, found {input_size}; change it or set resize_mode: resize."
        )
    if settings.architecture == "unet":
        from tgs_salt.models import unet  # the article's networks do not need SMP, whose import takes seconds

        inner: nn.Module = unet.build_unet(settings, pretrained)
    else:
        inner = ArticleUNet(convolutions=1 if settings.architecture == "article" else 2)
    network = TileModel(
        inner,
        tile_size,
        input_size,
        settings.resize_mode,
        standardize=settings.architecture == "unet",
        depth_channels=settings.depth_channels,
    )
    return network.to(memory_format=torch.channels_last)


def check_trainable(network: TileModel, encoder: str, loss: Callable[[Outputs, Tensor], Tensor]) -> None:
    """Run a forward and backward pass of a U-Net on two tiles, to detect unsupported encoders before training starts.

    Weights, buffers (batch-norm statistics) and the random state do not change. Raises UserError if the encoder does
    not support this input size: many support one image size only, and each encoder family raises other exceptions.
    """
    weights = next(network.parameters())
    devices = [weights.device] if weights.device.type == "cuda" else []
    saved_buffers = [buffer.clone() for buffer in network.buffers()]
    tiles = torch.zeros(2, 1, network.tile_size, network.tile_size, dtype=weights.dtype, device=weights.device)
    network.train()
    try:
        with explain_job_oom("use a smaller encoder"), torch.random.fork_rng(devices):
            with autocast(weights.device):
                outputs = network(tiles, tiles.new_zeros(2))
            loss(outputs, tiles).backward()
    except UserError:  # out of memory
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200].rstrip(".") or type(problem).__name__
        raise UserError(
            f"models.*.encoder: {encoder} cannot be trained on an input of {network.input_size} pixels ({reason}); "
            "use another input_size or encoder."
        ) from None
    network.zero_grad(set_to_none=True)
    for buffer, saved in zip(network.buffers(), saved_buffers, strict=True):
        buffer.copy_(saved)


def use_cpu_kernels(network: TileModel) -> None:
    """Use faster CPU kernels in a U-Net. No effect on the article's networks."""
    if isinstance(network.inner, ArticleUNet):
        return
    from tgs_salt.models.unet import UNet

    if isinstance(network.inner, UNet):
        network.inner.use_cpu_kernels()


def disable_inplace_activations(network: nn.Module) -> None:
    """Disable in-place activations other than ReLU, which make autograd save a copy of their input.

    The results do not change.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.ReLU) and getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]

"""A tile in, logits of the same size out: what fits a 101 x 101 tile to a U-Net, and back exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgs_salt.compute.amp import autocast
from tgs_salt.compute.oom import job_memory
from tgs_salt.errors import UserError
from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.heads import Outputs, joined, resized
from tgs_salt.settings import Model

# Mean and standard deviation of the competition's pixels and depths; constants, so that a tile's bytes decide alone.
MEAN, DEVIATION = 0.47, 0.16
MEAN_DEPTH, DEPTH_DEVIATION = 506.0, 208.0


class TileNetwork(nn.Module):
    """Pixels of a tile to logits of the same size, around a network of another input size.

    Takes (n, 1, side, side) pixels in 0..1 and, with three channels, depths (n,) as in tiles.csv; a network with one
    channel ignores them. While it trains it gives `Outputs`, which the loss takes whole. In eval mode it gives
    (n, 1, side, side) logits whose sigmoid is the probability of salt, the empty head's part in it.
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
        self.mean, self.deviation = (MEAN, DEVIATION) if standardize else (0.0, 1.0)
        self.before = (input_size - tile_size) // 2
        self.after = input_size - tile_size - self.before

    def forward(self, pixels: Tensor, depth: Tensor | None = None) -> Outputs | Tensor:
        said = self.inner(self._input(pixels, depth).contiguous(memory_format=torch.channels_last))
        if isinstance(said, Tensor):
            said = Outputs(said)
        logits = self._output(said.logits)
        if self.training:
            return Outputs(logits, tuple(self._output(level) for level in said.levels), said.empty)
        return logits if said.empty is None else joined(logits, said.empty)

    def _input(self, pixels: Tensor, depth: Tensor | None) -> Tensor:
        channels = (pixels - self.mean) / self.deviation
        if self.depth_channels:
            if depth is None:
                raise ValueError("a network with depth channels needs the tiles' depths")
            row = torch.linspace(-1, 1, self.tile_size, dtype=pixels.dtype, device=pixels.device).view(-1, 1)
            level = ((depth.to(pixels.dtype) - MEAN_DEPTH) / DEPTH_DEVIATION).view(-1, 1, 1, 1)
            channels = torch.cat([channels, row.expand_as(pixels), level.expand_as(pixels)], dim=1)
        if self.resize_mode == "resize":
            return resized(channels, (self.input_size, self.input_size))
        return F.pad(channels, (self.before, self.after, self.before, self.after), mode="reflect")

    def _output(self, logits: Tensor) -> Tensor:
        if self.resize_mode == "resize":
            return resized(logits, (self.tile_size, self.tile_size))
        end = self.before + self.tile_size
        return logits[..., self.before : end, self.before : end]


def build(settings: Model, tile_size: int, fetch: bool = True) -> TileNetwork:
    """The network of a model, in channels-last memory order.

    `fetch` false leaves pretrained encoders random, for weights that are loaded right after.
    Raises UserError if the input size does not fit the tile, or the encoder or its weights are not to be had.
    """
    smallest = -(-tile_size // settings.multiple) * settings.multiple
    input_size = settings.input_size or smallest
    if settings.resize_mode == "pad" and not tile_size <= input_size <= 3 * tile_size - 2:
        raise UserError(
            f"models.*.input_size: reflect padding takes a tile of {tile_size} to {smallest}..{3 * tile_size - 2} "
            f"pixels, found {input_size}; change it, or use fit: resize."
        )
    if settings.architecture == "unet":
        from tgs_salt.models import unet  # SMP costs seconds to import; the article's nets do without

        inner: nn.Module = unet.build(settings, fetch)
    else:
        inner = ArticleUNet(convolutions=1 if settings.architecture == "article" else 2)
    network = TileNetwork(
        inner,
        tile_size,
        input_size,
        settings.resize_mode,
        standardize=settings.architecture == "unet",
        depth_channels=settings.depth_channels,
    )
    return network.to(memory_format=torch.channels_last)


def try_step(network: TileNetwork, encoder: str, loss: Callable[[Outputs, Tensor], Tensor]) -> None:
    """Run one training step of a U-Net on two tiles, before time is spent on it: forward, loss and backward.

    Weights, buffers (batch-norm statistics) and random state are left as they were. Raises UserError if the encoder
    cannot be trained with this input size: many are made for images of one size, and each family fails in its own way.
    """
    weights = next(network.parameters())
    devices = [weights.device] if weights.device.type == "cuda" else []
    buffers = [buffer.clone() for buffer in network.buffers()]
    tiles = torch.zeros(2, 1, network.tile_size, network.tile_size, dtype=weights.dtype, device=weights.device)
    network.train()
    try:
        with job_memory("use a smaller encoder"), torch.random.fork_rng(devices):
            with autocast(weights.device):
                outputs = network(tiles, tiles.new_zeros(2))
            loss(outputs, tiles).backward()
    except (AssertionError, ValueError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200].rstrip(".") or type(problem).__name__
        raise UserError(
            f"models.*.encoder: {encoder} cannot be trained on an input of {network.input_size} pixels ({reason}); "
            "use another input_size or encoder."
        ) from None
    network.zero_grad(set_to_none=True)
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)


def use_cpu_kernels(network: TileNetwork) -> None:
    """Let a U-Net that trains on a CPU compute in faster ways; the article's nets have no such."""
    if isinstance(network.inner, ArticleUNet):
        return
    from tgs_salt.models.unet import UNet

    if isinstance(network.inner, UNet):
        network.inner.use_cpu_kernels()


def disable_inplace_activations(network: nn.Module) -> None:
    """Let activations work out of place, for training: the same numbers without a copy of each input.

    In place, torch keeps a copy for the gradient, but for ReLU, whose gradient its result tells.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.ReLU) and getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]

"""A tile in, logits of the same size out: what fits a 101 x 101 tile to a U-Net, and back exactly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgs_salt.errors import UserError
from tgs_salt.learning.article import ArticleUNet
from tgs_salt.settings import Model

MULTIPLE = 32
# Mean and standard deviation of the competition's pixels; a constant, so that a tile's bytes decide alone.
MEAN, DEVIATION = 0.47, 0.16


class TileNetwork(nn.Module):
    """(n, 1, side, side) pixels in 0..1 to (n, 1, side, side) logits, around a network of another input size."""

    def __init__(self, inner: nn.Module, tile_size: int, input_size: int, fit: str, standardise: bool) -> None:
        super().__init__()
        self.inner = inner
        self.tile_size, self.input_size, self.fit = tile_size, input_size, fit
        self.mean, self.deviation = (MEAN, DEVIATION) if standardise else (0.0, 1.0)
        self.before = (input_size - tile_size) // 2
        self.after = input_size - tile_size - self.before

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = (pixels - self.mean) / self.deviation
        if self.fit == "resize":
            size = (self.input_size, self.input_size)
            pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        else:
            pixels = F.pad(pixels, (self.before, self.after, self.before, self.after), mode="reflect")
        logits = self.inner(pixels.contiguous(memory_format=torch.channels_last))
        if self.fit == "resize":
            size = (self.tile_size, self.tile_size)
            return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        end = self.before + self.tile_size
        return logits[..., self.before : end, self.before : end]


def build(settings: Model, tile_size: int, fetch: bool = True) -> TileNetwork:
    """The network of a model, in channels-last memory order.

    `fetch` false leaves pretrained encoders random, for weights that are loaded right after.
    Raises UserError if the input size does not fit the tile, or the encoder or its weights are not to be had.
    """
    smallest = -(-tile_size // MULTIPLE) * MULTIPLE
    input_size = settings.input_size or smallest
    if settings.fit == "pad" and not tile_size <= input_size <= 3 * tile_size - 2:
        raise UserError(
            f"models.*.input_size: reflect padding takes a tile of {tile_size} to {smallest}..{3 * tile_size - 2} "
            f"pixels, found {input_size}; change it, or use fit: resize."
        )
    if settings.network == "unet":
        from tgs_salt.learning import unet  # SMP costs seconds to import; the article's nets do without

        inner = unet.build(settings, fetch)
    else:
        inner = ArticleUNet(convolutions=1 if settings.network == "article" else 2)
    network = TileNetwork(inner, tile_size, input_size, settings.fit, standardise=settings.network == "unet")
    return network.to(memory_format=torch.channels_last)

"""Random changes of training tiles, in batches, on the device that trains.

Randomness is drawn for a whole epoch at once on the CPU: the same numbers on every device, and one copy an epoch.
Each setting reads numbers of its own, so that turning one on leaves the others' changes as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tgs_salt.settings import Augment

PLACES = 2**20  # in the normal numbers of an epoch; from one of them on each tile reads as many as it has pixels


@dataclass
class AugmentationParams:
    """The changes of an epoch: a row for each tile, in the order of the tiles; see `draw`."""

    settings: Augment
    numbers: Tensor
    noise_pool: Tensor | None

    def to(self, device: torch.device) -> AugmentationParams:
        noise_pool = self.noise_pool.to(device) if self.noise_pool is not None else None
        return AugmentationParams(self.settings, self.numbers.to(device), noise_pool)

    def apply(self, pixels: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Change (n, 1, side, side) pixels in 0..1 and their targets, which are tiles number `rows`.

        Geometry moves both alike and reflects at the borders. Targets of 0 and 1 stay such; a teacher's soft ones are
        interpolated and stay in 0..1. A blank tile's pixels stay as they are: it has to stay blank.
        """
        numbers = self.numbers.index_select(0, rows)
        columns = (column.view(-1, 1, 1, 1) for column in numbers[:, :8].unbind(1))
        flip, brightness, contrast, sigma, place, reach, down, right = columns
        given = pixels
        # Not aminmax, which takes fifteen times as long on a CPU.
        blank = pixels.amax(dim=(-1, -2), keepdim=True) == pixels.amin(dim=(-1, -2), keepdim=True)
        if _moves(self.settings):
            pixels, targets = _moved(pixels, targets, numbers[:, 8:].view(-1, 2, 3))
        elif self.settings.hflip:
            pixels = torch.where(flip > 0, pixels.flip(-1), pixels)
            targets = torch.where(flip > 0, targets.flip(-1), targets)
        middle = pixels.mean(dim=(-1, -2), keepdim=True)
        pixels = torch.addcmul(middle * (1 - contrast) + brightness, pixels, contrast)
        if self.noise_pool is not None:
            stretches = self.noise_pool.unfold(0, pixels[0].numel(), 1)
            noise = stretches[place.flatten().long()].view_as(pixels)
            pixels = torch.addcmul(pixels, noise, sigma)
        if self.settings.cutout:
            pixels = torch.where(_square(down, right, reach, pixels.shape[-1]), middle, pixels)
        return torch.where(blank, given, pixels.clamp(0, 1)), targets


def sample_augmentations(count: int, side: int, settings: Augment, generator: torch.Generator) -> AugmentationParams:
    """Random changes for `count` tiles of `side` x `side` pixels.

    Columns of the numbers: flip (0 or 1), brightness shift, contrast factor; noise: deviation, place in the bank;
    cutout: half its side, middle down and right, in tile sides; the 2 x 3 matrix that takes coordinates of the changed
    tile to those of the given one, both from -1 to 1 from edge to edge.
    """
    first, more = torch.rand(count, 3, generator=generator), torch.rand(count, 11, generator=generator)
    flip = (first[:, 0] < settings.hflip).float()
    sigma, place, reach, down, right = more[:, :5].unbind(1)
    columns = [
        flip,
        (2 * first[:, 1] - 1) * settings.brightness,
        1 + (2 * first[:, 2] - 1) * settings.contrast,
        sigma * settings.gauss_noise,
        (place * PLACES).floor(),
        reach * settings.cutout / 2,
        down,
        right,
    ]
    matrices = _matrices(flip, more[:, 5:], torch.rand(count, 2, generator=generator), settings)
    noise_pool = torch.randn(PLACES + side * side, generator=generator) if settings.gauss_noise else None
    return AugmentationParams(settings, torch.cat([torch.stack(columns, dim=1), matrices], dim=1), noise_pool)


def _matrices(flip: Tensor, uniform: Tensor, cut: Tensor, settings: Augment) -> Tensor:
    """(count, 6) rows of 2 x 3 matrices: a window of the tile, turned, scaled and shifted, then mirrored."""
    across, down, angle, zoom, *place = uniform.unbind(1)
    angle = (2 * angle - 1) * math.radians(settings.rotate)
    # Even odds to grow and to shrink by the same factor.
    shrink = (1 + settings.scale) ** (1 - 2 * zoom)
    cos, sin = angle.cos() * shrink, angle.sin() * shrink
    wide, high = 1 - cut[:, 0] * settings.crop, 1 - cut[:, 1] * settings.crop
    left, top = (1 - wide) * (2 * place[0] - 1), (1 - high) * (2 * place[1] - 1)
    shift_x, shift_y = (2 * across - 1) * 2 * settings.shift, (2 * down - 1) * 2 * settings.shift
    mirror = 1 - 2 * flip
    return torch.stack(
        [
            mirror * cos * wide, -mirror * sin * high, mirror * (cos * left - sin * top + shift_x),
            sin * wide, cos * high, sin * left + cos * top + shift_y,
        ],
        dim=1,
    )  # fmt: skip


def _moves(settings: Augment) -> bool:
    return any((settings.shift, settings.scale, settings.rotate, settings.crop))


def _moved(pixels: Tensor, targets: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Sample pixels and targets in one go."""
    both = torch.cat([pixels, targets], dim=1)
    moved = F.grid_sample(
        both, _grid(matrices, pixels.shape[-1]), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    pixels, soft = moved[:, :1], moved[:, 1:]
    hard = (targets - targets.round()).abs().amax(dim=(-1, -2), keepdim=True) == 0
    return pixels, torch.where(hard, (soft >= 0.5).to(soft.dtype), soft)


def _grid(matrices: Tensor, side: int) -> Tensor:
    """torch's `affine_grid` at a small part of its time: columns and rows are carried alone, then added."""
    middles = (torch.arange(side, device=matrices.device) * 2 + 1) / side - 1
    across = matrices[:, :, :1] * middles
    down = matrices[:, :, 1:2] * middles + matrices[:, :, 2:]
    return (across.unsqueeze(2) + down.unsqueeze(3)).permute(0, 2, 3, 1)


def _square(down: Tensor, right: Tensor, reach: Tensor, side: int) -> Tensor:
    """(n, 1, side, side) bool, true in a square around a point; sizes (n, 1, 1, 1) in tile sides."""
    middles = (torch.arange(side, device=down.device) + 0.5) / side
    return ((middles.view(-1, 1) - down).abs() < reach) & ((middles - right).abs() < reach)

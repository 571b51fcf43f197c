"""Random augmentation of training tiles, in batches, on the training device.

The random numbers of a whole epoch are drawn at once on the CPU: the same numbers on every device, and one copy.
Each setting reads its own numbers, so that enabling one does not change the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tgs_salt.settings import Augment

N_NOISE_OFFSETS = 2**20  # number of positions in the noise pool at which the noise of a tile may start


@dataclass
class AugmentationParams:
    """The augmentation of one epoch, one row per tile; see `sample_augmentations`.

    `values` is a (tiles, 14) float32 table, `noise_pool` a float32 vector of standard normal noise or None.
    """

    settings: Augment
    values: Tensor
    noise_pool: Tensor | None

    def to(self, device: torch.device) -> AugmentationParams:
        """Return a copy on `device`."""
        noise_pool = self.noise_pool.to(device) if self.noise_pool is not None else None
        return AugmentationParams(self.settings, self.values.to(device), noise_pool)

    def apply(self, pixels: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Augment the tiles `rows`, given as (n, 1, tile_size, tile_size) pixels and targets in 0..1.

        Pixels and targets are warped alike, with reflection at the borders. Binary targets stay binary; soft targets
        are interpolated and stay in 0..1. The pixels of a blank (constant) tile do not change.
        """
        values = self.values.index_select(0, rows)
        columns = (column.view(-1, 1, 1, 1) for column in values[:, :8].unbind(1))
        flip, brightness, contrast, sigma, noise_offset, half_side, center_y, center_x = columns
        original = pixels
        # aminmax takes fifteen times as long on a CPU.
        blank = pixels.amax(dim=(-1, -2), keepdim=True) == pixels.amin(dim=(-1, -2), keepdim=True)
        if _has_affine(self.settings):
            pixels, targets = _warp(pixels, targets, values[:, 8:].view(-1, 2, 3))
        elif self.settings.hflip:
            pixels = torch.where(flip > 0, pixels.flip(-1), pixels)
            targets = torch.where(flip > 0, targets.flip(-1), targets)
        mean = pixels.mean(dim=(-1, -2), keepdim=True)
        pixels = torch.addcmul(mean * (1 - contrast) + brightness, pixels, contrast)
        if self.noise_pool is not None:
            windows = self.noise_pool.unfold(0, pixels[0].numel(), 1)
            noise = windows[noise_offset.flatten().long()].view_as(pixels)
            pixels = torch.addcmul(pixels, noise, sigma)
        if self.settings.cutout:
            pixels = torch.where(_cutout_mask(center_y, center_x, half_side, pixels.shape[-1]), mean, pixels)
        return torch.where(blank, original, pixels.clamp(0, 1)), targets


def sample_augmentations(
    count: int, tile_size: int, settings: Augment, generator: torch.Generator
) -> AugmentationParams:
    """Draw random augmentations for `count` tiles of `tile_size` x `tile_size` pixels.

    Columns of `values`:
        0: flip, 0 or 1
        1, 2: brightness shift and contrast factor
        3, 4: standard deviation of the noise and its offset in the noise pool
        5, 6, 7: half the side of the cutout square and its center (y, x), as a fraction of the tile size
        8 to 13: the 2 x 3 affine matrix from output to input coordinates, both in -1..1 from edge to edge
    """
    flip_and_intensity = torch.rand(count, 3, generator=generator)
    noise_cutout_affine = torch.rand(count, 11, generator=generator)
    flip = (flip_and_intensity[:, 0] < settings.hflip).float()
    sigma, noise_offset, cutout_size, center_y, center_x = noise_cutout_affine[:, :5].unbind(1)
    columns = [
        flip,
        (2 * flip_and_intensity[:, 1] - 1) * settings.brightness,
        1 + (2 * flip_and_intensity[:, 2] - 1) * settings.contrast,
        sigma * settings.gauss_noise,
        (noise_offset * N_NOISE_OFFSETS).floor(),
        cutout_size * settings.cutout / 2,
        center_y,
        center_x,
    ]
    matrices = _affine_matrices(flip, noise_cutout_affine[:, 5:], torch.rand(count, 2, generator=generator), settings)
    noise_pool = (
        torch.randn(N_NOISE_OFFSETS + tile_size * tile_size, generator=generator) if settings.gauss_noise else None
    )
    return AugmentationParams(settings, torch.cat([torch.stack(columns, dim=1), matrices], dim=1), noise_pool)


def _affine_matrices(flip: Tensor, uniform: Tensor, crop: Tensor, settings: Augment) -> Tensor:
    """Return (count, 6) rows of 2 x 3 matrices of crop, rotation and scale, shift, and flip.

    They are composed in output-to-input order: the image itself is flipped first and cropped last.

    `uniform` (count, 6) and `crop` (count, 2) are uniform random numbers in 0..1.
    """
    shift_x, shift_y, angle, scale, *position = uniform.unbind(1)
    angle = (2 * angle - 1) * math.radians(settings.rotate)
    # Zooming in and out by the same factor are equally likely.
    factor = (1 + settings.scale) ** (1 - 2 * scale)
    cos, sin = angle.cos() * factor, angle.sin() * factor
    width, height = 1 - crop[:, 0] * settings.crop, 1 - crop[:, 1] * settings.crop
    crop_x, crop_y = (1 - width) * (2 * position[0] - 1), (1 - height) * (2 * position[1] - 1)
    shift_x, shift_y = (2 * shift_x - 1) * 2 * settings.shift, (2 * shift_y - 1) * 2 * settings.shift
    mirror = 1 - 2 * flip
    return torch.stack(
        [
            mirror * cos * width, -mirror * sin * height, mirror * (cos * crop_x - sin * crop_y + shift_x),
            sin * width, cos * height, sin * crop_x + cos * crop_y + shift_y,
        ],
        dim=1,
    )  # fmt: skip


def _has_affine(settings: Augment) -> bool:
    return any((settings.shift, settings.scale, settings.rotate, settings.crop))


def _warp(pixels: Tensor, targets: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Resample pixels and targets (n, 1, tile_size, tile_size) by affine matrices (n, 2, 3), in one call."""
    stacked = torch.cat([pixels, targets], dim=1)
    grid = _affine_grid(matrices, pixels.shape[-1])
    warped = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    pixels, soft = warped[:, :1], warped[:, 1:]
    binary = (targets - targets.round()).abs().amax(dim=(-1, -2), keepdim=True) == 0
    return pixels, torch.where(binary, (soft >= 0.5).to(soft.dtype), soft)


def _affine_grid(matrices: Tensor, tile_size: int) -> Tensor:
    """Return the (n, tile_size, tile_size, 2) grid of `F.affine_grid`, at a fraction of its time.

    Rows and columns are transformed separately, then added.
    """
    centers = (torch.arange(tile_size, device=matrices.device) * 2 + 1) / tile_size - 1
    columns = matrices[:, :, :1] * centers
    rows = matrices[:, :, 1:2] * centers + matrices[:, :, 2:]
    return (columns.unsqueeze(2) + rows.unsqueeze(3)).permute(0, 2, 3, 1)


def _cutout_mask(center_y: Tensor, center_x: Tensor, half_side: Tensor, tile_size: int) -> Tensor:
    """Return the cutout squares, (n, 1, tile_size, tile_size) bool.

    Their centers and half their sides are (n, 1, 1, 1), as fractions of the tile size.
    """
    centers = (torch.arange(tile_size, device=center_y.device) + 0.5) / tile_size
    return ((centers.view(-1, 1) - center_y).abs() < half_side) & ((centers - center_x).abs() < half_side)

"""Random changes of training tiles, in batches, on the device that trains.

Randomness is drawn for a whole epoch at once on the CPU: the same numbers on every device, and one copy an epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tgs_salt.settings import Augment


def draw(count: int, settings: Augment, generator: torch.Generator) -> Tensor:
    """Random numbers for `count` tiles: (count, 3) float32 of flip (0 or 1), brightness shift, contrast factor."""
    uniform = torch.rand(count, 3, generator=generator)
    return torch.stack(
        [
            (uniform[:, 0] < settings.flip).float(),
            (2 * uniform[:, 1] - 1) * settings.brightness,
            1 + (2 * uniform[:, 2] - 1) * settings.contrast,
        ],
        dim=1,
    )


def apply(pixels: Tensor, targets: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Change (n, 1, h, w) pixels in 0..1 and their targets by `numbers` (n, 3) of `draw`; geometry moves both alike."""
    flip, brightness, contrast = (column.view(-1, 1, 1, 1) for column in numbers.unbind(1))
    flipped = flip > 0
    pixels = torch.where(flipped, pixels.flip(-1), pixels)
    targets = torch.where(flipped, targets.flip(-1), targets)
    middle = pixels.mean(dim=(-1, -2), keepdim=True)
    changed = (pixels - middle) * contrast + middle + brightness
    # A blank tile stays as it is: its label follows from being blank, not from its picture.
    blank = pixels.amax(dim=(-1, -2), keepdim=True) == pixels.amin(dim=(-1, -2), keepdim=True)
    pixels = torch.where(blank, pixels, changed).clamp(0, 1)
    return pixels, targets

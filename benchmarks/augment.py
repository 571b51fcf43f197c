"""Random changes of tiles, ours and two libraries': `python -m benchmarks.augment [--rounds 7]`.

One thread, 101 x 101 tiles with their masks, randomness for each tile. kornia changes a batch at once; torchvision's
transforms draw once a call, so that each tile is a call of its own.
"""

import argparse
import sys
from importlib.metadata import version

import kornia.augmentation as kornia
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.timing import Case, interleave
from tgs_salt.settings import Augment
from tgs_salt.training.augmentation import sample_augmentations

SIDE, EPOCH = 101, 3200
BATCHES = (16, 32, 64)
TILES = 256  # changed in each timed call, whatever the batch
FLIPS = Augment(hflip=0.5, brightness=0.1, contrast=0.1)
GEOMETRY = Augment(hflip=0.5, brightness=0.1, contrast=0.1, shift=0.1, scale=0.1, rotate=10)
# The libraries' words for the same.
LIGHT = {"brightness": (0.9, 1.1), "contrast": (0.9, 1.1)}
MOVES = {"degrees": 10, "translate": (0.1, 0.1), "scale": (1 / 1.1, 1.1)}


def kornia_of(settings: Augment) -> nn.Module:
    moves = [kornia.RandomAffine(**MOVES, p=1.0, padding_mode="reflection")] if settings.rotate else []
    light = [
        kornia.RandomBrightness(LIGHT["brightness"], p=1.0),
        kornia.RandomContrast(LIGHT["contrast"], p=1.0),
    ]
    steps = [kornia.RandomHorizontalFlip(p=0.5), *moves, *light]
    return kornia.AugmentationSequential(*steps, data_keys=["input", "mask"])


def torchvision_of(settings: Augment) -> v2.Transform:
    moves = [v2.RandomAffine(**MOVES, interpolation=v2.InterpolationMode.BILINEAR)] if settings.rotate else []
    return v2.Compose([v2.RandomHorizontalFlip(0.5), *moves, v2.ColorJitter(**LIGHT)])


def one_by_one(change: v2.Transform, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    pairs = [
        change(tv_tensors.Image(image), tv_tensors.Mask(mask)) for image, mask in zip(pixels, targets, strict=True)
    ]
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])


def cases(settings: Augment, size: int) -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(size, 1, SIDE, SIDE, generator=generator)
    targets = (torch.rand(size, 1, SIDE, SIDE, generator=generator) > 0.5).float()
    changes = sample_augmentations(EPOCH, SIDE, settings, generator)
    rows = torch.randperm(EPOCH, generator=generator)[:size]
    batched, single = kornia_of(settings), torchvision_of(settings)
    repeats = TILES // size
    return [
        Case("ours", lambda: [changes.apply(pixels, targets, rows) for _ in range(repeats)]),
        Case("kornia", lambda: [batched(pixels, targets) for _ in range(repeats)]),
        Case("torchvision", lambda: [one_by_one(single, pixels, targets) for _ in range(repeats)]),
    ]


def drawing(rounds: int) -> str:
    """What an epoch's numbers cost."""
    noisy = GEOMETRY.model_copy(update={"noise": 0.05})
    generator = torch.Generator().manual_seed(0)
    timed = [
        Case("without noise", lambda: sample_augmentations(EPOCH, SIDE, GEOMETRY, generator)),
        Case("with noise", lambda: sample_augmentations(EPOCH, SIDE, noisy, generator)),
    ]
    interleave(timed, rounds)
    return ", ".join(f"{case.name} {case.median * 1e3:.1f} ms" for case in timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| changes | batch | ours, tiles/s | kornia | torchvision | ours against kornia | against torchvision |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, settings in (("flip, brightness, contrast", FLIPS), ("and shift, scale, rotation", GEOMETRY)):
        for size in BATCHES:
            timed = cases(settings, size)
            interleave(timed, options.rounds)
            ours, batched, single = (TILES / case.median for case in timed)
            cells = [f"{ours:,.0f}", f"{batched:,.0f}", f"{single:,.0f}", f"{ours / batched:.1f}x"]
            lines.append(f"| {name} | {size} | {' | '.join(cells)} | {ours / single:.1f}x |")
    text = (
        f"kornia {version('kornia')}, torchvision {version('torchvision')}, torch {version('torch')}; one thread.\n\n"
    )
    text += "\n".join(lines) + f"\n\nDrawing the numbers of {EPOCH:,} tiles: {drawing(options.rounds)}.\n"
    sys.stdout.write(text)


if __name__ == "__main__":
    main()

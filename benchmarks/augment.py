"""Benchmark augmentation against kornia and torchvision: `python -m benchmarks.augment [--rounds 7]`.

One thread, 101 x 101 tiles with masks, random parameters for each tile. kornia augments a batch at once; torchvision's
transforms draw parameters once per call, so each tile is one call.
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

SIDE, TILES_PER_EPOCH = 101, 3200
BATCH_SIZES = (16, 32, 64)
TILES = 256  # per timed call, for every batch size
FLIP = Augment(hflip=0.5, brightness=0.1, contrast=0.1)
AFFINE = Augment(hflip=0.5, brightness=0.1, contrast=0.1, shift=0.1, scale=0.1, rotate=10)
# The same settings for kornia and torchvision.
COLOR_ARGS = {"brightness": (0.9, 1.1), "contrast": (0.9, 1.1)}
AFFINE_ARGS = {"degrees": 10, "translate": (0.1, 0.1), "scale": (1 / 1.1, 1.1)}


def build_kornia(settings: Augment) -> nn.Module:
    """Return kornia's transforms for `settings`."""
    affine = [kornia.RandomAffine(**AFFINE_ARGS, p=1.0, padding_mode="reflection")] if settings.rotate else []
    color = [
        kornia.RandomBrightness(COLOR_ARGS["brightness"], p=1.0),
        kornia.RandomContrast(COLOR_ARGS["contrast"], p=1.0),
    ]
    transforms = [kornia.RandomHorizontalFlip(p=0.5), *affine, *color]
    return kornia.AugmentationSequential(*transforms, data_keys=["input", "mask"])


def build_torchvision(settings: Augment) -> v2.Transform:
    """Return torchvision's transforms for `settings`."""
    affine = [v2.RandomAffine(**AFFINE_ARGS, interpolation=v2.InterpolationMode.BILINEAR)] if settings.rotate else []
    return v2.Compose([v2.RandomHorizontalFlip(0.5), *affine, v2.ColorJitter(**COLOR_ARGS)])


def apply_per_tile(transform: v2.Transform, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Apply `transform` to each tile of a batch."""
    pairs = [
        transform(tv_tensors.Image(image), tv_tensors.Mask(mask)) for image, mask in zip(pixels, targets, strict=True)
    ]
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])


def build_cases(settings: Augment, batch_size: int) -> list[Case]:
    """Return the cases ours, kornia and torchvision, each for TILES tiles in batches."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch_size, 1, SIDE, SIDE, generator=generator)
    targets = (torch.rand(batch_size, 1, SIDE, SIDE, generator=generator) > 0.5).float()
    params = sample_augmentations(TILES_PER_EPOCH, SIDE, settings, generator)
    rows = torch.randperm(TILES_PER_EPOCH, generator=generator)[:batch_size]
    batch_transform, tile_transform = build_kornia(settings), build_torchvision(settings)
    batches = TILES // batch_size
    return [
        Case("ours", lambda: [params.apply(pixels, targets, rows) for _ in range(batches)]),
        Case("kornia", lambda: [batch_transform(pixels, targets) for _ in range(batches)]),
        Case("torchvision", lambda: [apply_per_tile(tile_transform, pixels, targets) for _ in range(batches)]),
    ]


def time_sampling(rounds: int) -> str:
    """Return the times to sample the parameters of an epoch, without and with noise."""
    with_noise = AFFINE.model_copy(update={"gauss_noise": 0.05})
    generator = torch.Generator().manual_seed(0)
    cases = [
        Case("without noise", lambda: sample_augmentations(TILES_PER_EPOCH, SIDE, AFFINE, generator)),
        Case("with noise", lambda: sample_augmentations(TILES_PER_EPOCH, SIDE, with_noise, generator)),
    ]
    interleave(cases, rounds)
    return ", ".join(f"{case.name} {case.median * 1e3:.1f} ms" for case in cases)


def main() -> None:
    """Print a Markdown table of tiles per second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each case (default: 7)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| augmentation | batch | ours, tiles/s | kornia | torchvision | ours / kornia | ours / torchvision |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, settings in (("flip, brightness, contrast", FLIP), ("and shift, scale, rotate", AFFINE)):
        for batch_size in BATCH_SIZES:
            cases = build_cases(settings, batch_size)
            interleave(cases, options.rounds)
            ours, per_batch, per_tile = (TILES / case.median for case in cases)
            cells = [f"{ours:,.0f}", f"{per_batch:,.0f}", f"{per_tile:,.0f}", f"{ours / per_batch:.1f}x"]
            lines.append(f"| {name} | {batch_size} | {' | '.join(cells)} | {ours / per_tile:.1f}x |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("kornia", "torchvision", "torch"))
    rows = "\n".join(lines)
    sampling = f"Sampling the parameters of {TILES_PER_EPOCH:,} tiles: {time_sampling(options.rounds)}."
    sys.stdout.write(f"{versions}; one thread.\n\n{rows}\n\n{sampling}\n")


if __name__ == "__main__":
    main()

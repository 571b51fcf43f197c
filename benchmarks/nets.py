"""Networks and random tiles for the benchmarks."""

import copy
from pathlib import Path

import numpy as np
import torch

from tgs_salt.models.tile_model import TileModel
from tgs_salt.settings import load_files
from tgs_salt.training.fit import Trainer
from tgs_salt.training.fold_data import FoldData

SIDE = 101
PRESETS = Path(__file__).parents[1] / "workflow" / "presets"
# By name: settings and a description.
NETWORKS = {
    "article": (
        load_files(PRESETS / "article.yaml").models["article"],
        "the article's network (101 x 101 resized to 128 x 128, batch 32, BCE, Adam)",
    ),
    "cpu": (
        load_files(PRESETS / "cpu.yaml").models["bce"],
        "the cpu preset's network (101 x 101 padded to 128 x 128, ImageNet weights, batch 16, BCE + Dice, AdamW)",
    ),
}


def random_tiles(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise images and masks (0 or 1) with salt below some row, both (count, 101, 101) uint8.

    The embedded dataset is not used: generating it changes the state of the memory allocator, which affects timings.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    masks = np.arange(SIDE)[:, None] >= rng.integers(0, 2 * SIDE, (count, 1, 1))
    return images, np.repeat(masks.astype(np.uint8), SIDE, axis=2)


def build_trainer(name: str, count: int) -> Trainer:
    """Return a trainer on `count` random tiles, as the command `train` builds it."""
    image_array, masks = random_tiles(count)
    images, depths = torch.from_numpy(image_array), torch.full((count,), 500.0)
    data = FoldData(
        images=images, targets=torch.from_numpy(masks * np.uint8(255)), depths=depths,
        held_out_images=images[:1], held_out_depths=depths[:1], held_out_masks=masks[:1], fold_hash="", data_hash="",
    )  # fmt: skip
    settings = NETWORKS[name][0].model_copy(update={"epochs": 10_000})  # the schedule must not end
    return Trainer(name, 0, settings, data, torch.device("cpu"), None)


def to_nchw(network: TileModel) -> TileModel:
    """Return a copy of `network` that computes in torch's default memory format, NCHW."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    plain.inner.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(memory_format=torch.contiguous_format),))
    return plain

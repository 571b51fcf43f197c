"""The networks that are trained and run for the clock, and tiles for them."""

import copy
from pathlib import Path

import numpy as np
import torch

from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.settings import load_files
from tgs_salt.training.fit import Trainer
from tgs_salt.training.fold_data import FoldData

SIDE = 101
PRESETS = Path(__file__).parents[1] / "workflow" / "presets"
# Settings of each, and what they are.
NETS = {
    "article": (
        load_files(PRESETS / "article.yaml").models["article"],
        "the article's net (101 x 101 resized to 128 x 128, batch 32, BCE, Adam)",
    ),
    "light": (
        load_files(PRESETS / "cpu.yaml").models["light"],
        "the cpu preset's net (101 x 101 padded to 128 x 128, ImageNet weights, batch 16, BCE + Dice, AdamW)",
    ),
}


def random_tiles(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with salt from some row on: (count, 101, 101) uint8 pictures, and masks of 0 and 1.

    The embedded dataset would not do: drawing it changes how this process' allocator works, which is to be measured.
    """
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    masks = np.arange(SIDE)[:, None] >= random.integers(0, 2 * SIDE, (count, 1, 1))
    return pictures, np.repeat(masks.astype(np.uint8), SIDE, axis=2)


def trainer_of(name: str, count: int) -> Trainer:
    """A training of `count` tiles that has not begun, as the command `train` makes it."""
    pictures, masks = random_tiles(count)
    images, depths = torch.from_numpy(pictures), torch.full((count,), 500.0)
    data = FoldData(
        images=images, targets=torch.from_numpy(masks * np.uint8(255)), depths=depths,
        held_out_images=images[:1], held_out_depths=depths[:1], held_out_masks=masks[:1], fold_hash="", data_hash="",
    )  # fmt: skip
    endless = NETS[name][0].model_copy(update={"epochs": 10_000})  # the schedule does not run out
    return Trainer(name, 0, endless, data, torch.device("cpu"), None)


def nchw(network: TileNetwork) -> TileNetwork:
    """A copy that computes in torch's default memory order throughout, as a network does that nobody told otherwise."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    plain.inner.register_forward_pre_hook(lambda _, given: (given[0].clone(memory_format=torch.contiguous_format),))
    return plain

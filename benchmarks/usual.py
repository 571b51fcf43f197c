"""The usual training loop, for `benchmarks.training` to take turns with: a DataLoader with two worker processes that
change tile by tile with numpy and OpenCV, torch's default memory order, the loss read at every step.

The network is the one of a training of ours, its layers as the packages have them; loss and optimizer are the same.
"""

import sys
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.nets import NETS, SIDE, nchw, random_tiles
from benchmarks.turns import serve
from tgs_salt.models.tile_model import build
from tgs_salt.settings import Augment
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer

EPOCH = 100_000  # tiles: the workers never come to the end of it


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Decoded pictures and masks, changed at random one by one."""

    def __init__(self, change: Augment) -> None:
        self.pictures, self.masks = random_tiles(256)
        self.change = change
        self.random = np.random.default_rng()

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture, mask = self.pictures[index % 256], self.masks[index % 256]
        if self.random.random() < self.change.hflip:
            picture, mask = cv2.flip(picture, 1), cv2.flip(mask, 1)
        pixels = picture.astype(np.float32) / 255
        middle = pixels.mean()
        factor = 1 + self.change.contrast * self.random.uniform(-1, 1)
        shift = self.change.brightness * self.random.uniform(-1, 1)
        pixels = np.clip((pixels - middle) * factor + middle + shift, 0, 1, dtype=np.float32)
        return torch.from_numpy(pixels)[None], torch.from_numpy(mask.astype(np.float32))[None]


def main(name: str, steps: int, threads: int, order: str) -> None:
    torch.set_num_threads(threads)
    settings = NETS[name][0]
    network = build(settings, SIDE)
    network = nchw(network) if order == "nchw" else network
    loss_function = build_loss(settings.loss)
    optimizer = build_optimizer(network, settings)
    loader = DataLoader(Tiles(settings.augment), settings.batch_size, shuffle=True, num_workers=2)
    batches: Iterator[list[Tensor]] = iter(loader)
    network.train()

    def work() -> None:
        total = 0.0
        for _ in range(steps):
            pixels, targets = next(batches)
            optimizer.zero_grad()
            loss = loss_function(network(pixels), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()

    serve(work)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

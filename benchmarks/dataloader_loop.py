"""A common training loop with a DataLoader, as a worker process of `benchmarks.training`.

Two worker processes augment tile by tile with numpy and OpenCV, and the loss is read at each step. Network, loss and
optimizer are those of this project, but the layers are those of the packages, without the CPU kernels.
"""

import sys
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.nets import NETWORKS, SIDE, random_tiles, to_nchw
from benchmarks.worker_process import serve
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Augment
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer

TILES_PER_EPOCH = 100_000  # more than the benchmark reads


class TileDataset(Dataset[tuple[Tensor, Tensor]]):
    """Decoded images and masks with random augmentation, tile by tile."""

    def __init__(self, augment: Augment) -> None:
        self.images, self.masks = random_tiles(256)
        self.augment = augment
        self.rng = np.random.default_rng()

    def __len__(self) -> int:
        return TILES_PER_EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.images[index % 256], self.masks[index % 256]
        if self.rng.random() < self.augment.hflip:
            image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
        pixels = image.astype(np.float32) / 255
        mean = pixels.mean()
        contrast = 1 + self.augment.contrast * self.rng.uniform(-1, 1)
        brightness = self.augment.brightness * self.rng.uniform(-1, 1)
        pixels = np.clip((pixels - mean) * contrast + mean + brightness, 0, 1, dtype=np.float32)
        return torch.from_numpy(pixels)[None], torch.from_numpy(mask.astype(np.float32))[None]


def main(name: str, steps: int, threads: int, memory_format: str) -> None:
    """Serve `steps` training steps of network `name` per request; `memory_format` is nchw or nhwc."""
    torch.set_num_threads(threads)
    settings = NETWORKS[name][0]
    network = build_model(settings, SIDE)
    network = to_nchw(network) if memory_format == "nchw" else network
    loss_fn = build_loss(settings.loss)
    optimizer = build_optimizer(network, settings)
    loader = DataLoader(TileDataset(settings.augment), settings.batch_size, shuffle=True, num_workers=2)
    batches: Iterator[list[Tensor]] = iter(loader)
    network.train()

    def train_steps() -> None:
        loss_sum = 0.0
        for _ in range(steps):
            pixels, targets = next(batches)
            optimizer.zero_grad()
            loss = loss_fn(network(pixels), targets)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()

    serve(train_steps)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

"""`predict`: one fold's model over its own tiles (oof) or the test tiles, as probability bytes.

python -m tgs_salt predict --split oof --model results/tgs/models/unet/fold0/model.pt --images ... --output .../oof.npy
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgs_salt import files
from tgs_salt.compute.amp import autocast
from tgs_salt.compute.device import use_device
from tgs_salt.compute.oom import job_memory
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.inference.backends import build_backend
from tgs_salt.log import progress
from tgs_salt.models.model_file import load_model
from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.settings import Predict

Batch = tuple[np.ndarray, np.ndarray]
CPU_BATCH, GPU_BATCH = 16, 256  # more than 16 falls out of a CPU's cache


def predict(
    split: str, settings: Predict, *, model: Path, images: Path, tiles: Path, folds: Path, output: Path,
    gpus: str, slots: int = 1, shard: tuple[int, int] = (0, 1),
) -> None:  # fmt: skip
    """Write (n, side, side) uint8 probabilities of the fold's own tiles (`split` oof) or of all test tiles (test).

    Rows follow tiles.csv. A byte is min(255, floor(256 p)); blank tiles are zero. `shard` (k, n) writes the k-th of n
    parts of the rows. They are cut between batches: a network may answer other batches with other last bits.
    """
    with (
        use_device(gpus, slots) as device,
        job_memory(f"lower predict.batch_size (now {predict_batch_size(settings, device)})"),
    ):
        network, about = load_model(model, device)
        torch.set_num_threads(about["settings"]["threads"])
        table = read_tiles(tiles, "train" if split == "oof" else "test")
        side = about["tile_size"]
        pictures = files.read_array(images, (len(table), side, side))
        rows = table["row"].to_numpy()
        if split == "oof":
            rows = rows[read_folds(folds, table["id"]) == about["fold"]]
            _check_fold(model, about["fold_hash"], table["id"].iloc[rows])
        flips = settings.tta == "hflip"
        size = predict_batch_size(settings, device)
        rows = rows[_shard(len(rows), size, *shard)]
        with (
            files.create_memmap(output, (len(rows), side, side)) as filled,
            progress(f"predict {split}", len(rows)) as done,
        ):
            first = 0
            depths = table["depth"].to_numpy(np.float32)
            batches = ((np.asarray(pictures[part]), depths[part]) for part in _parts(rows, size))
            for bytes_ in probability_bytes(network, batches, device, flips, settings.backend):
                filled[first : first + len(bytes_)] = bytes_
                first += len(bytes_)
                done.advance(len(bytes_))
                files.release_pages(pictures, filled)


def predict_batch_size(settings: Predict, device: torch.device) -> int:
    """How many tiles a network is given at once."""
    return settings.batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)


def _shard(count: int, size: int, k: int, n: int) -> slice:
    """The k-th of n parts of `count` rows, in whole batches of `size` rows but for the last one."""
    batches = -(-count // size)
    return slice(batches * k // n * size, min(count, batches * (k + 1) // n * size))


def _parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _check_fold(model: Path, fold_hash: str, ids: Iterable[str]) -> None:
    if files.digest("\n".join(ids))[:16] != fold_hash:
        raise UserError(f"{model}: was trained with other folds than folds.csv has now; train this fold again.")


def probability_bytes(
    network: TileNetwork, batches: Iterator[Batch], device: torch.device, flips: bool, engine: str = "eager"
) -> Iterator[np.ndarray]:
    """Turn batches of (n, side, side) uint8 tiles with their depths, (n,) float32, into uint8 probabilities of the
    tiles' shape; blank tiles give zeros.

    With `flips` the probabilities of the tile and of its left-right mirror image are averaged.
    """
    run = None
    for batch, depth in batches:
        with torch.inference_mode(), autocast(device):
            tiles = torch.from_numpy(batch).to(device)
            pixels = to_float(tiles)
            more = (torch.from_numpy(depth).to(device),) if network.depth_channels else ()
            run = run or build_backend(network, engine, (pixels, *more))
            salt = torch.sigmoid(run(pixels, *more).float())
            if flips:
                salt = (salt + torch.sigmoid(run(pixels.flip(-1), *more).float()).flip(-1)) / 2
            salt_bytes = quantize_probabilities(salt, tiles)
        yield salt_bytes.cpu().numpy()


def quantize_probabilities(salt: Tensor, tiles: Tensor) -> Tensor:
    """(n, 1, side, side) probabilities of uint8 `tiles` as (n, side, side) bytes, min(255, floor(256 p)), blank 0."""
    salt_bytes = (salt[:, 0] * 256).floor().clamp(max=255).to(torch.uint8)
    blank = tiles.amax(dim=(1, 2)) == tiles.amin(dim=(1, 2))
    return salt_bytes.masked_fill(blank.view(-1, 1, 1), 0)


def to_float(tiles: Tensor) -> Tensor:
    """(n, side, side) uint8 to (n, 1, side, side) float32 in 0..1."""
    return tiles.unsqueeze(1).float() / 255

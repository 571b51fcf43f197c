"""`predict`: write one fold's probabilities, as bytes, for its own tiles (oof) or for the test tiles.

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
from tgs_salt.compute.oom import explain_job_oom
from tgs_salt.data.folds import read_folds
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.inference.backends import build_backend
from tgs_salt.log import progress
from tgs_salt.models.model_file import load_model
from tgs_salt.models.tile_model import TileModel
from tgs_salt.settings import Predict

Batch = tuple[np.ndarray, np.ndarray]  # tiles and their depths
CPU_BATCH, GPU_BATCH = 16, 256  # larger batches do not fit into a CPU's cache


def predict(
    split: str, settings: Predict, *, model: Path, images: Path, tiles: Path, folds: Path, output: Path,
    gpus: str, jobs_per_gpu: int = 1, shard: tuple[int, int] = (0, 1),
) -> None:  # fmt: skip
    """Write (n, side, side) uint8 probabilities of the fold's own tiles (`split` oof) or of all test tiles (test).

    Rows follow tiles.csv. A byte is min(255, floor(256 p)); blank tiles are zero. `shard` (k, n) writes the k-th of n
    shards of the rows. Shards consist of whole batches, because the last bits may depend on the tiles of a batch.
    """
    with (
        use_device(gpus, jobs_per_gpu) as device,
        explain_job_oom(f"lower predict.batch_size (now {predict_batch_size(settings, device)})"),
    ):
        network, metadata = load_model(model, device)
        torch.set_num_threads(metadata["settings"]["threads"])
        table = read_tiles(tiles, "train" if split == "oof" else "test")
        side = metadata["tile_size"]
        all_images = files.read_array(images, (len(table), side, side))
        rows = table["row"].to_numpy()
        if split == "oof":
            rows = rows[read_folds(folds, table["id"]) == metadata["fold"]]
            _check_fold(model, metadata["fold_hash"], table["id"].iloc[rows])
        hflip = settings.tta == "hflip"
        batch_size = predict_batch_size(settings, device)
        rows = rows[_shard_slice(len(rows), batch_size, *shard)]
        with (
            files.create_memmap(output, (len(rows), side, side)) as predictions,
            progress(f"predict {split}", len(rows)) as reporter,
        ):
            start = 0
            depths = table["depth"].to_numpy(np.float32)
            batches = ((np.asarray(all_images[batch]), depths[batch]) for batch in _split_batches(rows, batch_size))
            for probabilities in predict_batches(network, batches, device, hflip, settings.backend):
                predictions[start : start + len(probabilities)] = probabilities
                start += len(probabilities)
                reporter.advance(len(probabilities))
                files.release_pages(all_images, predictions)


def predict_batch_size(settings: Predict, device: torch.device) -> int:
    """Return the number of tiles per batch: the setting, or a default for the device."""
    return settings.batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)


def _shard_slice(count: int, batch_size: int, k: int, n: int) -> slice:
    """Return the k-th of n slices of `count` rows; all batches are whole except for the last one."""
    batches = -(-count // batch_size)
    return slice(batches * k // n * batch_size, min(count, batches * (k + 1) // n * batch_size))


def _split_batches(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def _check_fold(model: Path, fold_hash: str, ids: Iterable[str]) -> None:
    if files.digest("\n".join(ids))[:16] != fold_hash:
        raise UserError(f"{model}: its training folds differ from folds.csv; train this fold again.")


def predict_batches(
    network: TileModel, batches: Iterator[Batch], device: torch.device, hflip: bool, backend: str = "eager"
) -> Iterator[np.ndarray]:
    """Yield (n, side, side) uint8 probabilities for each batch; blank tiles are zero.

    Args:
        network: the model, on `device`.
        batches: (n, side, side) uint8 tiles with their depths, (n,) float32.
        device: the device that computes.
        hflip: whether to average the probabilities of each tile and of its left-right mirror image.
        backend: eager, torchscript or openvino.
    """
    predictor = None
    for images, depths in batches:
        with torch.inference_mode(), autocast(device):
            tiles = torch.from_numpy(images).to(device)
            pixels = to_float(tiles)
            depth = (torch.from_numpy(depths).to(device),) if network.depth_channels else ()
            predictor = predictor or build_backend(network, backend, (pixels, *depth))
            salt = torch.sigmoid(predictor(pixels, *depth).float())
            if hflip:
                salt = (salt + torch.sigmoid(predictor(pixels.flip(-1), *depth).float()).flip(-1)) / 2
            probabilities = quantize_probabilities(salt, tiles)
        yield probabilities.cpu().numpy()


def quantize_probabilities(probabilities: Tensor, tiles: Tensor) -> Tensor:
    """Return probabilities as bytes, min(255, floor(256 p)), which are zero for blank (constant) tiles.

    Args:
        probabilities: (n, 1, side, side) float32 in 0..1.
        tiles: (n, side, side) uint8.

    Returns:
        (n, side, side) uint8.
    """
    quantized = (probabilities[:, 0] * 256).floor().clamp(max=255).to(torch.uint8)
    blank = tiles.amax(dim=(1, 2)) == tiles.amin(dim=(1, 2))
    return quantized.masked_fill(blank.view(-1, 1, 1), 0)


def to_float(tiles: Tensor) -> Tensor:
    """Return (n, side, side) uint8 tiles as (n, 1, side, side) float32 in 0..1."""
    return tiles.unsqueeze(1).float() / 255

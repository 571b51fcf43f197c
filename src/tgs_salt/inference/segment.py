"""`segment`: masks for pictures of any size, from a bundle alone.

    tgs-salt segment bundle.zip section.png tiles/ --output masks --write mask --write overlay

A picture is read in windows of the size of a tile, which overlap; their votes are blended. A picture of a tile's size
is one window, and gets the mask that a submission would have for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat, tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tgs_salt.compute.device import use_device
from tgs_salt.compute.oom import explain_out_of_memory
from tgs_salt.errors import UserError
from tgs_salt.inference.bundle import Bundle, load_bundle
from tgs_salt.inference.image_files import Picture, Write, find, writers
from tgs_salt.inference.predict import predict_batch_size, probability_bytes
from tgs_salt.inference.sliding_window import Blend, starts, windows
from tgs_salt.log import log_and_echo, progress
from tgs_salt.models.tile_model import MEAN_DEPTH


class Window(NamedTuple):
    """A window of a picture: where it lies, and its (side, side) uint8 pixels."""

    picture: Picture
    shape: tuple[int, int]
    row: int
    column: int
    pixels: np.ndarray


def segment(
    bundle: Path, inputs: list[Path], output: Path, kinds: list[str], *,
    overlap: int | None = None, depth: float | None = None, gpus: str = "0", slots: int = 1, threads: int | None = None,
) -> None:  # fmt: skip
    """Write the mask of each picture that `inputs` name into the folder `output`, as `kinds` (mask, overlay, rle) say.

    `depth`, as in depths.csv, is heard by networks of three channels alone; the mean depth if it is not known.
    The decision's minimum area is a tile's: it holds for pictures of a tile's size, not for larger ones.
    Raises UserError before any work if a picture cannot be read.
    """
    pictures = find(inputs, output, kinds)
    shapes = [picture.read().shape for picture in pictures]
    if threads:
        torch.set_num_threads(threads)
    with (
        use_device(gpus, slots) as device,
        explain_out_of_memory("stop what else computes there, or use --gpus 0", "use smaller pictures"),
        writers(output, kinds) as write,
    ):
        loaded = load_bundle(bundle, device)
        side = loaded.tile_size
        shared = side // 4 if overlap is None else overlap
        if not 0 <= shared < side:
            raise UserError(f"--overlap: expected 0 to {side - 1} pixels for tiles of {side}, found {shared}.")
        count = sum(len(starts(h, side, shared)) * len(starts(w, side, shared)) for h, w in shapes)
        blend: Blend | None = None
        before: Picture | None = None
        with progress("windows", count) as done:
            for window, summed in votes(
                loaded, _all_windows(pictures, side, shared), device, MEAN_DEPTH if depth is None else depth
            ):
                if window.picture is not before:
                    _finish(before, blend, loaded, write)
                    before, blend = window.picture, Blend(window.shape, side, shared, loaded.threshold)
                assert blend is not None
                blend.add(window.row, window.column, summed, sum(loaded.votes))
                done.advance()
            _finish(before, blend, loaded, write)
    log_and_echo(f"{output}: {len(pictures):,} pictures segmented")


def _all_windows(pictures: list[Picture], side: int, overlap: int) -> Iterator[Window]:
    for picture in pictures:
        pixels = picture.read()
        for row, column, part in windows(pixels, side, overlap):
            yield Window(picture, pixels.shape, row, column, part)


def votes(
    bundle: Bundle, stream: Iterable[Window], device: torch.device, depth: float = MEAN_DEPTH
) -> Iterator[tuple[Window, np.ndarray]]:  # fmt: skip
    """Each window with the (side, side) uint32 sum of the networks' probability bytes, weighted by their votes.

    Windows of one batch may be of several pictures.
    """
    size = predict_batch_size(bundle.predict, device)
    flips, engine = bundle.predict.tta == "hflip", bundle.predict.backend
    batches, *copies = tee(_batched(stream, size), len(bundle.networks) + 1)
    said = [
        probability_bytes(network, map(_as_tiles, copy, repeat(depth)), device, flips, engine)
        for network, copy in zip(bundle.networks, copies, strict=True)
    ]
    for batch, *of_networks in zip(batches, *said, strict=True):
        summed = sum(
            np.multiply(bytes_, votes, dtype=np.uint32) for bytes_, votes in zip(of_networks, bundle.votes, strict=True)
        )
        yield from zip(batch, summed, strict=True)


def _as_tiles(batch: list[Window], depth: float) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([window.pixels for window in batch]), np.full(len(batch), depth, np.float32)


def _batched(stream: Iterable[Window], size: int) -> Iterator[list[Window]]:
    windows = iter(stream)
    while batch := list(islice(windows, size)):
        yield batch


def _finish(picture: Picture | None, blend: Blend | None, bundle: Bundle, write: list[Write]) -> None:
    """Write a picture's mask, if there is one."""
    if picture is None or blend is None:
        return
    mask = blend.finish()
    if mask.shape == (bundle.tile_size, bundle.tile_size) and mask.sum() < bundle.min_area:
        mask[:] = False
    for one in write:
        one(picture, mask)

"""`segment`: write masks of images of any size, given a bundle only.

    tgs-salt segment bundle.zip section.png tiles/ --output masks --format mask --format overlay

An image is split into overlapping windows of a tile's size, whose predictions are blended. An image of a tile's size
is one window: its mask is the same as in a submission.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat, tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tgs_salt.compute.device import use_device
from tgs_salt.compute.oom import explain_oom
from tgs_salt.errors import UserError
from tgs_salt.inference.bundle import Bundle, load_bundle
from tgs_salt.inference.image_files import ImageFile, MaskWriter, find_images, open_writers
from tgs_salt.inference.predict import predict_batch_size, predict_batches
from tgs_salt.inference.sliding_window import WindowBlender, iter_windows, window_starts
from tgs_salt.log import log_and_echo, progress
from tgs_salt.models.tile_model import DEPTH_MEAN


class Window(NamedTuple):
    """A window: its image with (height, width), its first row and column, and its (side, side) uint8 pixels."""

    image: ImageFile
    shape: tuple[int, int]
    row: int
    column: int
    pixels: np.ndarray


def segment(
    bundle_path: Path, inputs: list[Path], output: Path, formats: list[str], *,
    overlap: int | None = None, depth: float | None = None,
    gpus: str = "0", jobs_per_gpu: int = 1, threads: int | None = None,
) -> None:  # fmt: skip
    """Write the masks of the images in `inputs` (files and folders) into the folder `output`.

    The minimum area applies to images of a tile's size only. Raises UserError before prediction starts if an image
    cannot be read.

    Args:
        bundle_path: the file that `export` wrote.
        inputs: image files and folders of them.
        output: folder of the written files.
        formats: mask, overlay and rle, or some of these.
        overlap: least number of pixels that neighboring windows share; a quarter of a tile by default.
        depth: depth of all images as in depths.csv, used by models with depth channels; the mean depth by default.
        gpus: 0, a number of GPUs, or auto.
        jobs_per_gpu: number of jobs that may share a GPU.
        threads: CPU threads; torch's default if not given.
    """
    images = find_images(inputs, output, formats)
    shapes = [image.read().shape for image in images]
    if threads:
        torch.set_num_threads(threads)
    with (
        use_device(gpus, jobs_per_gpu) as device,
        explain_oom("stop other programs on this GPU, or use --gpus 0", "use smaller images"),
        open_writers(output, formats) as writers,
    ):
        bundle = load_bundle(bundle_path, device)
        side = bundle.tile_size
        if overlap is None:
            overlap = side // 4
        if not 0 <= overlap < side:
            raise UserError(f"--overlap: expected 0 to {side - 1} pixels for tiles of {side}, found {overlap}.")
        count = sum(len(window_starts(h, side, overlap)) * len(window_starts(w, side, overlap)) for h, w in shapes)
        blender: WindowBlender | None = None
        image: ImageFile | None = None
        with progress("windows", count) as reporter:
            for window, vote_sum in predict_windows(
                bundle, _iter_image_windows(images, side, overlap), device, DEPTH_MEAN if depth is None else depth
            ):
                if window.image is not image:
                    _write_mask(image, blender, bundle, writers)
                    image, blender = window.image, WindowBlender(window.shape, side, overlap, bundle.threshold)
                assert blender is not None
                blender.add(window.row, window.column, vote_sum, sum(bundle.votes))
                reporter.advance()
            _write_mask(image, blender, bundle, writers)
    log_and_echo(f"{output}: segmented {len(images):,} images")


def _iter_image_windows(images: list[ImageFile], side: int, overlap: int) -> Iterator[Window]:
    for image in images:
        pixels = image.read()
        for row, column, window_pixels in iter_windows(pixels, side, overlap):
            yield Window(image, pixels.shape, row, column, window_pixels)


def predict_windows(
    bundle: Bundle, windows: Iterable[Window], device: torch.device, depth: float = DEPTH_MEAN
) -> Iterator[tuple[Window, np.ndarray]]:  # fmt: skip
    """Yield each window with the (side, side) uint32 sum of the networks' probability bytes, weighted by their votes.

    A batch may contain windows of several images.
    """
    batch_size = predict_batch_size(bundle.predict, device)
    hflip, backend = bundle.predict.tta == "hflip", bundle.predict.backend
    batches, *copies = tee(_batched(windows, batch_size), len(bundle.networks) + 1)
    predictions = [
        predict_batches(network, map(_stack, copy, repeat(depth)), device, hflip, backend)
        for network, copy in zip(bundle.networks, copies, strict=True)
    ]
    for batch, *by_network in zip(batches, *predictions, strict=True):
        vote_sum = sum(
            np.multiply(probabilities, votes, dtype=np.uint32)
            for probabilities, votes in zip(by_network, bundle.votes, strict=True)
        )
        yield from zip(batch, vote_sum, strict=True)


def _stack(batch: list[Window], depth: float) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([window.pixels for window in batch]), np.full(len(batch), depth, np.float32)


def _batched(windows: Iterable[Window], batch_size: int) -> Iterator[list[Window]]:
    iterator = iter(windows)
    while batch := list(islice(iterator, batch_size)):
        yield batch


def _write_mask(
    image: ImageFile | None, blender: WindowBlender | None, bundle: Bundle, writers: list[MaskWriter]
) -> None:
    """Write the mask of `image`; do nothing before the first image."""
    if image is None or blender is None:
        return
    mask = blender.finish()
    if mask.shape == (bundle.tile_size, bundle.tile_size) and mask.sum() < bundle.min_area:
        mask[:] = False
    for write in writers:
        write(image, mask)

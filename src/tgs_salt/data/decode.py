"""Decode a dataset's PNG files in a thread pool; OpenCV releases the GIL while it decodes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from tgs_salt.data.archive import Reader
from tgs_salt.data.layout import DatasetSource
from tgs_salt.errors import UserError
from tgs_salt.log import progress
from tgs_salt.settings import MAX_TILE_SIZE

CHUNK_SIZE = 256  # images per thread pool task
FindProblem = Callable[[np.ndarray, int], str | None]


def decode_images(
    dataset: DatasetSource, kind: str, ids: list[str], tile_size: int, find_problem: FindProblem, threads: int
) -> np.ndarray:
    """Decode the images of one kind in the order of `ids`.

    Args:
        dataset: Source of the PNG files.
        kind: One of `tgs_salt.data.layout.KINDS`, such as "train images".
        ids: Tile ids.
        tile_size: Expected height and width in pixels.
        find_problem: `tile_problem` or `mask_problem`.
        threads: Size of the thread pool.

    Returns:
        Gray values, or 0 and 1 for masks; uint8 of shape (n, tile_size, tile_size).

    Raises:
        UserError: An image is damaged or `find_problem` rejects it.
    """
    images = np.empty((len(ids), tile_size, tile_size), np.uint8)
    readers = dataset.image_readers[kind]

    def decode_chunk(start: int) -> int:
        chunk = ids[start : start + CHUNK_SIZE]
        for row, tile_id in enumerate(chunk, start):
            name = f"{dataset.path}: {kind[:-1]} {tile_id}.png"
            images[row] = _decode(readers[tile_id], name, tile_size, find_problem)
        return len(chunk)

    with progress(f"preprocess {kind}", len(ids)) as reporter, ThreadPoolExecutor(threads) as pool:
        for count in pool.map(decode_chunk, range(0, len(ids), CHUNK_SIZE)):
            reporter.advance(count)
    return images


def _decode(read: Reader, name: str, tile_size: int, find_problem: FindProblem) -> np.ndarray:
    content = read()
    # OpenCV pads a truncated file silently, so check for the end marker.
    complete = content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in content[-12:]
    # Check the size in the header first: a few kilobytes can decode to gigabytes.
    width, height = struct.unpack(">II", content[16:24]) if complete else (0, 0)
    if width * height > MAX_TILE_SIZE**2:
        raise UserError(f"{name} {_size_problem((height, width), tile_size)}.")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if complete else None
    if image is None:
        raise UserError(
            f"{name} is not a valid PNG file ({len(content):,} bytes); fix it or download the dataset again."
        )
    problem = find_problem(image, tile_size)
    if problem:
        raise UserError(f"{name} {problem}.")
    if image.ndim == 3:
        return np.ascontiguousarray(image[..., 0])
    # The competition's masks are 16-bit (0, 65535) if they contain salt and 8-bit (0) if they do not.
    return (image > 0).astype(np.uint8)


def tile_problem(image: np.ndarray, tile_size: int) -> str | None:
    """Return what is wrong with a decoded tile image, or None if it is 8-bit RGB with equal channels."""
    if image.shape[:2] != (tile_size, tile_size):
        return _size_problem(image.shape, tile_size)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        return "is not an 8-bit RGB image, as tiles are"
    if (image[..., 0] != image[..., 1]).any() or (image[..., 0] != image[..., 2]).any():
        return "has colors; the three channels of a tile are equal"
    return None


def mask_problem(image: np.ndarray, tile_size: int) -> str | None:
    """Return what is wrong with a decoded mask image, or None if it is gray with 0 and at most one other value."""
    if image.shape[:2] != (tile_size, tile_size):
        return _size_problem(image.shape, tile_size)
    if image.ndim != 2:
        return "is not a grayscale image, as masks are"
    values = np.unique(image)
    if image.dtype not in (np.uint8, np.uint16) or len(values) > 2 or (len(values) == 2 and values[0] != 0):
        return "is not a mask; expected 0 and one other value for salt"
    return None


def _size_problem(shape: tuple[int, ...], tile_size: int) -> str:
    return f"is {shape[1]:,} x {shape[0]:,} pixels, expected {tile_size} x {tile_size} (data.tile_size)"

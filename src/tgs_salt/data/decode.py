"""Decode a dataset's PNGs in a thread pool: OpenCV leaves the interpreter lock, so threads add up."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from tgs_salt.data.archive import Read
from tgs_salt.data.layout import DatasetSource
from tgs_salt.errors import UserError
from tgs_salt.log import progress
from tgs_salt.settings import MAX_TILE_SIZE

CHUNK = 256
Problem = Callable[[np.ndarray, int], str | None]


def decode_all(
    dataset: DatasetSource, kind: str, ids: list[str], side: int, problem_of: Problem, threads: int
) -> np.ndarray:
    """Decode the pictures of one kind ("train images", ...) in the order of `ids`, as uint8 (n, side, side).

    `problem_of` says what is wrong with a decoded picture, which raises UserError with the picture's name.
    """
    pictures = np.empty((len(ids), side, side), np.uint8)
    readers = dataset.pictures[kind]

    def decode(first: int) -> int:
        chunk = ids[first : first + CHUNK]
        for row, tile in enumerate(chunk, first):
            pictures[row] = _decode(readers[tile], f"{dataset.origin}: {kind[:-1]} {tile}.png", side, problem_of)
        return len(chunk)

    with progress(f"pack {kind}", len(ids)) as done, ThreadPoolExecutor(threads) as pool:
        for count in pool.map(decode, range(0, len(ids), CHUNK)):
            done.advance(count)
    return pictures


def _decode(read: Read, name: str, side: int, problem_of: Problem) -> np.ndarray:
    content = read()
    # OpenCV fills in what a cut file lacks; the end marker tells.
    whole = content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in content[-12:]
    # Some kilobytes may decode to gigabytes; the header tells before that.
    width, height = struct.unpack(">II", content[16:24]) if whole else (0, 0)
    if width * height > MAX_TILE_SIZE**2:
        raise UserError(f"{name} is {width:,} x {height:,} pixels, expected {side} x {side} (data.tile_size).")
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if picture is None:
        raise UserError(f"{name} is not a whole PNG ({len(content):,} bytes); mend it, or fetch the dataset again.")
    problem = problem_of(picture, side)
    if problem:
        raise UserError(f"{name} {problem}.")
    if picture.ndim == 3:
        return np.ascontiguousarray(picture[..., 0])
    # Masks are 16-bit where there is salt and 8-bit where there is none: salt is whatever is above zero.
    return (picture > 0).astype(np.uint8)


def tile_problem(picture: np.ndarray, side: int) -> str | None:
    """Tiles are 8-bit RGB with three equal channels."""
    if picture.shape[:2] != (side, side):
        return f"is {picture.shape[1]} x {picture.shape[0]} pixels, expected {side} x {side} (data.tile_size)"
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        return "is not an 8-bit RGB picture, as tiles are"
    if (picture[..., 0] != picture[..., 1]).any() or (picture[..., 0] != picture[..., 2]).any():
        return "has colors; the three channels of a tile are equal"
    return None


def mask_problem(picture: np.ndarray, side: int) -> str | None:
    """Masks are gray with at most one value beside 0."""
    if picture.shape[:2] != (side, side):
        return f"is {picture.shape[1]} x {picture.shape[0]} pixels, expected {side} x {side} (data.tile_size)"
    if picture.ndim != 2:
        return "is not a gray picture, as masks are"
    levels = np.unique(picture)
    if picture.dtype not in (np.uint8, np.uint16) or len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        return "is not a mask: a mask has 0 and one value for salt"
    return None

"""Generate a synthetic dataset in the competition's layout.

Random sections are generated and cut into tiles that do not overlap. Train and test tiles come from the same sections,
as in the competition. The same arguments produce the same bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.files import atomic_write, write_text
from tgs_salt.kernels.rle import encode
from tgs_salt.log import progress
from tgs_salt.synthetic import GENERATOR_VERSION
from tgs_salt.synthetic.salt import Grid
from tgs_salt.synthetic.seismic import MAX_DEPTH, MIN_DEPTH, Section, generate_section

EMPTY_FRACTION = 0.39  # of all tiles, including blank ones, as in the competition
BLANK_FRACTION = 0.02
TILE_ROWS, TILE_COLUMNS = 4, 12  # grid of tiles in a section
MAX_TILES_PER_SECTION, MIN_TILES_PER_SECTION = 40, 8  # fewer than the grid has, for variety
MIN_SECTIONS = 20  # approximate number of sections of a small dataset
PNG_PARAMS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG)  # fast and small
DEPTH_NOISE = 110.0  # standard deviation; tiles of equal depth can be in different rows of a section
ZIP_TIMESTAMP = (2018, 7, 19, 0, 0, 0)  # constant, so that the bytes do not depend on the time


@dataclass(frozen=True)
class Tile:
    """An encoded tile.

    Attributes:
        image: 8-bit RGB PNG.
        mask: 16-bit gray PNG, or 8-bit gray if the mask is empty.
        rle: Run-length code of the mask.
        depth: Depth for depths.csv.
    """

    image: bytes
    mask: bytes
    rle: str
    depth: int


def synthesize(directory: Path, *, seed: int, train_tiles: int, test_tiles: int, tile_size: int = 101) -> None:
    """Write train.csv, depths.csv, sample_submission.csv, train.zip and test.zip to `directory`.

    Raises:
        UserError: A number of tiles is below 1, or `tile_size` is not from 32 to 1024.
    """
    if min(train_tiles, test_tiles) < 1 or not 32 <= tile_size <= 1024:
        raise UserError(
            "synthetic dataset: expected at least one train tile, one test tile and a tile size of 32 to 1024 pixels, "
            f"found {train_tiles}, {test_tiles} and {tile_size}; change data.train_tiles, data.test_tiles or "
            "data.tile_size."
        )
    rng = np.random.default_rng([seed, GENERATOR_VERSION])
    total = train_tiles + test_tiles
    ids = _random_ids(rng, total)
    train, test = generate_tiles(seed, [train_tiles, test_tiles], tile_size)
    train_ids, test_ids = ids[:train_tiles], ids[train_tiles:]
    directory = Path(directory)
    _write_zip(directory / "train.zip", [
        *((f"images/{i}.png", tile.image) for i, tile in zip(train_ids, train, strict=True)),
        *((f"masks/{i}.png", tile.mask) for i, tile in zip(train_ids, train, strict=True)),
    ])  # fmt: skip
    _write_zip(directory / "test.zip", [(f"images/{i}.png", t.image) for i, t in zip(test_ids, test, strict=True)])
    _write_csv(directory / "train.csv", "id,rle_mask", [(i, t.rle) for i, t in zip(train_ids, train, strict=True)])
    depths = list(zip(ids, (tile.depth for tile in train + test), strict=True))
    _write_csv(directory / "depths.csv", "id,z", [depths[k] for k in rng.permutation(total)])
    sample = [(test_ids[k], "1 1") for k in rng.permutation(test_tiles)]
    _write_csv(directory / "sample_submission.csv", "id,rle_mask", sample)


def generate_tiles(seed: int, counts: list[int], tile_size: int = 101) -> list[list[Tile]]:
    """Return a list of tiles for each of `counts`, each with the same fractions of empty and blank tiles, shuffled."""
    rng = np.random.default_rng([seed, GENERATOR_VERSION, 0])
    empty_counts = [round(EMPTY_FRACTION * count) for count in counts]
    blank_counts = [round(BLANK_FRACTION * count) for count in counts]
    wanted = [sum(counts) - sum(empty_counts), sum(empty_counts)]
    pools: list[list[Tile]] = [[], []]  # with salt, empty
    _keep_freed_memory()
    with progress("synthesize tiles", sum(counts)) as reporter:
        for tile in _generate(seed, wanted, tile_size):
            pools[tile.rle == ""].append(tile)
            reporter.advance()
    for pool in pools:
        rng.shuffle(pool)
    splits = []
    for count, empty_count, blank_count in zip(counts, empty_counts, blank_counts, strict=True):
        empty = [pools[1].pop() for _ in range(empty_count)]
        empty[:blank_count] = [_to_blank(tile, tile_size) for tile in empty[:blank_count]]
        tiles = empty + [pools[0].pop() for _ in range(count - empty_count)]
        splits.append([tiles[k] for k in rng.permutation(count)])
    return splits


def _keep_freed_memory() -> None:
    """Make glibc reuse freed arrays instead of returning their pages to the system, which takes 20% of the time.

    glibc raises its threshold for returned blocks to the largest freed block, up to 32 MiB.
    With other allocators this has no effect.
    """
    large = np.empty(31 << 20, np.uint8)
    del large


def _generate(seed: int, wanted: list[int], size: int) -> Iterator[Tile]:
    """Yield `wanted` (with salt, empty) tiles; every section contributes a limited number of each kind."""
    remaining = list(wanted)
    per_section = min(max(sum(wanted) // MIN_SECTIONS, MIN_TILES_PER_SECTION), MAX_TILES_PER_SECTION)
    limits = [int(np.ceil(per_section * share * 1.2)) for share in (1 - EMPTY_FRACTION, EMPTY_FRACTION)]
    section_number = 0
    while any(remaining):
        section_number += 1
        rng = np.random.default_rng([seed, GENERATOR_VERSION, section_number])
        margin = size // 8
        section = generate_section(rng, Grid(TILE_ROWS * size + margin, TILE_COLUMNS * size + margin, size))
        quota = [min(a, b) for a, b in zip(remaining, limits, strict=True)]
        corners = _tile_corners(rng, size, margin)
        masks = [np.ascontiguousarray(section.salt[r : r + size, c : c + size]) for r, c in corners]
        selected = []
        for k, mask in enumerate(masks):
            empty = _is_empty(mask)
            if quota[empty]:
                quota[empty] -= 1
                remaining[empty] -= 1
                selected.append(k)
        if selected:
            yield from _encode_tiles(rng, section, [corners[k] for k in selected], [masks[k] for k in selected])


def _tile_corners(rng: np.random.Generator, size: int, margin: int) -> list[tuple[int, int]]:
    """Return the first row and column of each tile of a grid with a random offset, shuffled."""
    row_offset, column_offset = rng.integers(0, margin + 1, 2)
    corners = [
        (int(row_offset) + size * row, int(column_offset) + size * column)
        for row in range(TILE_ROWS)
        for column in range(TILE_COLUMNS)
    ]
    return [corners[k] for k in rng.permutation(len(corners))]


def _is_empty(mask: np.ndarray) -> bool:
    """Return whether a tile is labeled empty: without salt or, as in the competition, completely inside salt."""
    return cv2.countNonZero(mask) in (0, mask.size)


def _encode_tiles(
    rng: np.random.Generator, section: Section, corners: list[tuple[int, int]], masks: list[np.ndarray]
) -> Iterator[Tile]:
    size = masks[0].shape[0]
    labels = np.stack([np.zeros_like(mask) if _is_empty(mask) else mask for mask in masks])
    section_std = float(section.amplitude.std())
    for (row, column), label, rle in zip(corners, labels, encode(labels), strict=True):
        gray = _to_gray(rng, section.amplitude[row : row + size, column : column + size], section_std)
        depth = section.top_depth + section.depth_per_pixel * (row + size / 2) + rng.normal(0, DEPTH_NOISE)
        yield Tile(_encode_png(cv2.merge([gray, gray, gray])), _encode_mask(label), rle, _reflect_depth(depth))


def _reflect_depth(depth: float) -> int:
    """Round to an integer in the range of depths; reflect at the limits, because clipping would pile up values."""
    depth = MIN_DEPTH + abs(depth - MIN_DEPTH)
    depth = MAX_DEPTH - abs(MAX_DEPTH - depth)
    return max(MIN_DEPTH, round(depth))


def _to_gray(rng: np.random.Generator, amplitude: np.ndarray, section_std: float) -> np.ndarray:
    """Return gray values of random contrast and brightness, uint8 (competition: mean 0.47, std 0.16 of full scale)."""
    mean, std = cv2.meanStdDev(amplitude)
    contrast = min(max(rng.normal(0.125, 0.03), 0.05), 0.2)
    gain = 255 * contrast / (max(float(std[0, 0]), 0.02 * section_std) ** 0.7 * section_std**0.3)
    brightness = 255 * min(max(rng.normal(0.475, 0.06), 0.3), 0.68)
    return np.asarray(cv2.convertScaleAbs(np.maximum(amplitude * gain + (brightness - gain * float(mean[0, 0])), 0)))


def _to_blank(tile: Tile, size: int) -> Tile:
    return Tile(_encode_png(np.zeros((size, size, 3), np.uint8)), tile.mask, "", tile.depth)


def _encode_mask(label: np.ndarray) -> bytes:
    """Encode a mask as the competition does: 16-bit 0 and 65535 with salt, 8-bit zeros without."""
    return _encode_png(label.astype(np.uint16) * 65535) if label.any() else _encode_empty_mask(label.shape[0])


@lru_cache(maxsize=8)
def _encode_empty_mask(size: int) -> bytes:
    return _encode_png(np.zeros((size, size), np.uint8))


def _encode_png(pixels: np.ndarray) -> bytes:
    success, content = cv2.imencode(".png", pixels, PNG_PARAMS)
    if not success:
        raise UserError("OpenCV could not encode a PNG; reinstall opencv-python-headless.")
    return content.tobytes()


def _random_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Return `count` distinct ids of ten hexadecimal digits."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids.update((f"{number:010x}", None) for number in rng.integers(0, 16**10, count).tolist())
    return list(ids)[:count]


def _write_zip(path: Path, members: list[tuple[str, bytes]]) -> None:
    with atomic_write(path) as tmp_path, zipfile.ZipFile(tmp_path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIMESTAMP), content)


def _write_csv(path: Path, header: str, rows: Sequence[tuple[str, object]]) -> None:
    write_text(path, "\n".join([header, *(f"{key},{value}" for key, value in rows)]) + "\n")

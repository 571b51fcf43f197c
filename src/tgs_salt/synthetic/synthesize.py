"""A seeded dataset in the competition's own layout: sections are drawn, tiles are cut, files are written.

The same arguments give the same bytes. Tiles of one dataset never overlap; train and test share sections,
as the competition's do.
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
from tgs_salt.synthetic.salt import Canvas
from tgs_salt.synthetic.seismic import DEEPEST, SHALLOWEST, Section, draw_section

EMPTY_SHARE = 0.39  # of all tiles, blanks among them, as in the competition
BLANK_SHARE = 0.02
ROWS, COLUMNS = 4, 12  # tiles down and along a section
MAX_KEPT, MIN_KEPT = 40, 8  # tiles kept of a section: fewer than are cut, for variety
SECTIONS = 20  # a small dataset still shows about this many sections
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG)  # quickest of the small
DEPTH_NOISE = 110.0  # standard deviation: depth hints at a tile's place and no more
STAMP = (2018, 7, 19, 0, 0, 0)  # one time for all members, or the bytes would change with the clock


@dataclass(frozen=True)
class Tile:
    """One encoded tile."""

    image: bytes  # PNG, 8-bit RGB
    mask: bytes  # PNG, 16-bit gray, or 8-bit gray when empty
    rle: str
    depth: int


def synthesize(directory: Path, *, seed: int, train_tiles: int, test_tiles: int, tile_size: int = 101) -> None:
    """Write `train.csv`, `depths.csv`, `sample_submission.csv`, `train.zip` and `test.zip` into `directory`."""
    if min(train_tiles, test_tiles) < 1 or not 32 <= tile_size <= 1024:
        raise UserError(
            f"synthetic dataset: expected at least one train and one test tile of 32 to 1024 pixels, "
            f"found {train_tiles}, {test_tiles} and {tile_size}; change the dataset's settings."
        )
    rng = np.random.default_rng([seed, GENERATOR_VERSION])
    total = train_tiles + test_tiles
    ids = _ids(rng, total)
    train, test = draw_tiles(seed, [train_tiles, test_tiles], tile_size)
    train_ids, test_ids = ids[:train_tiles], ids[train_tiles:]
    directory = Path(directory)
    _write_zip(directory / "train.zip", [
        *((f"images/{i}.png", tile.image) for i, tile in zip(train_ids, train, strict=True)),
        *((f"masks/{i}.png", tile.mask) for i, tile in zip(train_ids, train, strict=True)),
    ])  # fmt: skip
    _write_zip(directory / "test.zip", [(f"images/{i}.png", t.image) for i, t in zip(test_ids, test, strict=True)])
    _write_table(directory / "train.csv", "id,rle_mask", [(i, t.rle) for i, t in zip(train_ids, train, strict=True)])
    depths = list(zip(ids, (tile.depth for tile in train + test), strict=True))
    _write_table(directory / "depths.csv", "id,z", [depths[k] for k in rng.permutation(total)])
    sample = [(test_ids[k], "1 1") for k in rng.permutation(test_tiles)]
    _write_table(directory / "sample_submission.csv", "id,rle_mask", sample)


def draw_tiles(seed: int, counts: list[int], tile_size: int = 101) -> list[list[Tile]]:
    """Lists of `counts` tiles, each list with its fixed share of empty and blank ones, in random order."""
    rng = np.random.default_rng([seed, GENERATOR_VERSION, 0])
    empties = [round(EMPTY_SHARE * count) for count in counts]
    blanks = [round(BLANK_SHARE * count) for count in counts]
    wanted = [sum(counts) - sum(empties), sum(empties)]
    pools: list[list[Tile]] = [[], []]  # with salt, and empty
    _keep_freed_memory()
    with progress("synthetic tiles", sum(counts)) as counter:
        for tile in _cut(seed, wanted, tile_size):
            pools[tile.rle == ""].append(tile)
            counter.advance()
    for pool in pools:
        rng.shuffle(pool)
    lists = []
    for count, empty, blank in zip(counts, empties, blanks, strict=True):
        bare = [pools[1].pop() for _ in range(empty)]
        bare[:blank] = [_blank(tile, tile_size) for tile in bare[:blank]]
        tiles = bare + [pools[0].pop() for _ in range(count - empty)]
        lists.append([tiles[k] for k in rng.permutation(count)])
    return lists


def _keep_freed_memory() -> None:
    """Let a section's arrays use the memory of the last one's: a fifth of the time went into fresh pages.

    glibc hands blocks beyond a threshold back to the system when freed, and raises the threshold
    to the largest such block it has seen, up to 32 MiB. Elsewhere this does nothing.
    """
    large = np.empty(31 << 20, np.uint8)
    del large


def _cut(seed: int, wanted: list[int], size: int) -> Iterator[Tile]:
    """Yield `wanted` (with salt, empty) tiles, a limited number of a section and in about the wanted proportion."""
    left = list(wanted)
    kept = min(max(sum(wanted) // SECTIONS, MIN_KEPT), MAX_KEPT)
    most = [int(np.ceil(kept * share * 1.2)) for share in (1 - EMPTY_SHARE, EMPTY_SHARE)]
    number = 0
    while any(left):
        number += 1
        rng = np.random.default_rng([seed, GENERATOR_VERSION, number])
        margin = size // 8
        section = draw_section(rng, Canvas(ROWS * size + margin, COLUMNS * size + margin, size))
        room = [min(a, b) for a, b in zip(left, most, strict=True)]
        corners = _corners(rng, size, margin)
        masks = [np.ascontiguousarray(section.salt[r : r + size, c : c + size]) for r, c in corners]
        chosen = []
        for k, mask in enumerate(masks):
            empty = _is_empty(mask)
            if room[empty]:
                room[empty] -= 1
                left[empty] -= 1
                chosen.append(k)
        if chosen:
            yield from _encoded(rng, section, [corners[k] for k in chosen], [masks[k] for k in chosen])


def _corners(rng: np.random.Generator, size: int, margin: int) -> list[tuple[int, int]]:
    """First row and column of every tile of a grid at a random offset, shuffled: none overlaps another."""
    down, along = rng.integers(0, margin + 1, 2)
    grid = [(int(down) + size * r, int(along) + size * c) for r in range(ROWS) for c in range(COLUMNS)]
    return [grid[k] for k in rng.permutation(len(grid))]


def _is_empty(mask: np.ndarray) -> bool:
    """No salt, or nothing but salt: a tile wholly inside salt is labelled empty, as in the competition."""
    return cv2.countNonZero(mask) in (0, mask.size)


def _encoded(
    rng: np.random.Generator, section: Section, corners: list[tuple[int, int]], masks: list[np.ndarray]
) -> Iterator[Tile]:
    size = masks[0].shape[0]
    labels = np.stack([np.zeros_like(mask) if _is_empty(mask) else mask for mask in masks])
    loudness = float(section.amplitude.std())
    for (row, column), label, rle in zip(corners, labels, encode(labels), strict=True):
        gray = _gray(rng, section.amplitude[row : row + size, column : column + size], loudness)
        depth = section.top_depth + section.depth_per_pixel * (row + size / 2) + rng.normal(0, DEPTH_NOISE)
        yield Tile(_png(cv2.merge([gray, gray, gray])), _mask_png(label), rle, _whole_depth(depth))


def _whole_depth(depth: float) -> int:
    """Within the range of depths: what falls outside is mirrored, or the two ends would pile up."""
    depth = SHALLOWEST + abs(depth - SHALLOWEST)
    depth = DEEPEST - abs(DEEPEST - depth)
    return max(SHALLOWEST, round(depth))


def _gray(rng: np.random.Generator, wave: np.ndarray, loudness: float) -> np.ndarray:
    """(h, w) uint8: amplitudes at a tile's own contrast and brightness (competition: mean 0.47, std 0.16)."""
    mean, deviation = cv2.meanStdDev(wave)
    contrast = min(max(rng.normal(0.125, 0.03), 0.05), 0.2)
    gain = 255 * contrast / (max(float(deviation[0, 0]), 0.02 * loudness) ** 0.7 * loudness**0.3)
    level = 255 * min(max(rng.normal(0.475, 0.06), 0.3), 0.68)
    return np.asarray(cv2.convertScaleAbs(np.maximum(wave * gain + (level - gain * float(mean[0, 0])), 0)))


def _blank(tile: Tile, size: int) -> Tile:
    return Tile(_png(np.zeros((size, size, 3), np.uint8)), tile.mask, "", tile.depth)


def _mask_png(label: np.ndarray) -> bytes:
    """16-bit 0 or 65535 with salt, 8-bit zeros without: the competition's quirk."""
    return _png(label.astype(np.uint16) * 65535) if label.any() else _bare_mask(label.shape[0])


@lru_cache(maxsize=8)
def _bare_mask(size: int) -> bytes:
    return _png(np.zeros((size, size), np.uint8))


def _png(pixels: np.ndarray) -> bytes:
    done, coded = cv2.imencode(".png", pixels, PNG)
    if not done:
        raise UserError("OpenCV could not encode a PNG; reinstall opencv-python-headless.")
    return coded.tobytes()


def _ids(rng: np.random.Generator, count: int) -> list[str]:
    """`count` distinct ids of ten hexadecimal digits."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids.update((f"{number:010x}", None) for number in rng.integers(0, 16**10, count).tolist())
    return list(ids)[:count]


def _write_zip(path: Path, members: list[tuple[str, bytes]]) -> None:
    with atomic_write(path) as tmp_path, zipfile.ZipFile(tmp_path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, STAMP), content)


def _write_table(path: Path, header: str, rows: Sequence[tuple[str, object]]) -> None:
    write_text(path, "\n".join([header, *(f"{key},{value}" for key, value in rows)]) + "\n")

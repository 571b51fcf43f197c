"""Salt bodies of a synthetic section: closed polygons with rough edges, filled into one mask.

Lengths are in pixels and scale with the tile size, so a salt dome spans the same number of tiles at any tile size.
Rows increase with depth, columns along the section.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Grid(NamedTuple):
    """Size of a section and of its tiles in pixels."""

    height: int
    width: int
    tile_size: int


def fractal_noise(
    rng: np.random.Generator, length: int, max_wavelength: float, min_wavelength: float, decay: float = 1.2
) -> np.ndarray:
    """Return a random line of about unit standard deviation; (length,) float64.

    Phases are random and the amplitude of frequency f is f^-decay between the two wavelengths (pixels).
    This is the self-affine model of rough surfaces: Turcotte, Fractals and Chaos in Geology and Geophysics, 1997.
    """
    padded = 1 << int(max(length, max_wavelength, 16)).bit_length()
    last = padded // 2
    low = min(max(int(np.ceil(padded / max_wavelength)), 1), last)
    high = max(min(int(padded / min_wavelength), last), low)
    index = np.arange(low, high + 1)
    spectrum = np.zeros(last + 1, complex)
    spectrum[low : high + 1] = index**-decay * np.exp(2j * np.pi * rng.random(index.size))
    line = np.fft.irfft(spectrum, padded)
    return np.asarray(line[:length] / line.std())


def _edge_noise(
    rng: np.random.Generator, length: int, tile_size: int, roughness: float, fine_scale: float = 1.0
) -> np.ndarray:
    """Return the displacement of a salt edge in pixels, the sum of coarse and fine noise; (length,) float64."""
    coarse = fractal_noise(rng, length, 1.2 * tile_size, 0.2 * tile_size, 1.4) * 0.07 * tile_size
    fine = fractal_noise(rng, length, 0.25 * tile_size, 4.0, 1.0) * 0.012 * tile_size
    return np.asarray(roughness * (coarse + fine_scale * fine))


def diapir(rng: np.random.Generator, grid: Grid, center: float, crest: float) -> np.ndarray:
    """Return the outline of a diapir that rises from below the section; (n, 2) int32 points (column, row).

    Its half-width is a function of the relative depth t below the crest. Below a rounded cap, the stem widens (dome),
    is constant (wall), or narrows (mushroom).
    """
    size = grid.tile_size
    bottom = grid.height + 0.3 * size
    count = max(int(2 * (bottom - crest)), 32)
    t = np.linspace(0.0, 1.0, count) ** 1.6  # more points near the crest, where the curvature is highest
    cap = rng.uniform(0.15, 0.6)
    rounded = np.sqrt(np.clip(1 - (1 - np.minimum(t / cap, 1)) ** 2, 0, 1))
    flare = rng.choice([rng.uniform(0.3, 1.6), rng.uniform(-0.1, 0.1), -rng.uniform(0.3, 0.7)], p=[0.5, 0.25, 0.25])
    stem = np.clip((t - 0.6 * cap) / (1 - 0.6 * cap), 0, 1)
    half_width = rng.uniform(0.35, 1.1) * size * rounded * (1 + flare * stem * stem * (3 - 2 * stem))
    axis = center + rng.normal(0, 0.35) * size * t + fractal_noise(rng, count, 3 * count, count, 1.0) * 0.08 * size * t
    rows = crest + t * (bottom - crest)
    taper = np.minimum(1, half_width / (0.25 * size))  # no edge noise at the crest
    roughness = rng.uniform(0.2, 1.1)
    left = axis - half_width + taper * _edge_noise(rng, count, size, roughness, 0.3)
    right = axis + half_width + taper * _edge_noise(rng, count, size, roughness, 0.3)
    return _to_polygon(np.concatenate([left[::-1], right]), np.concatenate([rows[::-1], rows]))


def salt_sheet(rng: np.random.Generator, grid: Grid, center: float, center_row: float) -> np.ndarray:
    """Return the outline of an allochthonous salt sheet with a rough top and a smoother base; (n, 2) int32."""
    size = grid.tile_size
    half_length = rng.uniform(0.8, 2.6) * size
    half_height = rng.uniform(0.2, 0.75) * size
    count = max(int(2 * half_length), 32)
    u = np.linspace(-1, 1, count)
    thickness = half_height * (1 - np.abs(u) ** rng.uniform(1.6, 4.0)) ** 0.6 * (1 + rng.uniform(-0.6, 0.6) * u)
    axis = center_row + rng.normal(0, 0.35) * size * u + rng.normal(0, 0.3) * size * u * u
    taper = np.minimum(1, thickness / (0.15 * size))
    roughness = rng.uniform(0.3, 1.3)
    top = axis - thickness + taper * _edge_noise(rng, count, size, roughness)
    base = axis + rng.uniform(0.4, 1.0) * thickness + taper * _edge_noise(rng, count, size, 0.5 * roughness)
    columns = center + half_length * u
    return _to_polygon(np.concatenate([columns, columns[::-1]]), np.concatenate([top, base[::-1]]))


def source_layer(rng: np.random.Generator, grid: Grid, mean_row: float) -> np.ndarray:
    """Return the outline of the autochthonous salt layer, with an irregular top around `mean_row`; (n, 2) int32."""
    size = grid.tile_size
    count = grid.width
    relief = fractal_noise(rng, count, 5 * size, 1.2 * size, 1.5) * rng.uniform(0.15, 0.6) * size
    if rng.random() < 0.4:  # rounded highs with sharp lows between them, as between growing pillows
        relief = -np.abs(relief) * 1.5 + 0.6 * size
    top = mean_row + relief + _edge_noise(rng, count, size, rng.uniform(0.3, 1.4))
    columns = np.arange(count, dtype=float)
    bottom = grid.height + 0.5 * size
    return _to_polygon(np.concatenate([[0.0], columns, [count]]), np.concatenate([[bottom], top, [bottom]]))


def _to_polygon(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.rint(np.stack([columns, rows], axis=1)).astype(np.int32)


def salt_mask(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Return a mask of several salt bodies, or of none (5% of sections); (height, width) uint8, salt = 1."""
    mask = np.zeros((grid.height, grid.width), np.uint8)
    if rng.random() < 0.05:
        return mask
    outlines = []
    if rng.random() < 0.45:
        outlines.append(source_layer(rng, grid, grid.height * rng.uniform(0.55, 0.9)))
    bodies = max(1, round(grid.width / grid.tile_size / rng.uniform(2.6, 4.6)))
    spacing = grid.width / bodies
    start = rng.uniform(-0.5, 0.5) * spacing
    for k in range(bodies + 1):
        center = start + (k + rng.uniform(-0.3, 0.3)) * spacing
        body = diapir if rng.random() < 0.62 else salt_sheet
        outlines.append(body(rng, grid, center, grid.height * rng.uniform(0.1, 0.75)))
    for outline in outlines:
        cv2.fillPoly(mask, [outline], 1)
    return mask

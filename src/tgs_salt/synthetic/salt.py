"""Salt bodies of a synthetic section: closed outlines with rugose edges, filled into one mask.

Lengths are in pixels; `unit` is the side of a tile, so that a dome spans the same number of tiles at any tile size.
Rows count downwards (depth), columns along the line.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Canvas(NamedTuple):
    """The size of a section and of the tiles cut from it, in pixels."""

    height: int
    width: int
    unit: int


def fractal(rng: np.random.Generator, length: int, longest: float, shortest: float, slope: float = 1.2) -> np.ndarray:
    """(length,) float64 of about unit standard deviation: random phases under a power-law spectrum.

    Wavelengths lie between `longest` and `shortest` pixels, amplitude falls as frequency^-slope: the usual
    self-affine model of a rough geological surface (Turcotte, Fractals and Chaos in Geology and Geophysics, 1997).
    """
    padded = 1 << int(max(length, longest, 16)).bit_length()
    last = padded // 2
    low = min(max(int(np.ceil(padded / longest)), 1), last)
    high = max(min(int(padded / shortest), last), low)
    index = np.arange(low, high + 1)
    spectrum = np.zeros(last + 1, complex)
    spectrum[low : high + 1] = index**-slope * np.exp(2j * np.pi * rng.random(index.size))
    line = np.fft.irfft(spectrum, padded)
    return np.asarray(line[:length] / line.std())


def _rough(rng: np.random.Generator, length: int, unit: int, roughness: float, rugose: float = 1.0) -> np.ndarray:
    """(length,) pixels of edge displacement: broad irregularity and, times `rugose`, pixel-scale rugosity."""
    broad = fractal(rng, length, 1.2 * unit, 0.2 * unit, 1.4) * 0.07 * unit
    fine = fractal(rng, length, 0.25 * unit, 4.0, 1.0) * 0.012 * unit
    return np.asarray(roughness * (broad + rugose * fine))


def diapir(rng: np.random.Generator, canvas: Canvas, center: float, top: float) -> np.ndarray:
    """(n, 2) int32 outline (column, row) of a dome, wall or mushroom that rises from below the section.

    Half-width by relative depth t below the crest: a rounded cap, then a stem that flares downwards (dome),
    stays (wall) or narrows (mushroom).
    """
    unit = canvas.unit
    bottom = canvas.height + 0.3 * unit
    count = max(int(2 * (bottom - top)), 32)
    t = np.linspace(0.0, 1.0, count) ** 1.6  # denser near the crest, where the cap turns fastest
    cap = rng.uniform(0.15, 0.6)
    rounded = np.sqrt(np.clip(1 - (1 - np.minimum(t / cap, 1)) ** 2, 0, 1))
    flare = rng.choice([rng.uniform(0.3, 1.6), rng.uniform(-0.1, 0.1), -rng.uniform(0.3, 0.7)], p=[0.5, 0.25, 0.25])
    along = np.clip((t - 0.6 * cap) / (1 - 0.6 * cap), 0, 1)
    half = rng.uniform(0.35, 1.1) * unit * rounded * (1 + flare * along * along * (3 - 2 * along))
    axis = center + rng.normal(0, 0.35) * unit * t + fractal(rng, count, 3 * count, count, 1.0) * 0.08 * unit * t
    depth = top + t * (bottom - top)
    fade = np.minimum(1, half / (0.25 * unit))
    roughness = rng.uniform(0.2, 1.1)
    left = axis - half + fade * _rough(rng, count, unit, roughness, 0.3)
    right = axis + half + fade * _rough(rng, count, unit, roughness, 0.3)
    return _closed(np.concatenate([left[::-1], right]), np.concatenate([depth[::-1], depth]))


def sheet(rng: np.random.Generator, canvas: Canvas, center: float, depth: float) -> np.ndarray:
    """(n, 2) int32 outline of a pillow, tongue or allochthonous sheet: a rough top and a smoother base."""
    unit = canvas.unit
    half_length = rng.uniform(0.8, 2.6) * unit
    half_height = rng.uniform(0.2, 0.75) * unit
    count = max(int(2 * half_length), 32)
    u = np.linspace(-1, 1, count)
    thickness = half_height * (1 - np.abs(u) ** rng.uniform(1.6, 4.0)) ** 0.6 * (1 + rng.uniform(-0.6, 0.6) * u)
    line = depth + rng.normal(0, 0.35) * unit * u + rng.normal(0, 0.3) * unit * u * u
    fade = np.minimum(1, thickness / (0.15 * unit))
    roughness = rng.uniform(0.3, 1.3)
    top = line - thickness + fade * _rough(rng, count, unit, roughness)
    base = line + rng.uniform(0.4, 1.0) * thickness + fade * _rough(rng, count, unit, 0.5 * roughness)
    across = center + half_length * u
    return _closed(np.concatenate([across, across[::-1]]), np.concatenate([top, base[::-1]]))


def mother_layer(rng: np.random.Generator, canvas: Canvas, depth: float) -> np.ndarray:
    """(n, 2) int32 outline of the autochthonous salt below `depth`, its top raised into swells and cusps."""
    unit = canvas.unit
    count = canvas.width
    swell = fractal(rng, count, 5 * unit, 1.2 * unit, 1.5) * rng.uniform(0.15, 0.6) * unit
    if rng.random() < 0.4:  # rounded highs between sharp lows, as between growing pillows
        swell = -np.abs(swell) * 1.5 + 0.6 * unit
    top = depth + swell + _rough(rng, count, unit, rng.uniform(0.3, 1.4))
    across = np.arange(count, dtype=float)
    below = canvas.height + 0.5 * unit
    return _closed(np.concatenate([[0.0], across, [count]]), np.concatenate([[below], top, [below]]))


def _closed(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.rint(np.stack([columns, rows], axis=1)).astype(np.int32)


def salt_mask(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """(height, width) uint8, 1 in salt: two to five bodies spread along the line, or none (one section in twenty)."""
    mask = np.zeros((canvas.height, canvas.width), np.uint8)
    if rng.random() < 0.05:
        return mask
    outlines = []
    if rng.random() < 0.45:
        outlines.append(mother_layer(rng, canvas, canvas.height * rng.uniform(0.55, 0.9)))
    bodies = max(1, round(canvas.width / canvas.unit / rng.uniform(2.6, 4.6)))
    spacing = canvas.width / bodies
    start = rng.uniform(-0.5, 0.5) * spacing
    for k in range(bodies + 1):
        center = start + (k + rng.uniform(-0.3, 0.3)) * spacing
        draw = diapir if rng.random() < 0.62 else sheet
        outlines.append(draw(rng, canvas, center, canvas.height * rng.uniform(0.1, 0.75)))
    for outline in outlines:
        cv2.fillPoly(mask, [outline], 1)
    return mask

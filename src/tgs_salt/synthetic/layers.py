"""Layered rock of a synthetic section: which layer lies at which pixel, and how hard it is.

A pixel's stratigraphic coordinate T (in pixels of undeformed thickness) is its depth minus everything that moved it:
folds, regional dip, drag along salt, throws of faults. Layers are then a one-dimensional profile of log impedance
looked up at T, so a layer keeps its character along the line: the construction of structural models
by displacement fields (Wu et al., Geophysics 85, 2020, on synthetic folded and faulted seismic images).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from tgs_salt.synthetic.salt import Canvas, fractal

PER_PIXEL = 4  # samples of a layer profile per pixel of thickness: folds stretch layers without stair steps
COARSE = 4  # smooth displacements are computed on every fourth pixel


def smooth_field(rng: np.random.Generator, canvas: Canvas, tall: float, wide: float, step: int = 1) -> np.ndarray:
    """Every `step`-th pixel of a (height, width) float32 field of about unit variance, correlated over tall x wide."""
    rows, columns = int(canvas.height / tall) + 4, int(canvas.width / wide) + 4
    nodes = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.4)
    field = cv2.resize(nodes, (round(columns * wide / step), round(rows * tall / step)), interpolation=cv2.INTER_CUBIC)
    return field[: -(-canvas.height // step), : -(-canvas.width // step)]


def upsample(field: np.ndarray, canvas: Canvas, step: int) -> np.ndarray:
    """(height, width) float32 from every `step`-th pixel of it."""
    size = (field.shape[1] * step, field.shape[0] * step)
    whole = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return whole[: canvas.height, : canvas.width]


def layer_profile(rng: np.random.Generator, length: float, thickness: float) -> np.ndarray:
    """(length * PER_PIXEL,) float32: log impedance of a pile of homogeneous layers of about `thickness` pixels.

    Thicknesses are log-normal; packages of some twenty layers are louder or quieter (sandy or shaly intervals).
    """
    count = int(length / thickness * 1.6) + 40
    ends = np.cumsum(thickness * rng.lognormal(-0.2, 0.6, count))
    package = np.arange(0, count + 20, 20)
    loudness = np.exp(np.interp(np.arange(count), package, rng.normal(0, 0.55, package.size)))
    values = rng.normal(0, 1, count) * loudness
    values[rng.random(count) < 0.03] *= 2.2  # a few regional markers
    samples = np.arange(int(length * PER_PIXEL)) / PER_PIXEL
    layer = np.minimum(np.searchsorted(ends, samples), count - 1)
    return np.asarray(values[layer], dtype=np.float32)


def displacement(rng: np.random.Generator, canvas: Canvas, salt: np.ndarray) -> np.ndarray:
    """(height, width) float32, pixels by which rock was lifted: folds, dip, and the drag of rising salt.

    Drag decays exponentially with the distance to salt, so layers drape over crests and turn up at flanks.
    """
    unit = canvas.unit
    rows = np.arange(0, canvas.height, COARSE, dtype=np.float32)[:, None]
    columns = np.arange(0, canvas.width, COARSE, dtype=np.float32)[None, :]
    fold = fractal(rng, canvas.width, 8 * unit, 0.8 * unit, rng.uniform(1.0, 1.7))[::COARSE].astype(np.float32)
    growth = np.clip(0.4 + rows / canvas.height * rng.uniform(-0.2, 1.2), 0.1, 1.6)  # folding that grew with burial
    lift = rng.uniform(0.04, 0.42) * unit * fold[None, :] * growth
    lift = lift + rng.normal(0, 0.2) * (columns - canvas.width / 2) * growth
    rock = np.ascontiguousarray(1 - salt[::COARSE, ::COARSE])
    away = np.minimum(cv2.distanceTransform(rock, cv2.DIST_L2, 5), 3 * unit / COARSE) * COARSE
    away = cv2.GaussianBlur(away, (0, 0), 0.06 * unit / COARSE + 1)
    reach = rng.uniform(0.2, 0.8) * unit
    return upsample(lift + rng.uniform(0.2, 1.7) * reach * np.exp(-away / reach), canvas, COARSE)


def fault(rng: np.random.Generator, canvas: Canvas, stratigraphic: np.ndarray) -> None:
    """Throw the hanging wall of one dipping plane, in place: dip 50 to 75 degrees, throw up to a third of a tile.

    The throw dies out towards both tips of the plane, and over 2.5 tiles away from it (rollover).
    """
    unit = canvas.unit
    slope = rng.choice([-1, 1]) / np.tan(np.radians(rng.uniform(50, 75)))
    middle, throw = rng.uniform(0, canvas.width), rng.uniform(0.05, 0.33) * unit * np.sign(slope)
    top, tip = np.sort(rng.uniform(-0.5, 1.5, 2)) * canvas.height
    rows = np.arange(max(0, int(top)), min(canvas.height, int(tip) + 1), dtype=np.float32)
    if not rows.size:
        return
    plane = (middle + slope * (rows - canvas.height / 2)).astype(np.float32)
    throws = (throw * np.clip(np.minimum(rows - top, tip - rows) / (0.7 * unit), 0, 1)).astype(np.float32)
    reach = np.float32(2.5 * unit)
    first, last = max(0, int(plane.min())), min(canvas.width, int(plane.max() + reach) + 1)
    if first >= last:
        return
    nearness = 1 - (np.arange(first, last, dtype=np.float32)[None, :] - plane[:, None]) / reach  # 1 at the plane
    nearness[(nearness < 0) | (nearness > 1)] = 0
    nearness *= nearness
    nearness *= throws[:, None]
    stratigraphic[int(rows[0]) : int(rows[0]) + rows.size, first:last] += nearness


def deposit_layers(rng: np.random.Generator, canvas: Canvas, lift: np.ndarray, thickness: float) -> np.ndarray:
    """(height, width) float32 log impedance of the layered rock, about unit variance, before salt."""
    unit = canvas.unit
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    stratigraphic = rows + lift
    if rng.random() < 0.5:  # sequences that thin sideways: wedges and pinch-outs
        thinning = fractal(rng, canvas.width, 10 * unit, 3 * unit, 1.5).astype(np.float32)
        stratigraphic *= np.exp(np.float32(rng.uniform(0.05, 0.22)) * thinning)[None, :]
    if rng.random() < 0.6:
        _unconformity(rng, canvas, lift, stratigraphic)
    for _ in range(rng.poisson(canvas.width / unit / 4)):
        fault(rng, canvas, stratigraphic)
    _add_slumps(rng, canvas, stratigraphic, thickness)
    stratigraphic -= stratigraphic.min()
    lookup = _profiles(rng, canvas, float(stratigraphic.max()), thickness)
    return lookup(stratigraphic)


def _unconformity(rng: np.random.Generator, canvas: Canvas, lift: np.ndarray, stratigraphic: np.ndarray) -> None:
    """Bury the folded layers under a younger, flatter pile, in place: their tops are truncated at the surface."""
    unit = canvas.unit
    relief = fractal(rng, canvas.width, 6 * unit, 0.8 * unit, 1.6) * rng.uniform(0.05, 0.25) * unit
    surface = (canvas.height * rng.uniform(0.15, 0.65) + relief).astype(np.float32)[None, :]
    younger = lift * np.float32(rng.uniform(0.15, 0.6))
    younger += np.arange(canvas.height, dtype=np.float32)[:, None]
    above = younger < surface
    younger -= 2 * canvas.height  # other layers than those below
    np.copyto(stratigraphic, younger, where=above)


def _add_slumps(rng: np.random.Generator, canvas: Canvas, stratigraphic: np.ndarray, thickness: float) -> None:
    """Shake the layers where a slow random field is high, in place: slumps and hummocks; a little everywhere."""
    cell, slow = 2.2 * thickness + 3, 8
    shaken = smooth_field(rng, canvas, 0.8 * canvas.unit, 1.4 * canvas.unit, slow)
    shaken = np.clip(shaken - rng.uniform(0.3, 1.6), 0, 1) + rng.uniform(0.02, 0.15)
    shake = smooth_field(rng, canvas, cell, cell * rng.uniform(1.0, 2.5))
    shake *= upsample(shaken * thickness, canvas, slow)
    stratigraphic += shake


def _profiles(
    rng: np.random.Generator, canvas: Canvas, length: float, thickness: float
) -> Callable[[np.ndarray], np.ndarray]:
    """The log impedance at T: one pile of layers that passes sideways into another (facies change)."""
    here, there = (layer_profile(rng, length + 2, thickness) for _ in range(2))
    facies = smooth_field(rng, canvas, 0.7 * canvas.unit, 1.2 * canvas.unit, 8)
    weight = upsample(np.clip(0.7 + 0.45 * facies, 0.05, 1), canvas, 8)

    def lookup(stratigraphic: np.ndarray) -> np.ndarray:
        index = (stratigraphic * PER_PIXEL).astype(np.int32)
        ours, theirs = np.take(here, index, mode="clip"), np.take(there, index, mode="clip")
        ours -= theirs
        ours *= weight
        ours += theirs
        return ours

    return lookup

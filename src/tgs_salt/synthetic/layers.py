"""Sedimentary layers of a synthetic section: the log impedance of each pixel outside salt.

The model follows displacement-field construction of structural models: Wu et al., Geophysics 85, 2020, on synthetic
folded and faulted seismic images. Each pixel gets the row that it had in the undeformed layers (its relative geologic
time): its row plus the displacements by folding, regional dip, salt drag and faults. A one-dimensional impedance
profile is then sampled at that row, so a layer keeps its properties along the section.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from tgs_salt.synthetic.salt import Grid, fractal_noise

SAMPLES_PER_PIXEL = 4  # oversampling of impedance profiles, so that stretched layers have no stair steps
COARSE_STEP = 4  # pixels between the samples of smooth displacements


def random_field(rng: np.random.Generator, grid: Grid, height: float, width: float, step: int = 1) -> np.ndarray:
    """Return a smooth random field of about unit variance; float32 of the grid's shape, every `step`-th pixel.

    Args:
        rng: Source of randomness.
        grid: Size of the section.
        height: Vertical correlation length in pixels.
        width: Horizontal correlation length in pixels.
        step: Sampling interval in pixels.
    """
    rows, columns = int(grid.height / height) + 4, int(grid.width / width) + 4
    nodes = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.4)
    field = cv2.resize(
        nodes, (round(columns * width / step), round(rows * height / step)), interpolation=cv2.INTER_CUBIC
    )
    return field[: -(-grid.height // step), : -(-grid.width // step)]


def upsample(field: np.ndarray, grid: Grid, step: int) -> np.ndarray:
    """Interpolate a field given at every `step`-th pixel to all pixels; (height, width) float32."""
    size = (field.shape[1] * step, field.shape[0] * step)
    full = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return full[: grid.height, : grid.width]


def impedance_profile(rng: np.random.Generator, length: float, thickness: float) -> np.ndarray:
    """Return the log impedance of a stack of homogeneous layers; (length * SAMPLES_PER_PIXEL,) float32.

    Thicknesses are log-normal around `thickness` pixels. The contrast varies between intervals of 20 layers, as
    between sandy and shaly intervals.
    """
    count = int(length / thickness * 1.6) + 40
    bottoms = np.cumsum(thickness * rng.lognormal(-0.2, 0.6, count))
    intervals = np.arange(0, count + 20, 20)
    contrast = np.exp(np.interp(np.arange(count), intervals, rng.normal(0, 0.55, intervals.size)))
    values = rng.normal(0, 1, count) * contrast
    values[rng.random(count) < 0.03] *= 2.2  # a few strong marker layers
    samples = np.arange(int(length * SAMPLES_PER_PIXEL)) / SAMPLES_PER_PIXEL
    layer = np.minimum(np.searchsorted(bottoms, samples), count - 1)
    return np.asarray(values[layer], dtype=np.float32)


def uplift_field(rng: np.random.Generator, grid: Grid, salt: np.ndarray) -> np.ndarray:
    """Return the uplift by folding, regional dip and salt drag in pixels; (height, width) float32.

    Drag decays exponentially with the distance to salt, so layers drape over crests and turn up at flanks.
    """
    size = grid.tile_size
    rows = np.arange(0, grid.height, COARSE_STEP, dtype=np.float32)[:, None]
    columns = np.arange(0, grid.width, COARSE_STEP, dtype=np.float32)[None, :]
    fold = fractal_noise(rng, grid.width, 8 * size, 0.8 * size, rng.uniform(1.0, 1.7))[::COARSE_STEP].astype(np.float32)
    growth = np.clip(0.4 + rows / grid.height * rng.uniform(-0.2, 1.2), 0.1, 1.6)  # change of folding with depth
    uplift = rng.uniform(0.04, 0.42) * size * fold[None, :] * growth
    uplift = uplift + rng.normal(0, 0.2) * (columns - grid.width / 2) * growth
    rock = np.ascontiguousarray(1 - salt[::COARSE_STEP, ::COARSE_STEP])
    distance = np.minimum(cv2.distanceTransform(rock, cv2.DIST_L2, 5), 3 * size / COARSE_STEP) * COARSE_STEP
    distance = cv2.GaussianBlur(distance, (0, 0), 0.06 * size / COARSE_STEP + 1)
    reach = rng.uniform(0.2, 0.8) * size
    return upsample(uplift + rng.uniform(0.2, 1.7) * reach * np.exp(-distance / reach), grid, COARSE_STEP)


def add_fault(rng: np.random.Generator, grid: Grid, undeformed_row: np.ndarray) -> None:
    """Displace the hanging wall of one fault in place: dip of 50 to 75 degrees, throw of up to a third of a tile.

    The throw decreases towards both tips of the fault, and over 2.5 tiles away from it (rollover).
    """
    size = grid.tile_size
    slope = rng.choice([-1, 1]) / np.tan(np.radians(rng.uniform(50, 75)))
    center, max_throw = rng.uniform(0, grid.width), rng.uniform(0.05, 0.33) * size * np.sign(slope)
    top, bottom = np.sort(rng.uniform(-0.5, 1.5, 2)) * grid.height
    rows = np.arange(max(0, int(top)), min(grid.height, int(bottom) + 1), dtype=np.float32)
    if not rows.size:
        return
    plane = (center + slope * (rows - grid.height / 2)).astype(np.float32)
    throw = (max_throw * np.clip(np.minimum(rows - top, bottom - rows) / (0.7 * size), 0, 1)).astype(np.float32)
    reach = np.float32(2.5 * size)
    first, last = max(0, int(plane.min())), min(grid.width, int(plane.max() + reach) + 1)
    if first >= last:
        return
    weight = 1 - (np.arange(first, last, dtype=np.float32)[None, :] - plane[:, None]) / reach  # 1 at the fault plane
    weight[(weight < 0) | (weight > 1)] = 0
    weight *= weight
    weight *= throw[:, None]
    undeformed_row[int(rows[0]) : int(rows[0]) + rows.size, first:last] += weight


def deposit_layers(rng: np.random.Generator, grid: Grid, uplift: np.ndarray, thickness: float) -> np.ndarray:
    """Return the log impedance of the layers, of about unit variance; (height, width) float32."""
    size = grid.tile_size
    rows = np.arange(grid.height, dtype=np.float32)[:, None]
    undeformed_row = rows + uplift
    if rng.random() < 0.5:  # sequences that thin laterally: wedges and pinch-outs
        thinning = fractal_noise(rng, grid.width, 10 * size, 3 * size, 1.5).astype(np.float32)
        undeformed_row *= np.exp(np.float32(rng.uniform(0.05, 0.22)) * thinning)[None, :]
    if rng.random() < 0.6:
        _add_unconformity(rng, grid, uplift, undeformed_row)
    for _ in range(rng.poisson(grid.width / size / 4)):
        add_fault(rng, grid, undeformed_row)
    _add_slumps(rng, grid, undeformed_row, thickness)
    undeformed_row -= undeformed_row.min()
    impedance_at = _impedance_model(rng, grid, float(undeformed_row.max()), thickness)
    return impedance_at(undeformed_row)


def _add_unconformity(rng: np.random.Generator, grid: Grid, uplift: np.ndarray, undeformed_row: np.ndarray) -> None:
    """Truncate the folded layers at an erosion surface and put younger, flatter layers on it, in place."""
    size = grid.tile_size
    relief = fractal_noise(rng, grid.width, 6 * size, 0.8 * size, 1.6) * rng.uniform(0.05, 0.25) * size
    surface = (grid.height * rng.uniform(0.15, 0.65) + relief).astype(np.float32)[None, :]
    younger = uplift * np.float32(rng.uniform(0.15, 0.6))
    younger += np.arange(grid.height, dtype=np.float32)[:, None]
    is_younger = younger < surface
    younger -= 2 * grid.height  # an interval of the profile that the older layers do not use
    np.copyto(undeformed_row, younger, where=is_younger)


def _add_slumps(rng: np.random.Generator, grid: Grid, undeformed_row: np.ndarray, thickness: float) -> None:
    """Perturb the layers in place: strongly in random areas (slumps and hummocks), slightly elsewhere."""
    cell, step = 2.2 * thickness + 3, 8
    strength = random_field(rng, grid, 0.8 * grid.tile_size, 1.4 * grid.tile_size, step)
    strength = np.clip(strength - rng.uniform(0.3, 1.6), 0, 1) + rng.uniform(0.02, 0.15)
    perturbation = random_field(rng, grid, cell, cell * rng.uniform(1.0, 2.5))
    perturbation *= upsample(strength * thickness, grid, step)
    undeformed_row += perturbation


def _impedance_model(
    rng: np.random.Generator, grid: Grid, length: float, thickness: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from undeformed row to log impedance: a lateral blend of two profiles (facies change)."""
    profile_a, profile_b = (impedance_profile(rng, length + 2, thickness) for _ in range(2))
    facies = random_field(rng, grid, 0.7 * grid.tile_size, 1.2 * grid.tile_size, 8)
    weight = upsample(np.clip(0.7 + 0.45 * facies, 0.05, 1), grid, 8)

    def impedance_at(undeformed_row: np.ndarray) -> np.ndarray:
        index = (undeformed_row * SAMPLES_PER_PIXEL).astype(np.int32)
        a, b = np.take(profile_a, index, mode="clip"), np.take(profile_b, index, mode="clip")
        a -= b
        a *= weight
        a += b
        return a

    return impedance_at

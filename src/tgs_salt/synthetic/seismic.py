"""Synthetic seismic sections: layers and salt imaged through a wavelet, with noise and gain.

Convolutional model: reflection coefficients are half the vertical change of log impedance (valid for weak contrasts).
The section is their convolution with a zero-phase Ricker wavelet. Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tgs_salt.synthetic.layers import deposit_layers, random_field, uplift_field, upsample
from tgs_salt.synthetic.salt import Grid, fractal_noise, salt_mask

MIN_DEPTH, MAX_DEPTH = 50, 959  # of depths.csv


@dataclass(frozen=True)
class Section:
    """A vertical section of seismic data, to be cut into tiles.

    Attributes:
        amplitude: (height, width) float32; the standard deviation outside salt is about 1.
        salt: (height, width) uint8, salt = 1.
        top_depth: Depth of the first row, in the unit of depths.csv.
        depth_per_pixel: Depth increment per row.
    """

    amplitude: np.ndarray
    salt: np.ndarray
    top_depth: float
    depth_per_pixel: float


def ricker(period: float, reach: float = 1.0) -> np.ndarray:
    """Return a Ricker wavelet of dominant period `period` pixels, cut off at `reach` periods; (2n+1,) float64.

    w(t) = (1 - 2 a) exp(-a) with a = (pi t / period)^2: N. Ricker, Geophysics 18, 1953.
    """
    n = int(np.ceil(reach * period))
    a = (np.pi * np.arange(-n, n + 1) / period) ** 2
    return np.asarray((1 - 2 * a) * np.exp(-a))


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Return a Gaussian kernel with sum 1; (2n+1,) float64."""
    n = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / max(sigma, 1e-3)) ** 2)
    return np.asarray(kernel / kernel.sum())


def _convolve(field: np.ndarray, kernel_x: np.ndarray, kernel_y: np.ndarray) -> np.ndarray:
    """Convolve with separable kernels of odd length and mirrored borders; float32."""
    # Flip the kernels, because sepFilter2D computes a correlation.
    return cv2.sepFilter2D(
        field, cv2.CV_32F, kernel_x[::-1].copy(), kernel_y[::-1].copy(), borderType=cv2.BORDER_REFLECT_101
    )


def reflection_amplitude(
    impedance: np.ndarray, period: float, period_growth: float, lateral_sigma: float
) -> np.ndarray:
    """Return the seismic response of log impedance (height, width); float32 of the same shape.

    Args:
        impedance: Log impedance.
        period: Dominant period of the wavelet at the top, in pixels.
        period_growth: Ratio of the period at the bottom to that at the top.
        lateral_sigma: Standard deviation of the lateral blur that migration leaves, in pixels.
    """
    # Differentiating the wavelet instead of the impedance leaves a single vertical filter.
    derivative = np.array([0.25, 0, -0.25])  # half of a central difference
    shallow, deep = (
        _convolve(impedance, gaussian_kernel(lateral_sigma * growth), np.convolve(ricker(period * growth), derivative))
        for growth in (1.0, period_growth)
    )
    weight = np.linspace(0, 1, impedance.shape[0], dtype=np.float32)[:, None]
    deep -= shallow
    deep *= weight
    shallow += deep
    return shallow


def _approximate_std(field: np.ndarray) -> float:
    """Return the standard deviation of every third row and column, at least 1e-6."""
    return max(float(field[::3, ::3].std()), 1e-6)


def _white_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return uniform white noise; (height, width) uint8. It is faster than normal noise and is filtered anyway."""
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def _bandpass_kernel(period: float) -> np.ndarray:
    """Return a Ricker wavelet of one period with sum 0, which removes the mean of the white noise."""
    kernel = ricker(period)
    return np.asarray(kernel - kernel.mean())


def horizontal_noise(rng: np.random.Generator, grid: Grid, period: float) -> np.ndarray:
    """Return noise in the wavelet's band with lateral correlation; (height, width) float32 of unit variance."""
    noise = _white_noise(rng, grid.height, grid.width)
    noise = _convolve(noise, gaussian_kernel(rng.uniform(0.6, 3.0)), _bandpass_kernel(period * rng.uniform(0.7, 1.1)))
    noise *= np.float32(1 / _approximate_std(noise))
    return noise


def steep_noise(rng: np.random.Generator, grid: Grid, period: float) -> np.ndarray:
    """Return steep, curved streaks like migration artifacts; (height, width) float32 of unit variance.

    They are generated at half resolution, because they are coarser than the reflections.
    """
    size = grid.tile_size
    white = _white_noise(rng, -(-grid.height // 2), -(-grid.width // 2))
    width = 0.5 * period * rng.uniform(1.0, 1.8)
    vertical = _convolve(white, _bandpass_kernel(width), gaussian_kernel(width * rng.uniform(0.25, 0.6)))
    shift = random_field(rng, grid, 0.9 * size, 0.9 * size, 2) * (rng.uniform(0.01, 0.12) * size)
    tilt = np.float32(rng.normal(0, 0.5))
    indices: np.ndarray = np.indices(white.shape, dtype=np.float32)
    rows, columns = indices[0], indices[1]
    columns += shift
    columns += tilt * rows
    streaks: np.ndarray = cv2.remap(vertical, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    streaks += streaks[:, ::-1] * np.float32(rng.uniform(0, 1))  # conflicting dips
    streaks *= np.float32(1 / _approximate_std(streaks))
    return upsample(streaks, grid, 2)


def generate_section(rng: np.random.Generator, grid: Grid) -> Section:
    """Generate a random section: structure, layers, salt, wavelet, noise, and gain."""
    max_period = grid.tile_size / 4.5
    period = float(np.clip(rng.lognormal(np.log(10.0), 0.42), 4.5, max_period))
    salt = salt_mask(rng, grid)
    uplift = uplift_field(rng, grid, salt)
    layers = deposit_layers(rng, grid, uplift, period * rng.uniform(0.25, 0.6))
    water = _water_mask(rng, grid, salt, uplift)
    salt_impedance = np.float32(rng.uniform(3.0, 6.0))
    impedance = np.where(salt > 0, salt_impedance, layers)
    if water is not None:
        np.copyto(impedance, np.float32(-salt_impedance), where=water)
    amplitude = reflection_amplitude(impedance, period, rng.uniform(1.0, 1.5), rng.uniform(0.5, 1.2))
    amplitude += _flank_reflections(rng, salt, float(salt_impedance), period)
    amplitude *= np.float32(1 / max(float(amplitude[::3, ::3][salt[::3, ::3] == 0].std()), 1e-6))
    _add_noise(rng, grid, amplitude, salt, water, period)
    smooth_salt = cv2.GaussianBlur(salt[::4, ::4].astype(np.float32), (0, 0), 0.02 * grid.tile_size)
    amplitude += upsample(smooth_salt * rng.normal(0, 0.25), grid, 4)  # residual frequencies below the wavelet's band
    if rng.random() < 0.5:
        amplitude *= -1  # either polarity convention
    depth_per_pixel = rng.uniform(0.45, 0.98) * (MAX_DEPTH - MIN_DEPTH) / grid.height
    top_depth = rng.uniform(MIN_DEPTH, MAX_DEPTH - depth_per_pixel * grid.height)
    return Section(amplitude, salt, top_depth, depth_per_pixel)


def _flank_reflections(rng: np.random.Generator, salt: np.ndarray, salt_impedance: float, period: float) -> np.ndarray:
    """Return reflections of steep salt flanks, which the vertical model does not produce; (height, width) float32."""
    strength = rng.uniform(0.0, 0.5) * salt_impedance
    kernel = np.convolve(ricker(0.8 * period), [0.25, 0, -0.25]) * strength
    return _convolve(salt.astype(np.float32), kernel, gaussian_kernel(0.15 * period))


def _water_mask(rng: np.random.Generator, grid: Grid, salt: np.ndarray, uplift: np.ndarray) -> np.ndarray | None:
    """Return where water is, (height, width) bool, or None (75% of sections); remove salt from the water in place."""
    if rng.random() > 0.25:
        return None
    relief = fractal_noise(rng, grid.width, 8 * grid.tile_size, 0.5 * grid.tile_size, 1.7) * 0.12 * grid.tile_size
    seafloor = rng.uniform(0.2, 0.9) * grid.tile_size + relief - 0.3 * uplift[0]
    water = np.arange(grid.height)[:, None] < seafloor[None, :]
    salt[water] = 0
    return water


def _add_noise(
    rng: np.random.Generator,
    grid: Grid,
    amplitude: np.ndarray,
    salt: np.ndarray,
    water: np.ndarray | None,
    period: float,
) -> None:
    """Add noise of varying strength in place: weaker and of another texture in salt, almost none in water."""
    size, step = grid.tile_size, 8
    level = rng.uniform(0.08, 0.35) * np.exp(0.45 * random_field(rng, grid, 0.8 * size, 1.2 * size, step))
    if rng.random() < 0.35:  # areas where noise masks most reflections
        level += np.clip(random_field(rng, grid, size, 1.5 * size, step) - 0.8, 0, 1.5)
    noise, streaks = horizontal_noise(rng, grid, period), steep_noise(rng, grid, period)
    streaks += noise * np.float32(rng.uniform(0, 0.8))
    weight = rng.uniform(0, 0.9)
    noise *= 1 - weight
    noise += streaks * weight
    noise *= upsample(level, grid, step)
    streaks *= np.float32(rng.uniform(0.1, 0.4))
    np.copyto(noise, streaks, where=salt > 0)
    if water is not None:
        rows = int(np.count_nonzero(water.any(axis=1)))  # water is at the top
        np.multiply(noise[:rows], np.float32(0.05), out=noise[:rows], where=water[:rows])
    amplitude *= upsample(1 / np.sqrt(1 + level * level), grid, step)
    amplitude += noise

"""One synthetic seismic section: rock and salt, seen through a wavelet, with noise and gain.

The trace is the convolutional model: reflection coefficients are half the vertical change of log impedance
(weak contrasts), and the section is their convolution with a zero-phase Ricker wavelet. All lengths are pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tgs_salt.synthetic.layers import deposit_layers, displacement, smooth_field, upsample
from tgs_salt.synthetic.salt import Canvas, fractal, salt_mask

SHALLOWEST, DEEPEST = 50, 959  # the range of depths.csv


@dataclass(frozen=True)
class Section:
    """A line of seismic data, cut into tiles later."""

    amplitude: np.ndarray  # (height, width) float32, rock about unit standard deviation
    salt: np.ndarray  # (height, width) uint8, 1 in salt
    top_depth: float  # depth of the first row, in the unit of depths.csv
    depth_per_pixel: float


def ricker(period: float, reach: float = 1.0) -> np.ndarray:
    """(2n+1,) float64: the Ricker wavelet (N. Ricker, Geophysics 18, 1953) of dominant period `period` pixels.

    w(t) = (1 - 2 a) exp(-a) with a = (pi t / period)^2.
    """
    n = int(np.ceil(reach * period))
    a = (np.pi * np.arange(-n, n + 1) / period) ** 2
    return np.asarray((1 - 2 * a) * np.exp(-a))


def gaussian(sigma: float) -> np.ndarray:
    n = max(1, int(np.ceil(2.5 * sigma)))
    bell = np.exp(-0.5 * (np.arange(-n, n + 1) / max(sigma, 1e-3)) ** 2)
    return np.asarray(bell / bell.sum())


def _filtered(field: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Convolve with separable odd kernels, mirrored at the border (`sepFilter2D` correlates: hence the flips)."""
    return cv2.sepFilter2D(field, cv2.CV_32F, across[::-1].copy(), down[::-1].copy(), borderType=cv2.BORDER_REFLECT_101)


def convolved(impedance: np.ndarray, period: float, deeper: float, smear: float) -> np.ndarray:
    """(h, w) float32: reflectivity of `impedance` (log) through a wavelet whose period grows by `deeper` downwards.

    Differentiating the wavelet instead of the impedance makes the whole model one vertical filter.
    `smear` is the lateral resolution left by migration, in pixels.
    """
    slope = np.array([0.25, 0, -0.25])  # half of a central difference
    shallow, deep = (
        _filtered(impedance, gaussian(smear * grown), np.convolve(ricker(period * grown), slope))
        for grown in (1.0, deeper)
    )
    share = np.linspace(0, 1, impedance.shape[0], dtype=np.float32)[:, None]
    deep -= shallow
    deep *= share
    shallow += deep
    return shallow


def _spread(field: np.ndarray) -> float:
    """Standard deviation, from every third row and column: enough to scale by."""
    return max(float(field[::3, ::3].std()), 1e-6)


def _white(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width) uint8 white noise; uniform, as the filters that follow make it normal (and it is quicker)."""
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def _band(period: float) -> np.ndarray:
    """A Ricker wavelet cut off at one period, which then passes no constant (the mean of the white noise)."""
    wave = ricker(period)
    return np.asarray(wave - wave.mean())


def bedded_noise(rng: np.random.Generator, canvas: Canvas, period: float) -> np.ndarray:
    """(h, w) float32 of unit variance: the wavelet's band, smeared more or less along the line."""
    noise = _white(rng, canvas.height, canvas.width)
    noise = _filtered(noise, gaussian(rng.uniform(0.6, 3.0)), _band(period * rng.uniform(0.7, 1.1)))
    noise *= np.float32(1 / _spread(noise))
    return noise


def streaky_noise(rng: np.random.Generator, canvas: Canvas, period: float) -> np.ndarray:
    """(h, w) float32 of unit variance: steep streaks bent by a random field, as migration leaves where nothing
    reflects. Drawn at half resolution: it is coarser than the reflections."""
    unit = canvas.unit
    white = _white(rng, -(-canvas.height // 2), -(-canvas.width // 2))
    width = 0.5 * period * rng.uniform(1.0, 1.8)
    upright = _filtered(white, _band(width), gaussian(width * rng.uniform(0.25, 0.6)))
    bend = smooth_field(rng, canvas, 0.9 * unit, 0.9 * unit, 2) * (rng.uniform(0.01, 0.12) * unit)
    tilt = np.float32(rng.normal(0, 0.5))
    grid: np.ndarray = np.indices(white.shape, dtype=np.float32)
    rows, columns = grid[0], grid[1]
    columns += bend
    columns += tilt * rows
    streaks: np.ndarray = cv2.remap(upright, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    streaks += streaks[:, ::-1] * np.float32(rng.uniform(0, 1))  # conflicting dips
    streaks *= np.float32(1 / _spread(streaks))
    return upsample(streaks, canvas, 2)


def draw_section(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw one section: structure, layers, salt, wavelet, noise, gain; every choice from `rng`."""
    longest = canvas.unit / 4.5
    period = float(np.clip(rng.lognormal(np.log(10.0), 0.42), 4.5, longest))
    salt = salt_mask(rng, canvas)
    lift = displacement(rng, canvas, salt)
    rock = deposit_layers(rng, canvas, lift, period * rng.uniform(0.25, 0.6))
    water = _water(rng, canvas, salt, lift)
    hardness = np.float32(rng.uniform(3.0, 6.0))
    impedance = np.where(salt > 0, hardness, rock)
    if water is not None:
        np.copyto(impedance, np.float32(-hardness), where=water)
    wave = convolved(impedance, period, rng.uniform(1.0, 1.5), rng.uniform(0.5, 1.2))
    wave += _flanks(rng, salt, float(hardness), period)
    wave *= np.float32(1 / max(float(wave[::3, ::3][salt[::3, ::3] == 0].std()), 1e-6))
    _add_noise(rng, canvas, wave, salt, water, period)
    body = cv2.GaussianBlur(salt[::4, ::4].astype(np.float32), (0, 0), 0.02 * canvas.unit)
    wave += upsample(body * rng.normal(0, 0.25), canvas, 4)  # what is left of frequencies below the wavelet's band
    if rng.random() < 0.5:
        wave *= -1  # either polarity convention
    per_pixel = rng.uniform(0.45, 0.98) * (DEEPEST - SHALLOWEST) / canvas.height
    top = rng.uniform(SHALLOWEST, DEEPEST - per_pixel * canvas.height)
    return Section(wave, salt, top, per_pixel)


def _flanks(rng: np.random.Generator, salt: np.ndarray, hardness: float, period: float) -> np.ndarray:
    """(h, w) float32: steep salt edges, as far as turning waves image them (the vertical model shows none)."""
    seen = rng.uniform(0.0, 0.5) * hardness
    across = np.convolve(ricker(0.8 * period), [0.25, 0, -0.25]) * seen
    return _filtered(salt.astype(np.float32), across, gaussian(0.15 * period))


def _water(rng: np.random.Generator, canvas: Canvas, salt: np.ndarray, lift: np.ndarray) -> np.ndarray | None:
    """(h, w) bool above the sea floor, or None: one section in four begins in the water. Removes salt from it."""
    if rng.random() > 0.25:
        return None
    relief = fractal(rng, canvas.width, 8 * canvas.unit, 0.5 * canvas.unit, 1.7) * 0.12 * canvas.unit
    floor = rng.uniform(0.2, 0.9) * canvas.unit + relief - 0.3 * lift[0]
    water = np.arange(canvas.height)[:, None] < floor[None, :]
    salt[water] = 0
    return water


def _add_noise(
    rng: np.random.Generator,
    canvas: Canvas,
    wave: np.ndarray,
    salt: np.ndarray,
    water: np.ndarray | None,
    period: float,
) -> None:
    """Add noise in place: it varies along the line, is weaker in salt (of another texture) and hardly any in water."""
    unit, slow = canvas.unit, 8
    level = rng.uniform(0.08, 0.35) * np.exp(0.45 * smooth_field(rng, canvas, 0.8 * unit, 1.2 * unit, slow))
    if rng.random() < 0.35:  # stretches where hardly a reflection survives
        level += np.clip(smooth_field(rng, canvas, unit, 1.5 * unit, slow) - 0.8, 0, 1.5)
    noise, streaks = bedded_noise(rng, canvas, period), streaky_noise(rng, canvas, period)
    streaks += noise * np.float32(rng.uniform(0, 0.8))
    share = rng.uniform(0, 0.9)
    noise *= 1 - share
    noise += streaks * share
    noise *= upsample(level, canvas, slow)
    streaks *= np.float32(rng.uniform(0.1, 0.4))
    np.copyto(noise, streaks, where=salt > 0)
    if water is not None:
        wet = int(np.count_nonzero(water.any(axis=1)))  # rows: it lies on top
        np.multiply(noise[:wet], np.float32(0.05), out=noise[:wet], where=water[:wet])
    wave *= upsample(1 / np.sqrt(1 + level * level), canvas, slow)
    wave += noise

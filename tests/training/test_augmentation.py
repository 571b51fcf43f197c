"""Augmentation warps image and mask alike, changes masks in no other way, and depends on the seed alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tgs_salt.settings import Augment
from tgs_salt.training.augmentation import AugmentationParams, sample_augmentations

NO_DEFAULTS = {"hflip": 0, "brightness": 0, "contrast": 0}
GEOMETRY = {"shift": 0.1, "scale": 0.2, "rotate": 15, "crop": 0.2}
ALL = Augment(hflip=0.5, brightness=0.2, contrast=0.3, gauss_noise=0.05, cutout=0.3, **GEOMETRY)


def sample(count: int, settings: Augment = ALL, seed: int = 0, side: int = 21) -> AugmentationParams:
    return sample_augmentations(count, side, settings, torch.Generator().manual_seed(seed))


def apply(
    pixels: torch.Tensor, targets: torch.Tensor, settings: Augment = ALL, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    return sample(len(pixels), settings, seed, pixels.shape[-1]).apply(pixels, targets, torch.arange(len(pixels)))


def reflect(position: np.ndarray, side: int) -> np.ndarray:
    """Reflect pixel coordinates at the outer edges of the first and the last pixel."""
    folded = np.mod(position + 0.5, 2 * side)
    return np.minimum(folded, 2 * side - folded) - 0.5


def test_flip_moves_image_and_mask_alike() -> None:
    pixels = torch.full((64, 1, 9, 9), 0.5)
    targets = torch.zeros(64, 1, 9, 9)
    pixels[:, 0, 2, 1], targets[:, 0, 2, 1] = 0.6, 1
    pixels, targets = apply(pixels, targets, Augment(brightness=0.2, contrast=0.3))
    assert set(targets.unique().tolist()) == {0, 1}
    marked = targets[:, 0].flatten(1).argmax(1)
    assert set(marked.tolist()) == {2 * 9 + 1, 2 * 9 + 7}  # unchanged or flipped left to right, never up-down
    assert (pixels[:, 0].flatten(1).argmax(1) == marked).all()


@pytest.mark.parametrize("key", [*GEOMETRY, "all"])
def test_warp_moves_image_and_mask_alike(key: str) -> None:
    """The sampled matrix maps the center of the warped spot back to its original position."""
    settings = Augment(**{**NO_DEFAULTS, "hflip": 0.5}, **(GEOMETRY if key == "all" else {key: GEOMETRY[key]}))
    side, count = 65, 40
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    spot_y, spot_x = 38, 25
    spot = torch.exp(-((rows - spot_y) ** 2 + (columns - spot_x) ** 2) / 18.0).expand(count, 1, side, side)
    pixels, targets = apply(spot, (spot > 0.5).float(), settings)
    values = sample(count, settings).values
    for k in range(count):
        image, mask = pixels[k, 0].double().numpy(), targets[k, 0].numpy()
        assert set(np.unique(mask)) == {0, 1}
        image_center, mask_center = np.array(ndimage.center_of_mass(image)), np.array(ndimage.center_of_mass(mask))
        assert np.abs(image_center - mask_center).max() < 0.6
        y, x = (2 * mask_center + 1) / side - 1
        original = values[k, 8:].view(2, 3).double().numpy() @ [x, y, 1]
        np.testing.assert_allclose(((original + 1) * side - 1) / 2, [spot_x, spot_y], atol=0.6)


@pytest.mark.parametrize("key", list(GEOMETRY))
def test_warp_equals_scipy(key: str) -> None:
    settings = Augment(**{**NO_DEFAULTS, "hflip": 0.5}, **{key: GEOMETRY[key]})
    side = 17
    pixels = torch.rand(6, 1, side, side, generator=torch.Generator().manual_seed(1))
    warped, _ = apply(pixels, torch.zeros_like(pixels), settings)
    y, x = np.mgrid[:side, :side] * 2 / side + 1 / side - 1
    for k, matrix in enumerate(sample(6, settings).values[:, 8:].view(-1, 2, 3).double().numpy()):
        columns, rows = (matrix @ np.stack([x.ravel(), y.ravel(), np.ones(side * side)]) + 1) * side / 2 - 0.5
        positions = np.stack([reflect(rows, side), reflect(columns, side)])
        expected = ndimage.map_coordinates(pixels[k, 0].double().numpy(), positions, order=1, mode="nearest")
        np.testing.assert_allclose(warped[k, 0].numpy().ravel(), expected, atol=2e-5)


def test_matrices_stay_within_the_settings() -> None:
    def matrices(**settings: float) -> np.ndarray:
        return sample(2000, Augment(**NO_DEFAULTS, **settings)).values[:, 8:].view(-1, 2, 3).double().numpy()

    shifted = matrices(shift=0.1)
    np.testing.assert_allclose(shifted[:, :, :2], np.broadcast_to(np.eye(2), (2000, 2, 2)), atol=1e-6)
    shifts = np.abs(shifted[:, :, 2])
    assert shifts.max(axis=0).min() > 0.19 and shifts.max() <= 0.2  # -1..1 has width 2
    scaled = matrices(scale=0.25)[:, 0, 0]
    assert 1 / 1.25 - 1e-6 <= scaled.min() < 0.81 and 1.24 < scaled.max() <= 1.25 + 1e-6
    assert abs(np.median(scaled) - 1) < 0.02
    rotated = matrices(rotate=20)
    angles = np.degrees(np.arctan2(rotated[:, 1, 0], rotated[:, 0, 0]))
    assert -20.001 < angles.min() < -19.5 and 19.5 < angles.max() < 20.001
    np.testing.assert_allclose(np.linalg.det(rotated[:, :, :2]), 1, atol=1e-5)
    cropped = matrices(crop=0.3)
    corners = np.abs(cropped[:, :, 2]) + cropped[:, [0, 1], [0, 1]]
    assert corners.max() <= 1 + 1e-6, "the window is inside the tile"
    assert 0.7 <= cropped[:, 0, 0].min() < 0.71 and not np.allclose(cropped[:, 0, 0], cropped[:, 1, 1])
    assert (np.linalg.det(matrices(**GEOMETRY)[:, :, :2]) > 0).all(), "no reflection"


def test_tiles_are_never_upside_down() -> None:
    settings = Augment(hflip=0.5, shift=0.1, scale=1, rotate=45, crop=0.5)
    assert (sample(5000, settings).values[:, 8:].view(-1, 2, 3)[:, 1, 1] > 0).all()


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 45), st.floats(0, 0.9), st.floats(0, 1))
def test_binary_targets_stay_binary_and_soft_targets_in_range(
    seed: int, shift: float, rotation: float, crop: float, scale: float
) -> None:
    settings = Augment(shift=shift, rotate=rotation, crop=crop, scale=scale)
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(4, 1, 13, 13, generator=generator)
    soft[2:] = (soft[2:] > 0.5).float()
    pixels, targets = apply(torch.rand(4, 1, 13, 13, generator=generator), soft, settings, seed)
    assert set(targets[2:].unique().tolist()) <= {0, 1}
    assert targets.min() >= 0 and targets.max() <= 1 and pixels.min() >= 0 and pixels.max() <= 1
    assert torch.isfinite(pixels).all()


def test_brightness_and_contrast_stay_in_range_and_differ_between_tiles() -> None:
    flip, brightness, contrast = sample(1000).values[:, :3].unbind(1)
    assert brightness.abs().max() <= 0.2 and (contrast - 1).abs().max() <= 0.3
    assert len(brightness.unique()) > 900
    assert 0.4 < flip.mean() < 0.6


def test_noise_is_normal_with_the_sampled_deviation_and_independent_between_tiles() -> None:
    settings = Augment(**NO_DEFAULTS, gauss_noise=0.1)
    pixels = torch.full((200, 1, 64, 64), 0.5)
    pixels[:, 0, 0, 0] = 0.51
    noise = (apply(pixels, torch.zeros_like(pixels), settings)[0] - pixels).flatten(1)
    sigma = sample(200, settings).values[:, 3]
    assert sigma.max() <= 0.1
    torch.testing.assert_close(noise.std(1), sigma, rtol=0.1, atol=1e-3)
    unit = noise / sigma.view(-1, 1)
    assert unit.mean(1).abs().max() < 6 / 64
    assert (unit.abs() < 1.96).float().mean().item() == pytest.approx(0.95, abs=0.005)
    correlation = torch.corrcoef(unit[:50]) - torch.eye(50)
    assert correlation.abs().max() < 6 / 64


def test_cutout_fills_a_square_and_keeps_the_mask() -> None:
    settings = Augment(**NO_DEFAULTS, cutout=0.5)
    pixels = torch.rand(300, 1, 40, 40, generator=torch.Generator().manual_seed(2))
    targets = (pixels > 0.5).float()
    erased, same_targets = apply(pixels, targets, settings)
    assert torch.equal(same_targets, targets)
    changed = (erased - pixels).abs() > 1e-5
    sides = changed[:, 0].any(1).sum(1)
    assert 19 <= sides.max() <= 20 and sides.min() <= 1
    for tile, mask in zip(erased[:, 0], changed[:, 0], strict=True):
        rows, columns = torch.where(mask)
        if len(rows):
            inside = tile[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert inside.max() - inside.min() < 1e-5, "constant gray value"
            assert mask.sum() >= 0.9 * inside.numel(), "no pixel outside the square"


@pytest.mark.parametrize("gray", [0, 0.37, 1])
def test_blank_tiles_do_not_change_and_pixels_stay_in_range(gray: float) -> None:
    pixels = torch.rand(8, 1, 15, 15)
    pixels[3] = gray
    settings = Augment(brightness=1, contrast=1, gauss_noise=1, cutout=1, **GEOMETRY)
    changed, targets = apply(pixels, torch.zeros(8, 1, 15, 15), settings)
    assert torch.equal(changed[3], pixels[3]) and not targets.any()
    assert changed.min() >= 0 and changed.max() <= 1


def test_disabled_augmentation_changes_nothing() -> None:
    pixels, targets = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    same_pixels, same_targets = apply(pixels, targets, Augment(**NO_DEFAULTS))
    torch.testing.assert_close(same_pixels, pixels)
    torch.testing.assert_close(same_targets, targets, rtol=0, atol=0)


@pytest.mark.parametrize("key", [*GEOMETRY, "gauss_noise", "cutout", "hflip"])
def test_enabling_one_setting_does_not_change_the_others(key: str) -> None:
    """All others are enabled: a setting must not consume random numbers of those sampled after it."""
    without, with_key = (sample(50, ALL.model_copy(update={key: value})).values for value in (0, getattr(ALL, key)))
    own = {"hflip": [0, 8, 9, 10], "gauss_noise": [3], "cutout": [5]}.get(key, list(range(8, 14)))
    others = [column for column in range(14) if column not in own]
    assert torch.equal(without[:, others], with_key[:, others])
    assert not torch.equal(without[:, own], with_key[:, own])


def test_parameters_depend_on_the_seed_and_belong_to_a_row() -> None:
    one, two = sample(10, seed=3), sample(10, seed=3)
    assert torch.equal(one.values, two.values) and torch.equal(one.noise_pool, two.noise_pool)
    assert not torch.equal(one.values, sample(10, seed=4).values)
    pixels, targets = torch.rand(10, 1, 21, 21), torch.zeros(10, 1, 21, 21)
    whole, _ = one.apply(pixels, targets, torch.arange(10))
    rows = torch.tensor([7, 2, 5])
    batch, _ = one.apply(pixels[rows], targets[rows], rows)
    torch.testing.assert_close(batch, whole[rows])
    assert math.isfinite(whole.sum().item())

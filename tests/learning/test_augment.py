"""Random changes move picture and mask alike, leave masks as they are otherwise, and depend on the seed alone."""

import torch

from tgs_salt.learning.augment import apply, draw
from tgs_salt.settings import Augment

ALL = Augment(flip=0.5, brightness=0.2, contrast=0.3)


def numbers(count: int, settings: Augment = ALL, seed: int = 0) -> torch.Tensor:
    return draw(count, settings, torch.Generator().manual_seed(seed))


def test_a_marked_pixel_moves_in_picture_and_mask_alike() -> None:
    pixels = torch.full((64, 1, 9, 9), 0.5)
    targets = torch.zeros(64, 1, 9, 9)
    pixels[:, 0, 2, 1], targets[:, 0, 2, 1] = 0.6, 1
    pixels, targets = apply(pixels, targets, numbers(64))
    assert set(targets.unique().tolist()) == {0, 1}
    marked = targets[:, 0].flatten(1).argmax(1)
    assert set(marked.tolist()) == {2 * 9 + 1, 2 * 9 + 7}  # as it was, or mirrored left to right: never up-down
    assert (pixels[:, 0].flatten(1).argmax(1) == marked).all()


def test_brightness_and_contrast_stay_in_their_bounds_and_differ_by_tile() -> None:
    drawn = numbers(1000)
    assert drawn[:, 1].abs().max() <= 0.2 and (drawn[:, 2] - 1).abs().max() <= 0.3
    assert len(drawn[:, 1].unique()) > 900
    assert 0.4 < drawn[:, 0].mean() < 0.6


def test_a_blank_tile_stays_black_and_nothing_leaves_the_range() -> None:
    pixels = torch.rand(8, 1, 5, 5)
    pixels[3] = 0
    changed, _ = apply(pixels, torch.zeros(8, 1, 5, 5), numbers(8, Augment(brightness=1, contrast=1)))
    assert not changed[3].any()
    assert changed.min() >= 0 and changed.max() <= 1


def test_nothing_changes_when_all_is_off() -> None:
    pixels, targets = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    same, mask = apply(pixels, targets, numbers(4, Augment(flip=0, brightness=0, contrast=0)))
    torch.testing.assert_close(same, pixels)
    torch.testing.assert_close(mask, targets, rtol=0, atol=0)


def test_the_seed_decides() -> None:
    assert torch.equal(numbers(10, seed=3), numbers(10, seed=3))
    assert not torch.equal(numbers(10, seed=3), numbers(10, seed=4))

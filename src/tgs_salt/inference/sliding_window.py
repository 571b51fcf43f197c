"""A picture of any size as windows of the size of a tile, and the windows' votes blended back into one picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def starts(length: int, side: int, overlap: int) -> list[int]:
    """First pixels of the fewest windows that cover `length` pixels and overlap by `overlap` or more, evenly spread.

    A length of at most `side` is one window, which reaches beyond it.
    """
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def windows(picture: np.ndarray, side: int, overlap: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Row, column and (side, side) pixels of each window of an (h, w) uint8 picture, row by row.

    A picture that is smaller than a window is mirrored at its right and bottom border.
    """
    height, width = picture.shape
    if height < side or width < side:
        picture = np.pad(picture, [(0, max(0, side - length)) for length in (height, width)], mode="symmetric")
    for row in starts(height, side, overlap):
        for column in starts(width, side, overlap):
            # A copy: a view would keep the whole picture alive while its mask is written.
            yield row, column, np.array(picture[row : row + side, column : column + side])


class Blend:
    """Votes of windows, row by row as `windows` yields them, to an (h, w) bool mask; sums are whole numbers.

    A window's pixel counts the more the further it lies from the window's border, up to `overlap` pixels. So where
    only one window votes, and for a picture of one window, the mask is what that window says.
    """

    def __init__(self, shape: tuple[int, int], side: int, overlap: int, threshold: int) -> None:
        self.mask = np.zeros(shape, bool)
        self.side, self.threshold = side, threshold
        far = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1))
        ramp = np.minimum(far, max(overlap, 1)).astype(np.uint64)
        self.weight = np.outer(ramp, ramp)
        width = max(shape[1], side)
        # Only the rows that windows can still reach: from `row` on, `side` of them.
        self.row = 0
        self.total = np.zeros((side, width), np.uint64)
        self.weights = np.zeros((side, width), np.uint64)

    def add(self, row: int, column: int, summed: np.ndarray, votes: int) -> None:
        """Add a window's (side, side) sum of `votes` bytes; rows above `row` get no more votes."""
        self._settle(row - self.row)
        part = slice(column, column + self.side)
        self.total[:, part] += summed.astype(np.uint64) * self.weight
        self.weights[:, part] += self.weight * np.uint64(votes)

    def finish(self) -> np.ndarray:
        self._settle(self.side)
        return self.mask

    def _settle(self, count: int) -> None:
        """Decide the first `count` rows, and make room for as many."""
        if count == 0:
            return
        height, width = self.mask.shape
        total, weights = self.total[:count, :width], self.weights[:count, :width]
        # The mean, rounded half up as the ensemble's is.
        mean = (2 * total + weights) // np.maximum(2 * weights, 1)
        decided = mean >= self.threshold
        end = min(self.row + count, height)
        self.mask[self.row : end] = decided[: end - self.row]
        self.row += count
        for sums in (self.total, self.weights):
            sums[: self.side - count] = sums[count:]
            sums[self.side - count :] = 0

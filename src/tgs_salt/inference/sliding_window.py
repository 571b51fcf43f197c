"""Split an image of any size into overlapping windows of a tile's size, and blend their predictions into one mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def window_starts(length: int, side: int, overlap: int) -> list[int]:
    """Return the first pixels of the fewest, evenly spaced windows that cover `length` and overlap by >= `overlap`.

    A length of at most `side` is covered by one window, which may extend beyond it.
    """
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def iter_windows(image: np.ndarray, side: int, overlap: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the row, the column and the (side, side) pixels of each window of an (h, w) uint8 image, row by row.

    An image that is smaller than a window is padded at the right and the bottom by its mirror image.
    """
    height, width = image.shape
    if height < side or width < side:
        image = np.pad(image, [(0, max(0, side - length)) for length in (height, width)], mode="symmetric")
    for row in window_starts(height, side, overlap):
        for column in window_starts(width, side, overlap):
            # A copy: a view would keep the whole image in memory while its mask is written.
            yield row, column, np.array(image[row : row + side, column : column + side])


class WindowBlender:
    """Blend the predictions of windows, in the order of `iter_windows`, into an (h, w) bool mask.

    A pixel's weight grows with its distance from the window's border, up to `overlap` pixels. All sums are integers:
    where a single window covers a pixel, the mask is exactly that of the window.
    """

    def __init__(self, shape: tuple[int, int], side: int, overlap: int, threshold: int) -> None:
        self.mask = np.zeros(shape, bool)
        self.side, self.threshold = side, threshold
        distance = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1))
        ramp = np.minimum(distance, max(overlap, 1)).astype(np.uint64)
        self.weight = np.outer(ramp, ramp)
        width = max(shape[1], side)
        # Buffers of the `side` rows, starting at `row`, that further windows can cover.
        self.row = 0
        self.weighted_sum = np.zeros((side, width), np.uint64)
        self.weight_sum = np.zeros((side, width), np.uint64)

    def add(self, row: int, column: int, vote_sum: np.ndarray, votes: int) -> None:
        """Add a window at (`row`, `column`); the rows above `row` are complete then.

        Args:
            row: first row of the window.
            column: first column of the window.
            vote_sum: (side, side) uint32 sum of `votes` probability bytes.
            votes: number of votes in the sum.
        """
        self._finish_rows(row - self.row)
        columns = slice(column, column + self.side)
        self.weighted_sum[:, columns] += vote_sum.astype(np.uint64) * self.weight
        self.weight_sum[:, columns] += self.weight * np.uint64(votes)

    def finish(self) -> np.ndarray:
        """Return the (h, w) bool mask."""
        self._finish_rows(self.side)
        return self.mask

    def _finish_rows(self, count: int) -> None:
        """Threshold the first `count` rows of the buffers and shift the others up."""
        if count == 0:
            return
        height, width = self.mask.shape
        weighted_sum, weight_sum = self.weighted_sum[:count, :width], self.weight_sum[:count, :width]
        # The mean, rounded half up like that of the ensemble.
        mean = (2 * weighted_sum + weight_sum) // np.maximum(2 * weight_sum, 1)
        salt = mean >= self.threshold
        end = min(self.row + count, height)
        self.mask[self.row : end] = salt[: end - self.row]
        self.row += count
        for buffer in (self.weighted_sum, self.weight_sum):
            buffer[: self.side - count] = buffer[count:]
            buffer[self.side - count :] = 0

"""`gather`: the parts of a prediction that was made by several jobs, one after another in one array.

python -m tgs_salt merge-shards --part .../test/0-of-2.npy --part .../test/1-of-2.npy --output .../test.npy
"""

from __future__ import annotations

from pathlib import Path

from tgs_salt import files
from tgs_salt.log import progress

CHUNK = 1024


def merge_shards(parts: list[Path], output: Path) -> None:
    """Write the rows of all `parts`, uint8 (n, side, side), in their order. UserError if their sides differ."""
    arrays = [files.read_array(parts[0], (None, None, None))]
    arrays += [files.read_array(path, (None, *arrays[0].shape[1:])) for path in parts[1:]]
    count = sum(map(len, arrays))
    with (
        files.create_memmap(output, (count, *arrays[0].shape[1:])) as filled,
        progress("gather", count) as done,
    ):
        row = 0
        for array in arrays:
            for first in range(0, len(array), CHUNK):
                chunk = array[first : first + CHUNK]
                filled[row : row + len(chunk)] = chunk
                row += len(chunk)
                done.advance(len(chunk))
                files.release_pages(array, filled)

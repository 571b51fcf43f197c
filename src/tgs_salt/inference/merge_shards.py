"""`merge-shards`: concatenate the shards of a prediction that several jobs wrote.

python -m tgs_salt merge-shards --shard .../test/0-of-2.npy --shard .../test/1-of-2.npy --output .../test.npy
"""

from __future__ import annotations

from pathlib import Path

from tgs_salt import files
from tgs_salt.log import progress

CHUNK_ROWS = 1024


def merge_shards(shards: list[Path], output: Path) -> None:
    """Write the rows of all `shards`, uint8 (n, side, side), in their order. Raises UserError if their sides differ."""
    arrays = [files.read_array(shards[0], (None, None, None))]
    arrays += [files.read_array(path, (None, *arrays[0].shape[1:])) for path in shards[1:]]
    count = sum(map(len, arrays))
    with (
        files.create_memmap(output, (count, *arrays[0].shape[1:])) as merged,
        progress("merge-shards", count) as reporter,
    ):
        row = 0
        for array in arrays:
            for start in range(0, len(array), CHUNK_ROWS):
                chunk = array[start : start + CHUNK_ROWS]
                merged[row : row + len(chunk)] = chunk
                row += len(chunk)
                reporter.advance(len(chunk))
                files.release_pages(array, merged)

"""`submission` and `check-submission`: write the CSV for Kaggle from probability bytes, and validate such a file.

python -m tgs_salt submission --test results/tgs/ensemble/test.npy ... --output results/tgs/submission.csv
python -m tgs_salt check-submission results/tgs/submission.csv sample_submission.csv
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.kernels import rle
from tgs_salt.log import log_and_echo, progress
from tgs_salt.records import ThresholdDecision, read_record

HEADER = "id,rle_mask"
CHUNK = 4096  # tiles encoded at a time
TILE_SHAPE = (101, 101)


def write_submission(test: Path, decision: Path, tiles: Path, output: Path, threads: int = 1) -> None:
    """Write submission.csv, with rows in the order of sample_submission.csv.

    Tiles are encoded in chunks to bound the memory. The file is validated before it is renamed to `output`.

    Args:
        test: test.npy of the ensemble, (n, h, w) uint8.
        decision: threshold.json.
        tiles: tiles.csv.
        output: Path of the result.
        threads: Number of threads.

    Raises:
        UserError: If an input is invalid or the inputs do not match each other.
    """
    pair = read_record(decision, ThresholdDecision)
    ids = list(read_tiles(tiles, "test")["id"])
    probabilities = files.read_array(test, (len(ids), None, None))
    with files.atomic_write(output) as tmp_path:
        with open(tmp_path, "wb") as stream, progress("submission", len(ids)) as reporter:
            stream.write(f"{HEADER}\n".encode())
            for first in range(0, len(ids), CHUNK):
                chunk = slice(first, first + CHUNK)
                stream.write(rle.encode_table(probabilities[chunk], ids[chunk], pair.threshold, pair.min_area, threads))
                reporter.advance(len(ids[chunk]))
                files.release_pages(probabilities)
        empty = check_rows(tmp_path, ids, probabilities.shape[1:])
    log_and_echo(f"{output}: {len(ids):,} rows, {empty / len(ids):.1%} without salt, valid")


def check_submission(submission: Path | str, sample: Path | str, shape: tuple[int, int] = TILE_SHAPE) -> int:
    """Validate a submission against sample_submission.csv and return the number of empty masks.

    The header, the ids and their order must be those of the sample. Masks must be canonical RLE (sorted, maximal runs)
    inside tiles of `shape` (height, width).

    Raises:
        UserError: At the first line that Kaggle would reject or would read as another mask.
    """
    hint = "pass the competition's sample_submission.csv."
    try:
        table = read_csv(sample, dtype=str)
    except OSError as problem:
        raise UserError(f"{sample}: {_describe(problem)}; {hint}") from None
    except ValueError as problem:
        raise UserError(f"{sample}: not a CSV table ({problem}); {hint}") from None
    if "id" not in table.columns:
        raise UserError(f"{sample}: no column 'id'; {hint}")
    return check_rows(Path(submission), list(table["id"]), shape)


def check_rows(submission: Path, ids: list[str], shape: tuple[int, ...]) -> int:
    """Validate a submission like `check_submission`, against the expected `ids` in their order."""
    height, width = shape
    empty = 0
    try:
        with open(submission, encoding="ascii", newline="") as stream:
            header = stream.readline().rstrip("\r\n")
            if header != HEADER:
                raise UserError(f"{submission}: line 1 is {header[:60]!r}, expected {HEADER!r}.")
            line_number = 1
            for line_number, line in enumerate(stream, 2):
                tile_id, comma, text = line.rstrip("\r\n").partition(",")
                if line_number - 2 >= len(ids):
                    raise UserError(f"{submission}: line {line_number}: more rows than the {len(ids):,} of the sample.")
                if not comma or tile_id != ids[line_number - 2]:
                    raise UserError(
                        f"{submission}: line {line_number}: found id {tile_id[:40]!r}, expected "
                        f"{ids[line_number - 2]!r} (use the ids of the sample, in its order)."
                    )
                empty += _check_mask(text, (height, width), f"{submission}: line {line_number}, id {tile_id}")
    except OSError as problem:
        raise UserError(f"{submission}: {_describe(problem)}; pass the path of a submission.csv.") from None
    except UnicodeDecodeError:
        raise UserError(f"{submission}: contains non-ASCII characters; expected {HEADER} and numbers.") from None
    if line_number - 1 < len(ids):
        raise UserError(
            f"{submission}: {line_number - 1:,} rows, expected {len(ids):,}; id {ids[line_number - 1]} is missing."
        )
    return empty


def _describe(problem: OSError) -> str:
    return "no such file" if isinstance(problem, FileNotFoundError) else f"cannot be read ({problem.strerror})"


def _check_mask(text: str, shape: tuple[int, int], location: str) -> bool:
    """Return whether the mask is empty; raise UserError, starting with `location`, unless its RLE is canonical."""
    if not text:
        return True
    try:
        mask = rle.decode(text, shape)
    except (UserError, ValueError) as problem:
        raise UserError(f"{location}: {problem}") from None
    canonical = rle.encode(mask[np.newaxis])[0]
    if canonical != text:
        raise UserError(f"{location}: {text[:40]!r} is not canonical RLE; expected {canonical[:40]!r}.")
    return False

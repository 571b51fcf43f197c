"""`submission` and `check`: the CSV that Kaggle takes, written from probability bytes and read back strictly.

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
CHUNK = 4096
TILE = (101, 101)


def write_submission(test: Path, decision: Path, tiles: Path, output: Path, threads: int = 1) -> None:
    """Write submission.csv from the ensemble's test.npy and threshold.json; rows in sample_submission.csv's order.

    Memory stays bounded: tiles go from the memory map to text in chunks. What was written is checked before it is
    renamed into place. Raises UserError if the files do not fit each other.
    """
    chosen = read_record(decision, ThresholdDecision)
    ids = list(read_tiles(tiles, "test")["id"])
    probabilities = files.read_array(test, (len(ids), None, None))
    with files.atomic_write(output) as tmp_path:
        with open(tmp_path, "wb") as stream, progress("submission", len(ids)) as done:
            stream.write(f"{HEADER}\n".encode())
            for first in range(0, len(ids), CHUNK):
                chunk = slice(first, first + CHUNK)
                stream.write(
                    rle.encode_table(probabilities[chunk], ids[chunk], chosen.threshold, chosen.min_area, threads)
                )
                done.advance(len(ids[chunk]))
                files.release_pages(probabilities)
        empty = check_rows(tmp_path, ids, probabilities.shape[1:])
    log_and_echo(f"{output}: {len(ids):,} rows, {empty / len(ids):.1%} without salt, valid")


def check_submission(submission: Path | str, sample: Path | str, shape: tuple[int, int] = TILE) -> int:
    """Check a submission against sample_submission.csv; the number of empty masks.

    Raises UserError about the first thing that Kaggle would refuse or score as something else: header, ids and their
    order, and per mask anything but sorted, maximal runs of whole numbers inside `shape` (height, width).
    """
    try:
        wanted = read_csv(sample, dtype=str)
    except OSError as problem:
        raise UserError(f"{sample}: {_because(problem)}; name the competition's sample_submission.csv.") from None
    except ValueError as problem:
        raise UserError(
            f"{sample}: not a csv table ({problem}); name the competition's sample_submission.csv."
        ) from None
    if "id" not in wanted.columns:
        raise UserError(f"{sample}: no column 'id'; name the competition's sample_submission.csv.")
    return check_rows(Path(submission), list(wanted["id"]), shape)


def check_rows(submission: Path, ids: list[str], shape: tuple[int, ...]) -> int:
    """As `check`, against `ids` in their order."""
    height, width = shape
    empty = 0
    try:
        with open(submission, encoding="ascii", newline="") as stream:
            header = stream.readline().rstrip("\r\n")
            if header != HEADER:
                raise UserError(f"{submission}: line 1 is {header[:60]!r}, expected {HEADER!r}.")
            line_number = 1
            for line_number, line in enumerate(stream, 2):
                tile, comma, code = line.rstrip("\r\n").partition(",")
                if line_number - 2 >= len(ids):
                    raise UserError(f"{submission}: line {line_number}: more rows than the {len(ids):,} of the sample.")
                if not comma or tile != ids[line_number - 2]:
                    raise UserError(
                        f"{submission}: line {line_number}: found id {tile[:40]!r}, expected {ids[line_number - 2]!r} "
                        "(the sample's ids in the sample's order)."
                    )
                empty += _check_mask(code, (height, width), f"{submission}: line {line_number}, id {tile}")
    except OSError as problem:
        raise UserError(f"{submission}: {_because(problem)}; name a submission.csv.") from None
    except UnicodeDecodeError:
        raise UserError(f"{submission}: holds characters that are not ASCII; expected {HEADER} and numbers.") from None
    if line_number - 1 < len(ids):
        raise UserError(
            f"{submission}: {line_number - 1:,} rows, expected {len(ids):,}; id {ids[line_number - 1]} is missing."
        )
    return empty


def _because(problem: OSError) -> str:
    return "no such file" if isinstance(problem, FileNotFoundError) else f"cannot be read ({problem.strerror})"


def _check_mask(code: str, shape: tuple[int, int], where: str) -> bool:
    """Whether a mask is empty; UserError with `where` if its code is not what encoding its mask gives."""
    if not code:
        return True
    try:
        mask = rle.decode(code, shape)
    except (UserError, ValueError) as problem:
        raise UserError(f"{where}: {problem}") from None
    again = rle.encode(mask[np.newaxis])[0]
    if again != code:
        raise UserError(f"{where}: {code[:40]!r} is not the run-length code of its mask, which is {again[:40]!r}.")
    return False

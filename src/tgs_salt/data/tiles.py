"""tiles.csv: one row per tile, in the order of the arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.errors import UserError

COLUMNS = {"id": "str", "split": "str", "row": "int64", "depth": "float64", "coverage": "float64", "blank": "bool"}


def read_tiles(path: Path | str, split: str | None = None) -> pd.DataFrame:
    """Read tiles.csv: id, split (train or test), row in its array, depth, coverage (0..1; NaN in test), blank.

    Args:
        path: tiles.csv.
        split: Return only the tiles of this split.

    Raises:
        UserError: The file is missing or not valid, or it has no tile of `split`.
    """
    tiles = read_table(path, COLUMNS)
    check_column(path, tiles, "split", tiles["split"].isin(["train", "test"]), "train or test")
    check_column(path, tiles, "depth", np.isfinite(tiles["depth"]), "a number")
    valid_coverage = tiles["coverage"].between(0, 1) | (tiles["split"] == "test")
    check_column(path, tiles, "coverage", valid_coverage, "a number from 0 to 1")
    for name, rows in tiles.groupby("split", sort=False)["row"]:
        if not np.array_equal(rows, np.arange(len(rows))):
            raise UserError(
                f"{path}: expected rows 0, 1, 2, ... of the {name} tiles, in this order; {files.RECREATE_HINT}."
            )
    if split is None:
        return tiles
    if not (tiles["split"] == split).any():
        raise UserError(f"{path}: contains no {split} tiles; {files.RECREATE_HINT}.")
    return tiles[tiles["split"] == split].reset_index(drop=True)


def check_column(path: Path | str, table: pd.DataFrame, column: str, valid: pd.Series, expected: str) -> None:
    """Raise UserError about the first row of `table` that is not `valid`, (n,) bool; `table` has an id column."""
    if not valid.all():
        row = table[~valid].iloc[0]
        raise UserError(
            f"{path}: {column} of id {row['id']} is {row[column]}, expected {expected}; {files.RECREATE_HINT}."
        )


def read_masks(path: Path | str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Open train_masks.npy, uint8 (n, tile_size, tile_size) of 0 and 1, as a memory map.

    Raises:
        UserError: As `files.read_array` does, or a value is above 1.
    """
    masks = files.read_array(path, shape)
    highest = int(masks.max(initial=0))
    if highest > 1:
        raise UserError(f"{path}: expected masks of 0 and 1, found {highest}; {files.RECREATE_HINT}.")
    return masks


def read_table(path: Path | str, columns: dict[str, str]) -> pd.DataFrame:
    """Read the given columns (name: dtype) of a csv file; empty fields are NaN, except in the id column.

    Raises:
        UserError: The file cannot be read, a column is missing, or an id appears twice.
    """
    try:
        table = read_csv(path, dtype=columns, na_values={c: [""] for c in columns if c != "id"})
    except OSError as error:
        raise files.read_error(path, error) from None
    except ValueError as error:
        raise UserError(f"{path}: not the expected table ({error}); {files.RECREATE_HINT}.") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}, expected {', '.join(columns)}; {files.RECREATE_HINT}.")
    if "id" in columns and table["id"].duplicated().any():
        duplicate = table["id"][table["id"].duplicated()].iloc[0]
        raise UserError(f"{path}: id {duplicate} appears twice; {files.RECREATE_HINT}.")
    return table[list(columns)]

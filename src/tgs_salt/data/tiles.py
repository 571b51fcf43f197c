"""The dataset's table: one row a tile, in the order of the arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.errors import UserError

COLUMNS = {"id": "str", "split": "str", "row": "int64", "depth": "float64", "coverage": "float64", "blank": "bool"}


def read_tiles(path: Path | str, split: str | None = None) -> pd.DataFrame:
    """tiles.csv: id, split (train or test), row in its arrays, depth, coverage (salt share; NaN in test), blank.

    `split` keeps one of the two. Raises UserError if the file is missing or is no such table, or if it has no tile of
    that split.
    """
    tiles = read_table(path, COLUMNS)
    check_column(path, tiles, "split", tiles["split"].isin(["train", "test"]), "train or test")
    check_column(path, tiles, "depth", np.isfinite(tiles["depth"]), "a number")
    covered = tiles["coverage"].between(0, 1) | (tiles["split"] == "test")
    check_column(path, tiles, "coverage", covered, "a share from 0 to 1")
    for name, rows in tiles.groupby("split", sort=False)["row"]:
        if not np.array_equal(rows, np.arange(len(rows))):
            raise UserError(
                f"{path}: rows of the {name} tiles are not 0, 1, 2, ...; delete it and run snakemake again."
            )
    if split is None:
        return tiles
    if not (tiles["split"] == split).any():
        raise UserError(f"{path}: has no {split} tiles; delete it and run snakemake again.")
    return tiles[tiles["split"] == split].reset_index(drop=True)


def check_column(path: Path | str, table: pd.DataFrame, column: str, good: pd.Series, expected: str) -> None:
    """UserError about the first row of `table` (with an id) that is not `good`, (n,) bool."""
    if not good.all():
        row = table[~good].iloc[0]
        raise UserError(
            f"{path}: {column} of id {row['id']} is {row[column]}, expected {expected}; "
            "delete it and run snakemake again."
        )


def read_masks(path: Path | str, shape: tuple[int | None, ...]) -> np.ndarray:
    """train_masks.npy, (n, side, side) uint8 of 0 and 1, as a memory map. Raises UserError as `files.read_array` does,
    and for any other value: seen as bool it would be neither salt nor no salt."""
    masks = files.read_array(path, shape)
    highest = int(masks.max(initial=0))
    if highest > 1:
        raise UserError(f"{path}: a mask has 0 and 1, found {highest}; delete it and run snakemake again.")
    return masks


def read_table(path: Path | str, columns: dict[str, str]) -> pd.DataFrame:
    """Read the `columns` (name: dtype) of a csv file; UserError names the file, and the column that is missing."""
    try:
        table = read_csv(path, dtype=columns, na_values={c: [""] for c in columns if c != "id"})
    except OSError as problem:
        raise files.unreadable(path, problem) from None
    except ValueError as problem:
        raise UserError(f"{path}: not the expected table ({problem}); delete it and run snakemake again.") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}; expected {', '.join(columns)}.")
    if "id" in columns and table["id"].duplicated().any():
        raise UserError(f"{path}: id {table['id'][table['id'].duplicated()].iloc[0]} is there twice; leave one.")
    return table[list(columns)]

"""The survey's table: one row a tile, in the order of the arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt.errors import UserError

COLUMNS = {"id": "str", "split": "str", "row": "int64", "depth": "float64", "coverage": "float64", "blank": "bool"}


def read_tiles(path: Path | str, split: str | None = None) -> pd.DataFrame:
    """tiles.csv: id, split (train or test), row in its arrays, depth, coverage (salt share; NaN in test), blank.

    `split` keeps one of the two. Raises UserError if the file is missing or is no such table.
    """
    tiles = read_table(path, COLUMNS)
    for name, rows in tiles.groupby("split", sort=False)["row"]:
        if not np.array_equal(rows, np.arange(len(rows))):
            raise UserError(
                f"{path}: rows of the {name} tiles are not 0, 1, 2, ...; delete it and run snakemake again."
            )
    return tiles if split is None else tiles[tiles["split"] == split].reset_index(drop=True)


def read_table(path: Path | str, columns: dict[str, str]) -> pd.DataFrame:
    """Read the `columns` (name: dtype) of a csv file; UserError names the file, and the column that is missing."""
    try:
        table = pd.read_csv(
            path, dtype=columns, keep_default_na=False, na_values={c: [""] for c in columns if c != "id"}
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that makes it.") from None
    except (ValueError, pd.errors.ParserError) as problem:
        raise UserError(f"{path}: not the expected table ({problem}); delete it and run snakemake again.") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}; expected {', '.join(columns)}.")
    if "id" in columns and table["id"].duplicated().any():
        raise UserError(f"{path}: id {table['id'][table['id'].duplicated()].iloc[0]} is there twice; leave one.")
    return table[list(columns)]

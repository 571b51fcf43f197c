"""`folds`: assign a fold to each labeled tile, stratified by coverage class and depth.

    python -m tgs_salt folds --settings '{"folds": {"n_splits": 5}}' --tiles .../tiles.csv --output .../folds.csv

Tiles are sorted by (coverage class, depth, id). Every K consecutive tiles form a stratum, and each of the K folds
gets one tile of it at random. All folds therefore have similar distributions of depth and coverage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from tgs_salt import files
from tgs_salt.data.tiles import check_column, read_table, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.log import logger
from tgs_salt.settings import Folds

COLUMNS = {"id": "str", "depth": "float64", "coverage_class": "int64", "fold": "int64"}


def folds(tiles: Path, output: Path, settings: Folds) -> None:
    """Write folds.csv (id, depth, coverage_class, fold) in the order of the train tiles of tiles.csv.

    Raises:
        UserError: tiles.csv is not valid, or has fewer than two labeled tiles per fold.
    """
    train = read_tiles(tiles, "train")
    if len(train) < 2 * settings.n_splits:
        raise UserError(
            f"folds.n_splits: {settings.n_splits} folds need at least {2 * settings.n_splits} labeled tiles, "
            f"found {len(train)}; choose fewer folds."
        )
    table = pd.DataFrame(
        {"id": train["id"], "depth": train["depth"], "coverage_class": coverage_class(train["coverage"])}
    )
    table["fold"] = assign_folds(table, settings.n_splits, settings.seed)
    files.write_text(output, table.to_csv(index=False, lineterminator="\n"))
    for fold, rows in table.groupby("fold"):
        logger.info(
            f"fold {fold}: {len(rows):,} tiles, {(rows['coverage_class'] == 0).mean():.1%} without salt, "
            f"mean depth {rows['depth'].mean():.1f}"
        )


def coverage_class(coverage: pd.Series) -> np.ndarray:
    """Return 0 for tiles without salt, else 1 to 10 by tenths of coverage (0 < c <= 0.1 is 1); shape (n,), int64."""
    return np.ceil(np.asarray(coverage) * 10).astype(np.int64)


def assign_folds(table: pd.DataFrame, n_splits: int, seed: int) -> np.ndarray:
    """Return the fold, 0 to `n_splits` - 1, of each row of `table` (id, depth, coverage_class); shape (n,), int64."""
    order = table.reset_index(drop=True).sort_values(["coverage_class", "depth", "id"]).index.to_numpy()
    # The remainder of fewer than `n_splits` tiles joins the last stratum.
    stratum = np.minimum(np.arange(len(table)) // n_splits, len(table) // n_splits - 1)
    fold = np.empty(len(table), np.int64)
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(stratum, stratum)):
        # Split in sorted order, so that folds do not depend on the row order of the table.
        fold[order[held_out]] = k
    return fold


def read_folds(path: Path | str, ids: pd.Series) -> np.ndarray:
    """Return the fold of each train tile in tiles.csv order; shape (n,), int64.

    Raises:
        UserError: folds.csv is not valid, or its ids differ from `ids`.
    """
    table = read_table(path, COLUMNS)
    check_column(path, table, "fold", table["fold"] >= 0, "0 or more")
    if list(table["id"]) != list(ids):
        raise UserError(f"{path}: its tiles differ from those of tiles.csv; run snakemake again with --forcerun folds.")
    return table["fold"].to_numpy()

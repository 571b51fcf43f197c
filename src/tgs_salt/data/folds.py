"""`folds`: a fold for each labelled tile, stratified by coverage class and depth together.

    python -m tgs_salt folds --settings '{"folds": {"n_splits": 5}}' --tiles .../tiles.csv --output .../folds.csv

Tiles are sorted by (coverage class, depth, id), and each run of K neighbours is one stratum: a fold gets exactly
one tile of it, which one is shuffled by the seed. So every fold sees every depth and every coverage alike.
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
    """Write folds.csv (id, depth, coverage_class, fold), in the order of the train tiles of tiles.csv."""
    train = read_tiles(tiles, "train")
    if len(train) < 2 * settings.n_splits:
        raise UserError(
            f"folds.n_splits: {settings.n_splits} folds need {2 * settings.n_splits} labelled tiles or more, found {len(train)}."
        )
    table = pd.DataFrame(
        {"id": train["id"], "depth": train["depth"], "coverage_class": coverage_class(train["coverage"])}
    )
    table["fold"] = assign(table, settings.n_splits, settings.seed)
    files.write_text(output, table.to_csv(index=False, lineterminator="\n"))
    for fold, part in table.groupby("fold"):
        logger.info(
            f"fold {fold}: {len(part):,} tiles, {(part['coverage_class'] == 0).mean():.1%} without salt, "
            f"mean depth {part['depth'].mean():.1f}"
        )


def coverage_class(coverage: pd.Series) -> np.ndarray:
    """0 for a tile without salt, else 1 to 10 by tenths of coverage (0 < c <= 0.1 is 1)."""
    return np.ceil(np.asarray(coverage) * 10).astype(np.int64)


def assign(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """The fold, 0 to `count` - 1, of each row of `table` (id, depth, coverage_class); shape (n,), int64."""
    order = table.reset_index(drop=True).sort_values(["coverage_class", "depth", "id"]).index.to_numpy()
    # A last run of fewer than `count` tiles joins the one before it.
    stratum = np.minimum(np.arange(len(table)) // count, len(table) // count - 1)
    fold = np.empty(len(table), np.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(stratum, stratum)):
        # Split in sorted order: the draw must not depend on the order of the table.
        fold[order[held_out]] = k
    return fold


def read_folds(path: Path | str, ids: pd.Series) -> np.ndarray:
    """The fold of each of `ids` (the train tiles in tiles.csv order), shape (n,), int64; UserError if they differ."""
    table = read_table(path, COLUMNS)
    check_column(path, table, "fold", table["fold"] >= 0, "0 or more")
    if list(table["id"]) != list(ids):
        raise UserError(f"{path}: its tiles are not those of tiles.csv; run snakemake again with --forcerun folds.")
    return table["fold"].to_numpy()

"""`pack`: from Kaggle's PNGs to uint8 arrays and one table, with everything that is read checked.

    python -m tgs_salt preprocess --settings '{"data": {...}}' --source ../tgs --output results/tgs/dataset

Pictures come straight out of the archives: tens of thousands of small files never touch the disk.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.data.decode import decode_all, mask_problem, tile_problem
from tgs_salt.data.layout import DatasetSource, detect_layout
from tgs_salt.errors import UserError
from tgs_salt.kernels import rle
from tgs_salt.log import logger
from tgs_salt.settings import Data

# Stands in a submission, and names a file, as it is.
GOOD_ID = re.compile(r"[^\x00-\x1f,\"'/\\\x7f-\U0010ffff]{1,200}")


def preprocess(source: Path, output: Path, settings: Data, threads: int = 2) -> None:
    """Write train_images.npy, train_masks.npy, test_images.npy (uint8, (n, side, side); masks 0 or 1) and tiles.csv.

    Train tiles stand in train.csv's order, test tiles in sample_submission.csv's. Raises UserError about the first
    thing that is not as it must be: a picture missing, damaged, or of another size or mode; an id twice or without
    a depth; a mask that disagrees with train.csv; another number of tiles than expected.
    """
    dataset, train, depths, sample = find(source, settings)
    side = settings.tile_size
    train_ids, test_ids = list(train["id"]), list(sample["id"])
    images = decode_all(dataset, "train images", train_ids, side, tile_problem, threads)
    masks = decode_all(dataset, "train masks", train_ids, side, mask_problem, threads)
    _check_masks(dataset, train, masks)
    test_images = decode_all(dataset, "test images", test_ids, side, tile_problem, threads)

    tiles = _table(train_ids, test_ids, depths, images, masks, test_images)
    for name, array in (("train_images", images), ("train_masks", masks), ("test_images", test_images)):
        files.write_array(output / f"{name}.npy", array)
    files.write_text(output / "tiles.csv", tiles.to_csv(index=False, lineterminator="\n"))
    labelled = tiles[tiles["split"] == "train"]
    logger.info(
        f"packed {len(train_ids):,} labelled tiles ({(labelled['coverage'] == 0).mean():.1%} without salt) and "
        f"{len(test_ids):,} test tiles of {side} x {side}; {int(tiles['blank'].sum())} are blank"
    )


def find(source: Path, settings: Data) -> tuple[DatasetSource, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The dataset in `source` with its train.csv, depths.csv and sample_submission.csv; no picture is decoded.

    Raises UserError unless there are as many tiles as expected, and each id of a table has its pictures and its depth.
    """
    dataset = detect_layout(source, settings.train_tiles, settings.test_tiles)
    logger.info(f"found {dataset}")
    train = _read_csv(dataset, "train.csv", ("id", "rle_mask"))
    depths = _read_csv(dataset, "depths.csv", ("id", "z"))
    sample = _read_csv(dataset, "sample_submission.csv", ("id", "rle_mask"))
    _check_ids(dataset, train, depths, sample)
    return dataset, train, depths, sample


def _table(
    train_ids: list[str], test_ids: list[str], depths: pd.DataFrame,
    images: np.ndarray, masks: np.ndarray, test_images: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    depth = depths.set_index("id")["z"]
    parts = []
    for split, ids, pictures in (("train", train_ids, images), ("test", test_ids, test_images)):
        flat = pictures.reshape(len(pictures), -1)
        coverage = masks.reshape(len(masks), -1).mean(axis=1) if split == "train" else np.nan
        parts.append(
            pd.DataFrame(
                {
                    "id": ids, "split": split, "row": np.arange(len(ids)), "depth": depth.loc[ids].to_numpy(),
                    "coverage": coverage, "blank": flat.min(axis=1) == flat.max(axis=1),
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _read_csv(dataset: DatasetSource, name: str, columns: tuple[str, str]) -> pd.DataFrame:
    where = f"{dataset.origin}: {name}"
    try:
        table = read_csv(io.BytesIO(dataset.tables[name]()), dtype=str)
    except ValueError as problem:
        raise UserError(f"{where} cannot be read ({problem}); expected a csv with {' and '.join(columns)}.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{where} has no column {missing[0]!r}; expected {' and '.join(columns)}.")
    if not len(table):
        raise UserError(f"{where} has no rows; mend it, or fetch the dataset again.")
    bad_id = next((tile for tile in table["id"] if not GOOD_ID.fullmatch(tile)), None)
    if bad_id is not None:
        raise UserError(
            f"{where} has id {bad_id[:40]!r}; expected 1 to 200 plain characters (ASCII) without commas, quotes and "
            "slashes: rename that tile."
        )
    repeated = table["id"][table["id"].duplicated()]
    if len(repeated):
        raise UserError(f"{where} has id {repeated.iloc[0]} twice; each tile has one row.")
    if name == "depths.csv":
        depth = pd.to_numeric(table["z"], errors="coerce")
        bad = ~np.isfinite(depth)
        if bad.any():
            row = table[bad].iloc[0]
            raise UserError(f"{where} has z {row['z'][:40]!r} for id {row['id']}; a number is expected.")
        table["z"] = depth
    return table


def _check_ids(dataset: DatasetSource, train: pd.DataFrame, depths: pd.DataFrame, sample: pd.DataFrame) -> None:
    origin = dataset.origin
    both = set(train["id"]) & set(sample["id"])
    if both:
        raise UserError(f"{origin}: id {min(both)} is in train.csv and in sample_submission.csv; it can only be one.")
    for kind, table, name in (
        ("train images", train, "train.csv"),
        ("train masks", train, "train.csv"),
        ("test images", sample, "sample_submission.csv"),
    ):
        ids, pictures = set(table["id"]), set(dataset.pictures[kind])
        if ids - pictures:
            raise UserError(
                f"{origin}: {len(ids - pictures):,} of {len(ids):,} {kind} are missing in {dataset.where}, "
                f"such as {min(ids - pictures)}.png; mend it, or fetch the dataset again."
            )
        if pictures - ids:
            raise UserError(
                f"{origin}: {len(pictures - ids):,} {kind} in {dataset.where} are not in {name}, "
                f"such as {min(pictures - ids)}; mend it, or fetch the dataset again."
            )
    without = (set(train["id"]) | set(sample["id"])) - set(depths["id"])
    if without:
        raise UserError(
            f"{origin}: depths.csv has no depth for id {min(without)} ({len(without):,} such in all); "
            "mend it, or fetch the dataset again."
        )


def _check_masks(dataset: DatasetSource, train: pd.DataFrame, masks: np.ndarray) -> None:
    """A mask PNG and its run-length code in train.csv must be the same mask."""
    for row, (tile, code, encoded) in enumerate(zip(train["id"], train["rle_mask"], rle.encode(masks), strict=True)):
        if code == encoded:
            continue
        try:
            same = np.array_equal(rle.decode(code, masks.shape[1:]), masks[row].astype(bool))
        except (UserError, ValueError) as problem:
            raise UserError(f"{dataset.origin}: train.csv, id {tile}: {problem}") from None
        if not same:
            raise UserError(
                f"{dataset.origin}: the mask picture of {tile} disagrees with its rle_mask in train.csv; "
                "one of the two is damaged: mend it, or fetch the dataset again."
            )

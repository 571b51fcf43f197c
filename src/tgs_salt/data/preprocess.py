"""`preprocess`: convert Kaggle's PNG files to uint8 arrays and one table, and validate all input.

    python -m tgs_salt preprocess --settings '{"data": {...}}' --source ../tgs --output results/tgs/data

Images are read directly from the archives, so tens of thousands of small files are never written to disk.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.data.decode import decode_images, mask_problem, tile_problem
from tgs_salt.data.layout import DatasetSource, detect_layout
from tgs_salt.errors import UserError
from tgs_salt.kernels import rle
from tgs_salt.log import logger
from tgs_salt.settings import Data

# Ids are written to the submission and are file names, both without escaping.
VALID_ID = re.compile(r"[^\x00-\x1f,\"'/\\\x7f-\U0010ffff]{1,200}")
FIX_DATASET = "fix it or download the dataset again"


def preprocess(source: Path, output: Path, settings: Data, threads: int = 2) -> None:
    """Write train_images.npy, train_masks.npy, test_images.npy and tiles.csv.

    The arrays are uint8 of shape (n, tile_size, tile_size); masks are 0 or 1. Train tiles have the order of train.csv,
    test tiles that of sample_submission.csv.

    Raises:
        UserError: The number of tiles is not as expected, an image is missing, damaged or of another size or mode,
            an id is not valid, appears twice or has no depth, or a mask differs from train.csv.
    """
    dataset, train, depths, sample = open_dataset(source, settings)
    tile_size = settings.tile_size
    train_ids, test_ids = list(train["id"]), list(sample["id"])
    images = decode_images(dataset, "train images", train_ids, tile_size, tile_problem, threads)
    masks = decode_images(dataset, "train masks", train_ids, tile_size, mask_problem, threads)
    _check_masks(dataset, train, masks)
    test_images = decode_images(dataset, "test images", test_ids, tile_size, tile_problem, threads)

    tiles = _tiles_table(train_ids, test_ids, depths, images, masks, test_images)
    for name, array in (("train_images", images), ("train_masks", masks), ("test_images", test_images)):
        files.write_array(output / f"{name}.npy", array)
    files.write_text(output / "tiles.csv", tiles.to_csv(index=False, lineterminator="\n"))
    labeled = tiles[tiles["split"] == "train"]
    logger.info(
        f"preprocessed {len(train_ids):,} labeled tiles ({(labeled['coverage'] == 0).mean():.1%} without salt) and "
        f"{len(test_ids):,} test tiles of {tile_size} x {tile_size} pixels; {int(tiles['blank'].sum())} are blank"
    )


def open_dataset(source: Path, settings: Data) -> tuple[DatasetSource, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the dataset in `source` with its train.csv, depths.csv and sample_submission.csv; decode no images.

    Raises:
        UserError: The number of tiles is not as expected, a table is not valid, or an id lacks an image or a depth.
    """
    dataset = detect_layout(source, settings.train_tiles, settings.test_tiles)
    logger.info(f"found {dataset}")
    train = _read_csv(dataset, "train.csv", ("id", "rle_mask"))
    depths = _read_csv(dataset, "depths.csv", ("id", "z"))
    sample = _read_csv(dataset, "sample_submission.csv", ("id", "rle_mask"))
    _check_ids(dataset, train, depths, sample)
    return dataset, train, depths, sample


def _tiles_table(
    train_ids: list[str], test_ids: list[str], depths: pd.DataFrame,
    train_images: np.ndarray, masks: np.ndarray, test_images: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    depth = depths.set_index("id")["z"]
    tables = []
    for split, ids, images in (("train", train_ids, train_images), ("test", test_ids, test_images)):
        pixels = images.reshape(len(images), -1)
        coverage = masks.reshape(len(masks), -1).mean(axis=1) if split == "train" else np.nan
        tables.append(
            pd.DataFrame(
                {
                    "id": ids, "split": split, "row": np.arange(len(ids)), "depth": depth.loc[ids].to_numpy(),
                    "coverage": coverage, "blank": pixels.min(axis=1) == pixels.max(axis=1),
                }
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _read_csv(dataset: DatasetSource, name: str, columns: tuple[str, str]) -> pd.DataFrame:
    path = f"{dataset.path}: {name}"
    expected = f"expected a CSV file with the columns {' and '.join(columns)}"
    try:
        table = read_csv(io.BytesIO(dataset.table_readers[name]()), dtype=str)
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); {expected}.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; {expected}.")
    if not len(table):
        raise UserError(f"{path} has no rows; {FIX_DATASET}.")
    bad_id = next((tile_id for tile_id in table["id"] if not VALID_ID.fullmatch(tile_id)), None)
    if bad_id is not None:
        raise UserError(
            f"{path} has id {bad_id[:40]!r}; expected 1 to 200 printable ASCII characters without commas, quotes and "
            "slashes; rename that tile."
        )
    duplicates = table["id"][table["id"].duplicated()]
    if len(duplicates):
        raise UserError(f"{path} has id {duplicates.iloc[0]} twice; keep one row per tile.")
    if name == "depths.csv":
        depth = pd.to_numeric(table["z"], errors="coerce")
        bad = ~np.isfinite(depth)
        if bad.any():
            row = table[bad].iloc[0]
            raise UserError(f"{path} has z {row['z'][:40]!r} for id {row['id']}; expected a number.")
        table["z"] = depth
    return table


def _check_ids(dataset: DatasetSource, train: pd.DataFrame, depths: pd.DataFrame, sample: pd.DataFrame) -> None:
    path = dataset.path
    both = set(train["id"]) & set(sample["id"])
    if both:
        raise UserError(f"{path}: id {min(both)} is in both train.csv and sample_submission.csv; keep one of the two.")
    for kind, table, name in (
        ("train images", train, "train.csv"),
        ("train masks", train, "train.csv"),
        ("test images", sample, "sample_submission.csv"),
    ):
        ids, image_ids = set(table["id"]), set(dataset.image_readers[kind])
        if ids - image_ids:
            raise UserError(
                f"{path}: {len(ids - image_ids):,} of {len(ids):,} {kind} are missing from the dataset "
                f"(looked in {dataset.location}), for example {min(ids - image_ids)}.png; {FIX_DATASET}."
            )
        if image_ids - ids:
            raise UserError(
                f"{path}: {len(image_ids - ids):,} {kind} in {dataset.location} are not in {name}, "
                f"for example {min(image_ids - ids)}; {FIX_DATASET}."
            )
    tile_ids = set(train["id"]) | set(sample["id"])
    without_depth = tile_ids - set(depths["id"])
    if without_depth:
        raise UserError(
            f"{path}: depths.csv has no depth for {len(without_depth):,} of {len(tile_ids):,} ids, "
            f"for example {min(without_depth)}; {FIX_DATASET}."
        )


def _check_masks(dataset: DatasetSource, train: pd.DataFrame, masks: np.ndarray) -> None:
    """Raise UserError unless every mask image equals the run-length encoding (RLE) in train.csv."""
    rows = zip(train["id"], train["rle_mask"], rle.encode(masks), strict=True)
    for row, (tile_id, code, encoded) in enumerate(rows):
        if code == encoded:
            continue
        # The same mask can also be split into other runs.
        try:
            same = np.array_equal(rle.decode(code, masks.shape[1:]), masks[row].astype(bool))
        except (UserError, ValueError) as error:
            raise UserError(f"{dataset.path}: train.csv, id {tile_id}: {error}") from None
        if not same:
            raise UserError(
                f"{dataset.path}: the mask image of {tile_id} differs from its rle_mask in train.csv; "
                f"one of the two is damaged: {FIX_DATASET}."
            )

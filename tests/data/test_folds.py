"""Folds have similar sizes, shares of empty tiles and depths; the check of this detects common implementation bugs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from tgs_salt.data.folds import assign_folds, coverage_class, folds, read_folds
from tgs_salt.errors import UserError
from tgs_salt.settings import Folds


def dataset_table(count: int, seed: int) -> pd.DataFrame:
    """Return tiles like the competition's: 39% empty, integer depths with many ties, more salt at depth."""
    rng = np.random.default_rng(seed)
    ids = [f"{number:010x}" for number in rng.choice(16**10, count, replace=False)]
    depth = np.clip(rng.normal(506, 208, count), 51, 959).round()
    empty = rng.random(count) < np.interp(depth, [51, 959], [0.55, 0.25])
    area = np.where(empty, 0, rng.integers(1, 10201, count))
    return pd.DataFrame({"id": ids, "depth": depth, "coverage": area / 10201})


def with_class(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(coverage_class=coverage_class(table["coverage"]))


def problems(table: pd.DataFrame, fold: np.ndarray, count: int) -> set[str]:
    """Return which properties of the folds are not balanced; `table` has id, depth and coverage."""
    result = set()
    sizes = [int((fold == k).sum()) for k in range(count)]
    if sum(sizes) != len(table) or max(sizes) - min(sizes) > 1:
        result.add("sizes")
    empty = [float((table["coverage"][fold == k] == 0).mean()) for k in range(count)]
    if max(empty) - min(empty) > 0.005:
        result.add("empty share")
    if max(ks_2samp(table["depth"][fold == k], table["depth"]).statistic for k in range(count)) > 0.03:
        result.add("depth")
    return result


# --- common bugs


def inverse_permutation(table: pd.DataFrame, count: int) -> np.ndarray:
    """Assign folds by rank, but apply the inverse permutation: the result is random."""
    order = table.sort_values(["depth", "id"]).index.to_numpy()
    return (np.arange(len(table)) % count)[order]


def inverse_permutation_of_all_keys(table: pd.DataFrame, count: int) -> np.ndarray:
    order = with_class(table).sort_values(["coverage_class", "depth", "id"]).index.to_numpy()
    return (np.arange(len(table)) % count)[order]


def train_sorted_among_test(table: pd.DataFrame, count: int) -> np.ndarray:
    """Assign folds by rank among all tiles, then select the labeled ones."""
    rng = np.random.default_rng(1)
    others = 4 * len(table) + len(table) // 2
    depth = np.concatenate([table["depth"], np.clip(rng.normal(506, 208, others), 50, 959).round()])
    ids = np.concatenate([table["id"], [f"{k:010x}" for k in rng.integers(0, 16**10, others)]])
    rank = np.empty(len(depth), int)
    rank[np.lexsort([ids, depth])] = np.arange(len(depth))
    return rank[: len(table)] % count


def stratified_by_depth_only(table: pd.DataFrame, count: int) -> np.ndarray:
    fold = np.empty(len(table), int)
    fold[table.sort_values(["depth", "id"]).index.to_numpy()] = np.arange(len(table)) % count
    return fold


@pytest.mark.parametrize("seed", range(5))
def test_the_check_detects_common_bugs(seed: int) -> None:
    table = dataset_table(3000, seed)
    assert problems(table, assign_folds(with_class(table), 5, seed), 5) == set()
    assert {"empty share", "depth"} <= problems(table, inverse_permutation(table, 5), 5)
    assert {"empty share", "depth"} <= problems(table, inverse_permutation_of_all_keys(table, 5), 5)
    assert {"sizes", "empty share"} <= problems(table, train_sorted_among_test(table, 5), 5)
    assert problems(table, stratified_by_depth_only(table, 5), 5) == {"empty share"}


# --- assign_folds


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("tiles", [3000, 3001, 3004])
def test_folds_of_3000_tiles_are_balanced(tiles: int, count: int) -> None:
    table = dataset_table(tiles, seed=tiles + count)
    assert problems(table, assign_folds(with_class(table), count, 0), count) == set()


@pytest.fixture(scope="module")
def real_tiles() -> pd.DataFrame:
    if "TGS_DATA" not in os.environ:
        pytest.skip("TGS_DATA is not set (folder of the competition's dataset)")
    data = Path(os.environ["TGS_DATA"])
    train = pd.read_csv(data / "train.csv", dtype=str, keep_default_na=False)
    depths = pd.read_csv(data / "depths.csv").set_index("id")["z"]
    area = [sum(map(int, code.split()[1::2])) for code in train["rle_mask"]]
    return pd.DataFrame(
        {"id": train["id"], "depth": depths.loc[train["id"]].to_numpy(float), "coverage": np.array(area) / 101**2}
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_of_the_competition_dataset_are_balanced(real_tiles: pd.DataFrame, seed: int) -> None:
    assert len(real_tiles) >= 1000 and real_tiles["depth"].duplicated().mean() > 0.5, "depths have ties"
    fold = assign_folds(with_class(real_tiles), 5, seed)
    assert problems(real_tiles, fold, 5) == set()
    assert "empty share" in problems(real_tiles, inverse_permutation(real_tiles, 5), 5)
    assert "sizes" in problems(real_tiles, train_sorted_among_test(real_tiles, 5), 5)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, int, int]:
    count = draw(st.integers(2, 6))
    size = draw(st.integers(count, 50))
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=size, max_size=size))
    ids = draw(st.permutations([f"t{k:02d}" for k in range(size)]))
    depth, coverage_class = zip(*rows, strict=True)
    table = pd.DataFrame({"id": ids, "depth": np.array(depth, float), "coverage_class": coverage_class})
    return table, count, draw(st.integers(0, 9))


@settings(max_examples=60)
@given(tables(), st.randoms(use_true_random=False))
def test_strata_of_any_table(case: tuple[pd.DataFrame, int, int], random: object) -> None:
    table, count, seed = case
    fold = assign_folds(table, count, seed)
    sizes = np.bincount(fold, minlength=count)
    assert len(sizes) == count and sizes.max() - sizes.min() <= 1

    # Every `count` consecutive tiles in (class, depth, id) order contain every fold.
    key = sorted(range(len(table)), key=lambda k: (table["coverage_class"][k], table["depth"][k], table["id"][k]))
    complete = len(table) // count * count - count  # the remainder joins the last stratum
    strata = fold[key][:complete].reshape(-1, count)
    assert (np.sort(strata, axis=1) == np.arange(count)).all()
    assert set(fold[key][complete:]) == set(range(count))

    # The result does not depend on the row order.
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert (assign_folds(table.iloc[order], count, seed) == fold[order]).all()
    assert (assign_folds(table.copy(), count, seed) == fold).all()


def test_the_seed_changes_the_folds() -> None:
    table = with_class(dataset_table(300, 0))
    assignments = [tuple(assign_folds(table, 5, seed)) for seed in range(4)]
    assert len(set(assignments)) == 4
    # With 5 folds, about 1 tile in 5 keeps its fold by chance.
    assert 0.1 < np.mean(np.array(assignments[0]) == np.array(assignments[1])) < 0.32


def test_the_first_tile_of_a_stratum_gets_any_fold() -> None:
    """The first tile of a stratum has the least salt and depth, so it must not always be in fold 0."""
    table = pd.DataFrame({"id": [f"{k:04d}" for k in range(1000)], "depth": np.arange(1000.0), "coverage_class": 0})
    first = assign_folds(table, 5, 0)[::5]
    assert np.bincount(first, minlength=5).min() > 20


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        (0, 0),
        (1, 1),
        (1020, 1),
        (1021, 2),
        (2040, 2),
        (2041, 3),
        (5100, 5),
        (5101, 6),
        (9180, 9),
        (9181, 10),
        (10201, 10),
    ],
)
def test_coverage_classes_are_tenths_of_coverage(area: int, expected: int) -> None:
    assert coverage_class(pd.Series([area / 10201])).tolist() == [expected]
    assert expected == -(-area * 10 // 10201)


# --- folds.csv


def write_tiles(path: Path, table: pd.DataFrame) -> None:
    test = pd.DataFrame({"id": ["zz1", "zz2"], "depth": [60.0, 61.0], "coverage": np.nan})
    both = pd.concat([table.assign(split="train"), test.assign(split="test")], ignore_index=True)
    both["row"] = both.groupby("split").cumcount()
    both.assign(blank=False)[["id", "split", "row", "depth", "coverage", "blank"]].to_csv(path, index=False)


def test_folds_csv_follows_the_order_of_tiles_csv(tmp_path: Path) -> None:
    table = dataset_table(120, 3)
    write_tiles(tmp_path / "tiles.csv", table)
    folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds(n_splits=4, seed=2))
    written = pd.read_csv(tmp_path / "folds.csv", dtype={"id": str})
    assert list(written) == ["id", "depth", "coverage_class", "fold"]
    assert list(written["id"]) == list(table["id"]) and list(written["depth"]) == list(table["depth"])
    assert [c == 0 for c in written["coverage_class"]] == [c == 0 for c in table["coverage"]]
    assert list(written["fold"]) == list(assign_folds(with_class(table), 4, 2))
    assert list(read_folds(tmp_path / "folds.csv", table["id"])) == list(written["fold"])

    # The folds do not depend on the order of tiles.csv.
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    write_tiles(tmp_path / "tiles.csv", shuffled)
    folds(tmp_path / "tiles.csv", tmp_path / "again.csv", Folds(n_splits=4, seed=2))
    again = pd.read_csv(tmp_path / "again.csv", dtype={"id": str}).set_index("id")["fold"]
    assert again.loc[written["id"]].tolist() == written["fold"].tolist()


def test_too_few_tiles_for_the_folds(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles.csv", dataset_table(9, 0))
    message = "folds.n_splits: 5 folds need at least 10 labeled tiles, found 9; choose fewer folds."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds())
    assert not (tmp_path / "folds.csv").exists()


def test_folds_csv_of_other_tiles_is_rejected(tmp_path: Path) -> None:
    table = dataset_table(20, 0)
    write_tiles(tmp_path / "tiles.csv", table)
    folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds())
    with pytest.raises(UserError, match=r"folds\.csv: its tiles differ from those of tiles\.csv; run snakemake again"):
        read_folds(tmp_path / "folds.csv", table["id"][::-1])

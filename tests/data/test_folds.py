"""Folds are alike in size, in empty tiles and in depth; and the check that says so tells two well-known mistakes."""

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

from tgs_salt.data.folds import assign, coverage_class, folds, read_folds
from tgs_salt.errors import UserError
from tgs_salt.settings import Folds

ID = "[0-9a-f]{10}"


def dataset_table(count: int, seed: int) -> pd.DataFrame:
    """Tiles as the competition's: 39% empty, depths in whole numbers with many ties, deeper tiles saltier."""
    rng = np.random.default_rng(seed)
    ids = [f"{number:010x}" for number in rng.choice(16**10, count, replace=False)]
    depth = np.clip(rng.normal(506, 208, count), 51, 959).round()
    empty = rng.random(count) < np.interp(depth, [51, 959], [0.55, 0.25])
    area = np.where(empty, 0, rng.integers(1, 10201, count))
    return pd.DataFrame({"id": ids, "depth": depth, "coverage": area / 10201})


def with_class(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(coverage_class=coverage_class(table["coverage"]))


def problems(table: pd.DataFrame, fold: np.ndarray, count: int) -> set[str]:
    """What is wrong with an assignment, measured on what it is for: `table` has id, depth and coverage."""
    found = set()
    sizes = [int((fold == k).sum()) for k in range(count)]
    if sum(sizes) != len(table) or max(sizes) - min(sizes) > 1:
        found.add("sizes")
    empty = [float((table["coverage"][fold == k] == 0).mean()) for k in range(count)]
    if max(empty) - min(empty) > 0.005:
        found.add("empty share")
    if max(ks_2samp(table["depth"][fold == k], table["depth"]).statistic for k in range(count)) > 0.03:
        found.add("depth")
    return found


# --- the mistakes


def inverse_permutation(table: pd.DataFrame, count: int) -> np.ndarray:
    """Ranks are dealt out in turn, but the permutation is applied the wrong way round: what comes out is random."""
    order = table.sort_values(["depth", "id"]).index.to_numpy()
    return (np.arange(len(table)) % count)[order]


def inverse_permutation_of_everything(table: pd.DataFrame, count: int) -> np.ndarray:
    order = with_class(table).sort_values(["coverage_class", "depth", "id"]).index.to_numpy()
    return (np.arange(len(table)) % count)[order]


def train_sorted_among_test(table: pd.DataFrame, count: int) -> np.ndarray:
    """Ranks are dealt out among all tiles of the dataset, and then the labelled ones are kept."""
    rng = np.random.default_rng(1)
    others = 4 * len(table) + len(table) // 2
    depth = np.concatenate([table["depth"], np.clip(rng.normal(506, 208, others), 50, 959).round()])
    ids = np.concatenate([table["id"], [f"{k:010x}" for k in rng.integers(0, 16**10, others)]])
    rank = np.empty(len(depth), int)
    rank[np.lexsort([ids, depth])] = np.arange(len(depth))
    return rank[: len(table)] % count


def dealt_by_depth_alone(table: pd.DataFrame, count: int) -> np.ndarray:
    fold = np.empty(len(table), int)
    fold[table.sort_values(["depth", "id"]).index.to_numpy()] = np.arange(len(table)) % count
    return fold


@pytest.mark.parametrize("seed", range(5))
def test_the_check_tells_the_mistakes(seed: int) -> None:
    table = dataset_table(3000, seed)
    assert problems(table, assign(with_class(table), 5, seed), 5) == set()
    assert {"empty share", "depth"} <= problems(table, inverse_permutation(table, 5), 5)
    assert {"empty share", "depth"} <= problems(table, inverse_permutation_of_everything(table, 5), 5)
    assert {"sizes", "empty share"} <= problems(table, train_sorted_among_test(table, 5), 5)
    assert problems(table, dealt_by_depth_alone(table, 5), 5) == {"empty share"}


# --- ours


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("tiles", [3000, 3001, 3004])
def test_folds_of_three_thousand_tiles(tiles: int, count: int) -> None:
    table = dataset_table(tiles, seed=tiles + count)
    assert problems(table, assign(with_class(table), count, 0), count) == set()


@pytest.fixture(scope="module")
def real_tiles() -> pd.DataFrame:
    if "TGS_DATA" not in os.environ:
        pytest.skip("TGS_DATA is not set: it names the folder of the competition's own dataset")
    data = Path(os.environ["TGS_DATA"])
    train = pd.read_csv(data / "train.csv", dtype=str, keep_default_na=False)
    depths = pd.read_csv(data / "depths.csv").set_index("id")["z"]
    area = [sum(map(int, code.split()[1::2])) for code in train["rle_mask"]]
    return pd.DataFrame(
        {"id": train["id"], "depth": depths.loc[train["id"]].to_numpy(float), "coverage": np.array(area) / 101**2}
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_of_the_real_dataset(real_tiles: pd.DataFrame, seed: int) -> None:
    assert len(real_tiles) >= 1000 and real_tiles["depth"].duplicated().mean() > 0.5, "depths have ties"
    fold = assign(with_class(real_tiles), 5, seed)
    assert problems(real_tiles, fold, 5) == set()
    assert "empty share" in problems(real_tiles, inverse_permutation(real_tiles, 5), 5)
    assert "sizes" in problems(real_tiles, train_sorted_among_test(real_tiles, 5), 5)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, int, int]:
    count = draw(st.integers(2, 6))
    size = draw(st.integers(count, 50))
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=size, max_size=size))
    ids = draw(st.permutations([f"t{k:02d}" for k in range(size)]))
    depth, level = zip(*rows, strict=True)
    table = pd.DataFrame({"id": ids, "depth": np.array(depth, float), "coverage_class": level})
    return table, count, draw(st.integers(0, 9))


@settings(max_examples=60)
@given(tables(), st.randoms(use_true_random=False))
def test_any_table(case: tuple[pd.DataFrame, int, int], random: object) -> None:
    table, count, seed = case
    fold = assign(table, count, seed)
    sizes = np.bincount(fold, minlength=count)
    assert len(sizes) == count and sizes.max() - sizes.min() <= 1

    # Neighbours in (class, depth, id) are dealt out: each run of `count` of them holds every fold.
    key = sorted(range(len(table)), key=lambda k: (table["coverage_class"][k], table["depth"][k], table["id"][k]))
    whole = len(table) // count * count - count  # the last run is joined by what is left over
    runs = fold[key][:whole].reshape(-1, count)
    assert (np.sort(runs, axis=1) == np.arange(count)).all()
    assert set(fold[key][whole:]) == set(range(count))

    # The order of the table moves no tile.
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert (assign(table.iloc[order], count, seed) == fold[order]).all()
    assert (assign(table.copy(), count, seed) == fold).all()


def test_the_seed_moves_tiles() -> None:
    table = with_class(dataset_table(300, 0))
    folds_of = [tuple(assign(table, 5, seed)) for seed in range(4)]
    assert len(set(folds_of)) == 4
    # A shuffle within strata: about 1 tile in 5 stays where it is by chance.
    assert 0.1 < np.mean(np.array(folds_of[0]) == np.array(folds_of[1])) < 0.32


def test_no_fold_is_favoured() -> None:
    """The first of each run of neighbours is the least salty and the shallowest: it must not always go to fold 0."""
    table = pd.DataFrame({"id": [f"{k:04d}" for k in range(1000)], "depth": np.arange(1000.0), "coverage_class": 0})
    first = assign(table, 5, 0)[::5]
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
def test_coverage_classes_are_tenths(area: int, expected: int) -> None:
    assert coverage_class(pd.Series([area / 10201])).tolist() == [expected]
    assert expected == -(-area * 10 // 10201)


# --- from file to file


def write_tiles(path: Path, table: pd.DataFrame) -> None:
    test = pd.DataFrame({"id": ["zz1", "zz2"], "depth": [60.0, 61.0], "coverage": np.nan})
    both = pd.concat([table.assign(split="train"), test.assign(split="test")], ignore_index=True)
    both["row"] = both.groupby("split").cumcount()
    both.assign(blank=False)[["id", "split", "row", "depth", "coverage", "blank"]].to_csv(path, index=False)


def test_folds_csv(tmp_path: Path) -> None:
    table = dataset_table(120, 3)
    write_tiles(tmp_path / "tiles.csv", table)
    folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds(n_splits=4, seed=2))
    written = pd.read_csv(tmp_path / "folds.csv", dtype={"id": str})
    assert list(written) == ["id", "depth", "coverage_class", "fold"]
    assert list(written["id"]) == list(table["id"]) and list(written["depth"]) == list(table["depth"])
    assert [c == 0 for c in written["coverage_class"]] == [c == 0 for c in table["coverage"]]
    assert list(written["fold"]) == list(assign(with_class(table), 4, 2))
    assert list(read_folds(tmp_path / "folds.csv", table["id"])) == list(written["fold"])

    # The same tiles in another order: every tile keeps its fold.
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    write_tiles(tmp_path / "tiles.csv", shuffled)
    folds(tmp_path / "tiles.csv", tmp_path / "again.csv", Folds(n_splits=4, seed=2))
    again = pd.read_csv(tmp_path / "again.csv", dtype={"id": str}).set_index("id")["fold"]
    assert again.loc[written["id"]].tolist() == written["fold"].tolist()


def test_too_few_tiles(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles.csv", dataset_table(9, 0))
    sentence = "folds.n_splits: 5 folds need 10 labelled tiles or more, found 9."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds())
    assert not (tmp_path / "folds.csv").exists()


def test_folds_of_other_tiles(tmp_path: Path) -> None:
    table = dataset_table(20, 0)
    write_tiles(tmp_path / "tiles.csv", table)
    folds(tmp_path / "tiles.csv", tmp_path / "folds.csv", Folds())
    with pytest.raises(UserError, match=r"folds\.csv: its tiles are not those of tiles\.csv; run snakemake again"):
        read_folds(tmp_path / "folds.csv", table["id"][::-1])

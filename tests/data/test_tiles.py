"""tiles.csv is read with the types it was written with; a bad file raises an error that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tgs_salt.data.tiles import read_table, read_tiles
from tgs_salt.errors import UserError

HEADER = "id,split,row,depth,coverage,blank\n"
GOOD = HEADER + "NA,train,0,51,0.0,True\n001,train,1,52.5,0.25,False\n1e5,test,0,50,,False\n"


def test_column_types_and_splits(tmp_path: Path) -> None:
    (tmp_path / "tiles.csv").write_text(GOOD)
    tiles = read_tiles(tmp_path / "tiles.csv")
    assert list(tiles["id"]) == ["NA", "001", "1e5"], "ids are strings, even if they look like numbers or NaN"
    assert list(tiles["depth"]) == [51, 52.5, 50] and list(tiles["blank"]) == [True, False, False]
    assert list(tiles["coverage"].isna()) == [False, False, True]
    assert list(read_tiles(tmp_path / "tiles.csv", "train")["id"]) == ["NA", "001"]
    test = read_tiles(tmp_path / "tiles.csv", "test")
    assert list(test["id"]) == ["1e5"] and list(test.index) == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run the step that creates it."),
        ("", "not the expected table (No columns to parse from file); delete this file and run snakemake again."),
        (GOOD.replace("coverage", "cover"),
         "no column 'coverage', expected id, split, row, depth, coverage, blank; delete this file"),
        (GOOD.replace("52.5", "deep"), "not the expected table ("),
        (GOOD.replace("001", "NA"), "id NA appears twice; delete this file and run snakemake again."),
        (GOOD.replace("001,train,1", "001,train,2"),
         "expected rows 0, 1, 2, ... of the train tiles, in this order; delete this file"),
        (GOOD.replace("train,0", "train,9").replace("train,1", "train,0").replace("train,9", "train,1"),
         "expected rows 0, 1, 2, ... of the train tiles, in this order; delete this file"),
    ],
)  # fmt: skip
def test_bad_tables_are_rejected(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "tiles.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {message}')}"):
        read_tiles(path)


def test_extra_columns_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("extra,id,n\nx,a,1\n")
    assert read_table(tmp_path / "a.csv", {"id": "str", "n": "int64"}).to_dict("list") == {"id": ["a"], "n": [1]}

"""Bytes, texts and values that nobody would write: either the right result, or the sentence of a UserError.

Each property draws a spoilt input and looks at what a reader makes of it, beside an oracle of its own. A few examples
of each run in the fast suite and many in the slow one.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt import files
from tgs_salt.data.csv_tables import read_csv
from tgs_salt.data.decode import decode_all, tile_problem
from tgs_salt.data.layout import DatasetSource
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.inference.bundle import load_bundle
from tgs_salt.inference.image_files import Picture
from tgs_salt.kernels import rle
from tgs_salt.models.model_file import load_model
from tgs_salt.postprocessing.submission import check_rows
from tgs_salt.records import ThresholdReport, read_record
from tgs_salt.settings import Settings, load, load_files

T = TypeVar("T")
CPU = torch.device("cpu")
SIDE = 24


def outcome(call: Callable[[], T]) -> T | None:
    """The result, or None after one sentence; any other exception is a failure."""
    try:
        return call()
    except UserError as problem:
        said = str(problem)
        assert said and "\n" not in said and len(said) < 1000, said
        return None


# --- what is drawn

Edits = list[tuple[float, int, bytes]]
BITS = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b",", b'"', b"\n", b"\r", b"\0", b"-", b"nan", b"inf", b"1e999", b"9" * 30, b"\xff\xff\xff\xff"]),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), BITS), min_size=1, max_size=4)


def edited(content: bytes, edits: Edits) -> bytes:
    """At some places a few bytes replaced by others."""
    for place, length, new in edits:
        start = int(place * len(content))
        content = content[:start] + new + content[start + length :]
    return content


# --- csv

TILES = b"id,split,row,depth,coverage,blank\na,train,0,51,0.0,True\nb,train,1,52.5,0.25,False\nc,test,0,50,,False\n"
PIECES = st.sampled_from(["a", "b", "", "1", "-2.5", " 3", "nan", '"x,y"', '"', 'q"q', "true", "1e5", "é", "\t"])
ROWS = st.lists(st.lists(PIECES, min_size=1, max_size=4), min_size=1, max_size=5)


def by_csv(content: bytes) -> list[list[str]]:
    """Rows by Python's own reader; lines of nothing but blanks are none."""
    text = content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [row for row in rows if row and (len(row) > 1 or row[0].strip(" \t"))]


def check_csv(folder: Path, rows: list[list[str]]) -> None:
    content = ("id,z\n" + "".join(",".join(row) + "\n" for row in rows)).encode()
    try:
        table = read_csv(io.BytesIO(content), dtype=str)
    except ValueError:
        return
    wanted = by_csv(content)[1:]
    assert all(len(row) <= 2 for row in wanted), "nothing is left out"
    assert [list(row) for row in table.itertuples(index=False)] == [[*row, ""][:2] for row in wanted]


def check_tiles(folder: Path, edits: Edits) -> None:
    path = folder / "tiles.csv"
    path.write_bytes(edited(TILES, edits))
    tiles = outcome(lambda: read_tiles(path))
    if tiles is None:
        return
    header, *rows = by_csv(path.read_bytes())
    assert len(tiles) == len(rows)
    for tile, row in zip(tiles.to_dict("records"), rows, strict=True):
        said = dict(zip(header, row, strict=False))
        assert (tile["id"], tile["split"]) == (said["id"], said["split"])
        assert (tile["row"], tile["depth"]) == (float(said["row"]), float(said["depth"]))
        assert (said["coverage"].strip() == "" and np.isnan(tile["coverage"])) or tile["coverage"] == float(
            said["coverage"]
        )
        assert str(tile["blank"]).lower() == {"1": "true", "0": "false"}.get(said["blank"], said["blank"].lower())


# --- arrays

HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }"


def npy(text: str) -> bytes:
    coded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(coded)) + coded + bytes(range(24))


def check_npy(folder: Path, edits: Edits) -> None:
    path = folder / "a.npy"
    path.write_bytes(edited(npy(HEADER), edits))
    array = outcome(lambda: files.read_array(path, (None, None, None)))
    if array is None:
        return
    content = path.read_bytes()
    size, length = (2, "<H") if content[6] == 1 else (4, "<I")
    start = 8 + size + struct.unpack(length, content[8 : 8 + size])[0]
    said = ast.literal_eval(content[8 + size : start].decode("latin1").strip())
    data = np.frombuffer(content[start:], np.uint8)[: int(np.prod(said["shape"]))]
    np.testing.assert_array_equal(array, data.reshape(said["shape"], order="F" if said["fortran_order"] else "C"))


# --- run lengths

CODES = st.one_of(
    st.lists(st.integers(-2, 40).map(str) | st.sampled_from(["", "a", "007", "1.0", "٣", "9" * 40]), max_size=8).map(
        " ".join
    ),
    st.text(st.sampled_from("0123456789 -+\t\n,x\u00a0"), max_size=20),
)


def painted(code: str, height: int, width: int) -> np.ndarray | None:
    """Runs painted pixel by pixel; None where one is not what it must be."""
    numbers = code.split()
    if len(numbers) % 2 or not code.isascii() or not all(map(str.isdigit, numbers)):
        return None
    mask, free = np.zeros((height, width), bool), 0
    for start, length in zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True):
        if start <= free or length < 1 or start + length - 1 > height * width:
            return None
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % height, pixel // height] = True
        free = start + length - 1
    return mask


def check_runs(folder: Path, code: str) -> None:
    found, wanted = outcome(lambda: rle.decode(code, (5, 7))), painted(code, 5, 7)
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        np.testing.assert_array_equal(found, wanted)


SUBMISSION = b"id,rle_mask\na,1 3 6 2\nb,\nc,35 1\n"


def check_submission(folder: Path, edits: Edits) -> None:
    path = folder / "submission.csv"
    path.write_bytes(edited(SUBMISSION, edits))
    empty = outcome(lambda: check_rows(path, ["a", "b", "c"], (5, 7)))
    if empty is None:
        return
    header, *rows = by_csv(path.read_bytes())
    assert header == ["id", "rle_mask"] and [row[0] for row in rows] == ["a", "b", "c"]
    masks = [painted(row[1], 5, 7) for row in rows]
    assert all(mask is not None for mask in masks)
    assert empty == sum(not mask.any() for mask in masks if mask is not None)


# --- pictures


@cache
def tile() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (SIDE, SIDE), dtype=np.uint8)


@cache
def coded(suffix: str, channels: int = 1) -> bytes:
    return cv2.imencode(suffix, np.dstack([tile()] * channels))[1].tobytes()


def check_tile(folder: Path, edits: Edits) -> None:
    dataset = DatasetSource(Path("data"))
    dataset.pictures["train images"]["a"] = lambda: edited(coded(".png", 3), edits)
    found = outcome(lambda: decode_all(dataset, "train images", ["a"], SIDE, tile_problem, 1))
    assert found is None or np.array_equal(found[0], tile()), "a PNG has checksums: other pixels would be damage"


def check_section(folder: Path, edits: Edits) -> None:
    path = folder / "section.png"
    path.write_bytes(edited(coded(".png"), edits))
    found = outcome(Picture(path).read)
    assert found is None or np.array_equal(found, tile())


def check_jpeg(folder: Path, edits: Edits) -> None:
    path = folder / "section.jpg"
    path.write_bytes(edited(coded(".jpg"), edits))
    found = outcome(Picture(path).read)
    assert found is None or (found.ndim == 2 and found.dtype == np.uint8 and found.size > 0)


# --- weights and bundles


@cache
def kept(path: Path) -> bytes:
    return path.read_bytes()


def same(network: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def check_model(folder: Path, edits: Edits) -> None:
    original, path = folder / "models/only/fold0/model.pt", folder / "a.pt"
    path.write_bytes(edited(kept(original), edits))
    found = outcome(lambda: load_model(path, CPU))
    if found is not None:
        network, about = load_model(original, CPU)
        assert found[1] == about and same(found[0], network), "checksums: what is read is what was written"


def check_bundle(folder: Path, edits: Edits) -> None:
    original, path = folder / "bundle.zip", folder / "a.zip"
    path.write_bytes(edited(kept(original), edits))
    found = outcome(lambda: load_bundle(path, CPU))
    if found is not None:
        whole = load_bundle(original, CPU)
        assert (found.votes, found.threshold, found.min_area) == (whole.votes, whole.threshold, whole.min_area)
        assert all(map(same, found.networks, whole.networks))


# --- settings and records

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([10**30, 10**4000, "1e999", ".nan", "null", "0x10", "a" * 300, "../x", "🪨", [[[]]], {1: 2}]),
)  # fmt: skip


def keys_of(section: Any) -> list[str]:
    return list(section.model_fields)


KEYS = st.sampled_from(
    [*keys_of(Settings), *(key for part in ("data", "folds", "predict", "ensemble", "threshold", "runtime")
     for key in keys_of(Settings.model_fields[part].annotation)), "epochs", "extends", "init_from", "teacher", "augment",
     "a", "b"]
)  # fmt: skip
VALUES = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
MODELS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(
        st.sampled_from(["extends", "init_from", "teacher", "epochs", "network", "channels", "loss", "average"]),
        st.sampled_from(["a", "b", "c", "article", 3, "swa", 0.5, None]) | ODD, max_size=3,
    ) | ODD,
    min_size=1, max_size=3,
)  # fmt: skip
CONFIGS = st.fixed_dictionaries({"models": MODELS}) | st.dictionaries(KEYS, VALUES, max_size=4)


def check_config(folder: Path, config: dict[str, Any]) -> None:
    found = outcome(lambda: load(config))
    if found is not None:
        assert load(json.loads(json.dumps(found.model_dump()))) == found, "what is printed says the same"
        assert set(found.needed) <= set(found.models)


CONFIG = b"""name: mine
folds: {count: 3, use: [0, 2]}
models:
  a: &a {epochs: 3}
  b: {like: a, loss: 0.2*bce + lovasz}
"""


def check_yaml(folder: Path, edits: Edits) -> None:
    path = folder / "mine.yaml"
    path.write_bytes(edited(CONFIG, edits))
    found = outcome(lambda: load_files(path))
    if found is not None:
        assert load(yaml.safe_load(path.read_text())) == found, "no key is there twice, so it is what YAML says"


JUDGEMENT = {
    "threshold": 128, "min_area": 7, "score": 0.5, "cross_fitted_score": 0.5, "score_at_half": 0.5, "tiles": 9,
    "folds": [0, 1], "models": ["a"],
}  # fmt: skip
RECORDS = st.dictionaries(st.sampled_from(list(JUDGEMENT)), ODD, max_size=2).map(lambda odd: {**JUDGEMENT, **odd})


def check_record(folder: Path, content: Any) -> None:
    path = folder / "threshold.json"
    try:
        path.write_text(json.dumps(content))
    except ValueError:  # a number that Python does not write
        return
    found = outcome(lambda: read_record(path, ThresholdReport))
    if found is not None:
        assert (found.threshold, found.min_area, found.folds) == tuple(
            content[key] for key in ("threshold", "min_area", "folds")
        )
        assert type(found.threshold) is type(found.min_area) is int and 0 <= found.threshold <= 255
        assert 0 <= found.cross_fitted_score <= 1


PROPERTIES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None], int]] = {
    "csv": (ROWS, check_csv, 60),
    "tiles.csv": (EDITS, check_tiles, 60),
    "npy": (EDITS, check_npy, 100),
    "run lengths": (CODES, check_runs, 200),
    "submission.csv": (EDITS, check_submission, 60),
    "PNG of a tile": (EDITS, check_tile, 100),
    "PNG of a section": (EDITS, check_section, 60),
    "JPEG of a section": (EDITS, check_jpeg, 60),
    "model.pt": (EDITS, check_model, 15),
    "bundle.zip": (EDITS, check_bundle, 6),
    "settings": (CONFIGS, check_config, 60),
    "settings in YAML": (EDITS, check_yaml, 60),
    "threshold.json": (RECORDS, check_record, 60),
}
"""What is drawn, what is checked, and how many examples take about half a second."""


def fuzz(name: str, folder: Path, times: int) -> None:
    strategy, check, few = PROPERTIES[name]

    @settings(max_examples=few * times)
    @given(strategy)
    def run(drawn: Any) -> None:
        check(folder, drawn)

    run()


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_few(place: Path, name: str) -> None:
    fuzz(name, place, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_many(place: Path, name: str) -> None:
    fuzz(name, place, 10)


def test_fortran_order_is_the_same_array(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", np.asfortranarray(numbers))
    np.testing.assert_array_equal(files.read_array(tmp_path / "a.npy"), numbers)

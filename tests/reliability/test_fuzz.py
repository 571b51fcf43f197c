"""Fuzz tests of every reader: invalid input gives the correct result or a UserError of one sentence.

Each property draws an input, reads it, and compares the result with an independent implementation. A few examples run
in the fast tests, ten times as many in the slow tests.
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
from tgs_salt.data.decode import decode_images, tile_problem
from tgs_salt.data.layout import DatasetSource
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.inference.bundle import load_bundle
from tgs_salt.inference.image_files import ImageFile
from tgs_salt.kernels import rle
from tgs_salt.models.model_file import load_model
from tgs_salt.postprocessing.submission import check_rows
from tgs_salt.records import ThresholdReport, read_record
from tgs_salt.settings import Settings, load, load_files

T = TypeVar("T")
CPU = torch.device("cpu")
SIDE = 24


def outcome(call: Callable[[], T]) -> T | None:
    """Return the result, or None after a UserError of one sentence; other exceptions propagate."""
    try:
        return call()
    except UserError as error:
        message = str(error)
        assert message and "\n" not in message and len(message) < 1000, message
        return None


# --- random edits of bytes

Edits = list[tuple[float, int, bytes]]  # relative position in 0..1, length, replacement
REPLACEMENTS = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b",", b'"', b"\n", b"\r", b"\0", b"-", b"nan", b"inf", b"1e999", b"9" * 30, b"\xff\xff\xff\xff"]),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), REPLACEMENTS), min_size=1, max_size=4)


def apply_edits(content: bytes, edits: Edits) -> bytes:
    for position, length, replacement in edits:
        start = int(position * len(content))
        content = content[:start] + replacement + content[start + length :]
    return content


# --- csv

TILES = b"id,split,row,depth,coverage,blank\na,train,0,51,0.0,True\nb,train,1,52.5,0.25,False\nc,test,0,50,,False\n"
FIELDS = st.sampled_from(["a", "b", "", "1", "-2.5", " 3", "nan", '"x,y"', '"', 'q"q', "true", "1e5", "é", "\t"])
ROWS = st.lists(st.lists(FIELDS, min_size=1, max_size=4), min_size=1, max_size=5)


def parse_csv(content: bytes) -> list[list[str]]:
    """Return the rows, parsed by Python's csv module, without blank lines."""
    text = content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [row for row in rows if row and (len(row) > 1 or row[0].strip(" \t"))]


def check_csv(folder: Path, rows: list[list[str]]) -> None:
    content = ("id,z\n" + "".join(",".join(row) + "\n" for row in rows)).encode()
    try:
        table = read_csv(io.BytesIO(content), dtype=str)
    except ValueError:
        return
    expected = parse_csv(content)[1:]
    assert all(len(row) <= 2 for row in expected), "long rows must raise"
    assert [list(row) for row in table.itertuples(index=False)] == [[*row, ""][:2] for row in expected]


def check_tiles(folder: Path, edits: Edits) -> None:
    path = folder / "tiles.csv"
    path.write_bytes(apply_edits(TILES, edits))
    tiles = outcome(lambda: read_tiles(path))
    if tiles is None:
        return
    header, *rows = parse_csv(path.read_bytes())
    assert len(tiles) == len(rows)
    for tile, row in zip(tiles.to_dict("records"), rows, strict=True):
        expected = dict(zip(header, row, strict=False))
        assert (tile["id"], tile["split"]) == (expected["id"], expected["split"])
        assert (tile["row"], tile["depth"]) == (float(expected["row"]), float(expected["depth"]))
        assert (expected["coverage"].strip() == "" and np.isnan(tile["coverage"])) or tile["coverage"] == float(
            expected["coverage"]
        )
        assert str(tile["blank"]).lower() == {"1": "true", "0": "false"}.get(
            expected["blank"], expected["blank"].lower()
        )


# --- arrays

HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }"


def npy_bytes(header: str) -> bytes:
    encoded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + bytes(range(24))


def check_npy(folder: Path, edits: Edits) -> None:
    path = folder / "a.npy"
    path.write_bytes(apply_edits(npy_bytes(HEADER), edits))
    array = outcome(lambda: files.read_array(path, (None, None, None)))
    if array is None:
        return
    content = path.read_bytes()
    size, length = (2, "<H") if content[6] == 1 else (4, "<I")
    start = 8 + size + struct.unpack(length, content[8 : 8 + size])[0]
    header = ast.literal_eval(content[8 + size : start].decode("latin1").strip())
    data = np.frombuffer(content[start:], np.uint8)[: int(np.prod(header["shape"]))]
    np.testing.assert_array_equal(array, data.reshape(header["shape"], order="F" if header["fortran_order"] else "C"))


# --- RLE

RLE_CODES = st.one_of(
    st.lists(st.integers(-2, 40).map(str) | st.sampled_from(["", "a", "007", "1.0", "٣", "9" * 40]), max_size=8).map(
        " ".join
    ),
    st.text(st.sampled_from("0123456789 -+\t\n,x\u00a0"), max_size=20),
)


def reference_decode(code: str, height: int, width: int) -> np.ndarray | None:
    """Return the mask of an RLE, drawn pixel by pixel; None if the RLE is invalid."""
    numbers = code.split()
    if len(numbers) % 2 or not code.isascii() or not all(map(str.isdigit, numbers)):
        return None
    mask, last_pixel = np.zeros((height, width), bool), 0
    for start, length in zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True):
        if start <= last_pixel or length < 1 or start + length - 1 > height * width:
            return None
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % height, pixel // height] = True
        last_pixel = start + length - 1
    return mask


def check_rle(folder: Path, code: str) -> None:
    mask, expected = outcome(lambda: rle.decode(code, (5, 7))), reference_decode(code, 5, 7)
    assert (mask is None) == (expected is None)
    if mask is not None and expected is not None:
        np.testing.assert_array_equal(mask, expected)


SUBMISSION = b"id,rle_mask\na,1 3 6 2\nb,\nc,35 1\n"


def check_submission(folder: Path, edits: Edits) -> None:
    path = folder / "submission.csv"
    path.write_bytes(apply_edits(SUBMISSION, edits))
    empty_count = outcome(lambda: check_rows(path, ["a", "b", "c"], (5, 7)))
    if empty_count is None:
        return
    header, *rows = parse_csv(path.read_bytes())
    assert header == ["id", "rle_mask"] and [row[0] for row in rows] == ["a", "b", "c"]
    masks = [reference_decode(row[1], 5, 7) for row in rows]
    assert all(mask is not None for mask in masks)
    assert empty_count == sum(not mask.any() for mask in masks if mask is not None)


# --- images


@cache
def tile() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (SIDE, SIDE), dtype=np.uint8)


@cache
def encoded_tile(suffix: str, channels: int = 1) -> bytes:
    return cv2.imencode(suffix, np.dstack([tile()] * channels))[1].tobytes()


def check_tile(folder: Path, edits: Edits) -> None:
    dataset = DatasetSource(Path("data"))
    dataset.image_readers["train images"]["a"] = lambda: apply_edits(encoded_tile(".png", 3), edits)
    pixels = outcome(lambda: decode_images(dataset, "train images", ["a"], SIDE, tile_problem, 1))
    assert pixels is None or np.array_equal(pixels[0], tile()), "the checksums of PNG detect changed pixels"


def check_section(folder: Path, edits: Edits) -> None:
    path = folder / "section.png"
    path.write_bytes(apply_edits(encoded_tile(".png"), edits))
    pixels = outcome(ImageFile(path).read)
    assert pixels is None or np.array_equal(pixels, tile())


def check_jpeg(folder: Path, edits: Edits) -> None:
    path = folder / "section.jpg"
    path.write_bytes(apply_edits(encoded_tile(".jpg"), edits))
    pixels = outcome(ImageFile(path).read)
    assert pixels is None or (pixels.ndim == 2 and pixels.dtype == np.uint8 and pixels.size > 0)


# --- model files and bundles


@cache
def read_cached(path: Path) -> bytes:
    return path.read_bytes()


def equal_weights(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def check_model(folder: Path, edits: Edits) -> None:
    original, path = folder / "models/only/fold0/model.pt", folder / "a.pt"
    path.write_bytes(apply_edits(read_cached(original), edits))
    loaded = outcome(lambda: load_model(path, CPU))
    if loaded is not None:
        model, metadata = load_model(original, CPU)
        assert loaded[1] == metadata and equal_weights(loaded[0], model), "checksums detect changed bytes"


def check_bundle(folder: Path, edits: Edits) -> None:
    original, path = folder / "bundle.zip", folder / "a.zip"
    path.write_bytes(apply_edits(read_cached(original), edits))
    bundle = outcome(lambda: load_bundle(path, CPU))
    if bundle is not None:
        expected = load_bundle(original, CPU)
        assert (bundle.votes, bundle.threshold, bundle.min_area) == (
            expected.votes,
            expected.threshold,
            expected.min_area,
        )
        assert all(map(equal_weights, bundle.networks, expected.networks))


# --- settings and records

ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([10**30, 10**4000, "1e999", ".nan", "null", "0x10", "a" * 300, "../x", "🪨", [[[]]], {1: 2}]),
)  # fmt: skip


def field_names(section: Any) -> list[str]:
    return list(section.model_fields)


SECTIONS = ("data", "folds", "predict", "ensemble", "threshold", "runtime")
KEYS = st.sampled_from([
    *field_names(Settings), *(key for name in SECTIONS for key in field_names(Settings.model_fields[name].annotation)),
    "epochs", "extends", "init_from", "teacher", "augment", "a", "b",
])  # fmt: skip
VALUES = st.recursive(
    ODD_VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
MODELS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(
        st.sampled_from(["extends", "init_from", "teacher", "epochs", "architecture", "depth_channels", "loss",
                         "weight_averaging"]),
        st.sampled_from(["a", "b", "c", "article", 3, "swa", 0.5, None]) | ODD_VALUES, max_size=3,
    ) | ODD_VALUES,
    min_size=1, max_size=3,
)  # fmt: skip
CONFIGS = st.fixed_dictionaries({"models": MODELS}) | st.dictionaries(KEYS, VALUES, max_size=4)


def check_config(folder: Path, config: dict[str, Any]) -> None:
    loaded = outcome(lambda: load(config))
    if loaded is not None:
        assert load(json.loads(json.dumps(loaded.model_dump()))) == loaded, "JSON must preserve all settings"
        assert set(loaded.required_models) <= set(loaded.models)


CONFIG = b"""name: mine
folds: {n_splits: 3, selected: [0, 2]}
models:
  a: &a {epochs: 3}
  b: {extends: a, loss: 0.2*bce + lovasz}
"""


def check_yaml(folder: Path, edits: Edits) -> None:
    path = folder / "mine.yaml"
    path.write_bytes(apply_edits(CONFIG, edits))
    loaded = outcome(lambda: load_files(path))
    if loaded is not None:
        assert load(yaml.safe_load(path.read_text())) == loaded, "without duplicate keys both loaders agree"


THRESHOLD_REPORT = {
    "threshold": 128, "min_area": 7, "score": 0.5, "cross_fitted_score": 0.5, "score_at_half": 0.5, "tiles": 9,
    "folds": [0, 1], "models": ["a"],
}  # fmt: skip
RECORDS = st.dictionaries(st.sampled_from(list(THRESHOLD_REPORT)), ODD_VALUES, max_size=2).map(
    lambda changes: {**THRESHOLD_REPORT, **changes}
)


def check_record(folder: Path, content: Any) -> None:
    path = folder / "threshold.json"
    try:
        path.write_text(json.dumps(content))
    except ValueError:  # an integer of more than 4,300 digits
        return
    report = outcome(lambda: read_record(path, ThresholdReport))
    if report is not None:
        assert (report.threshold, report.min_area, report.folds) == tuple(
            content[key] for key in ("threshold", "min_area", "folds")
        )
        assert type(report.threshold) is type(report.min_area) is int and 0 <= report.threshold <= 255
        assert 0 <= report.cross_fitted_score <= 1


PROPERTIES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None], int]] = {
    "csv": (ROWS, check_csv, 60),
    "tiles.csv": (EDITS, check_tiles, 60),
    "npy": (EDITS, check_npy, 100),
    "RLE": (RLE_CODES, check_rle, 200),
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
"""The strategy of inputs, the check, and the number of examples that take about half a second."""


def fuzz(name: str, folder: Path, factor: int) -> None:
    strategy, check, examples = PROPERTIES[name]

    @settings(max_examples=examples * factor)
    @given(strategy)
    def run(drawn: Any) -> None:
        check(folder, drawn)

    run()


@pytest.mark.parametrize("name", PROPERTIES)
def test_fuzz_with_few_examples(workdir: Path, name: str) -> None:
    fuzz(name, workdir, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_fuzz_with_many_examples(workdir: Path, name: str) -> None:
    fuzz(name, workdir, 10)


def test_fortran_order_gives_the_same_array(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", np.asfortranarray(numbers))
    np.testing.assert_array_equal(files.read_array(tmp_path / "a.npy"), numbers)

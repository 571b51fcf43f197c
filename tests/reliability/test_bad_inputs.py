"""Bad inputs, one per row: what is corrupted, the command that reads it, and the whole error message.

In a message `*` matches any text, such as the wording of a library. Each command ends with exit code 1 and this message
as its last line, without a traceback. It runs no code from the file and leaves no output.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.corruption import (
    Corruption,
    add_member,
    edit_array,
    edit_member,
    malicious_pickle,
    set_json,
    set_npy_header,
    set_zip_flag,
    substitute,
    torch_file,
    truncate,
    write,
)
from helpers.kaggle_user import User

OOF = [f"--oof models/only/fold{fold}/oof.npy" for fold in range(3)]
TEST = [f"--test models/only/fold{fold}/test.npy" for fold in range(3)]
TABLES = "--tiles data/tiles.csv --folds folds.csv"
IMAGES = "--images data/train_images.npy"
DATA = '{"data":{"tile_size":32,"source":"directory","directory":"x"}}'
COMMANDS = {
    "preprocess": f"preprocess --settings {DATA} --source kaggle --output out",
    "preprocess zip": f"preprocess --settings {DATA} --source kaggle.zip --output out",
    "folds": 'folds --settings {"folds":{"n_splits":3}} --tiles data/tiles.csv --output out/folds.csv',
    "train": 'train --settings {"model":{"architecture":"article","epochs":1,"threads":1}} --model only --fold 0 '
    f"{IMAGES} --masks data/train_masks.npy {TABLES} --output out/model.pt",
    "predict": 'predict --settings {"predict":{"backend":"eager"}} --split oof --model models/only/fold0/model.pt '
    f"{IMAGES} {TABLES} --output out/oof.npy",
    "ensemble": 'ensemble --settings {"ensemble":{},"folds":{"n_splits":3}} --models only '
    f"--masks data/train_masks.npy {TABLES} --output out {' '.join(OOF + TEST)}",
    "threshold": 'threshold --settings {"ensemble":{},"threshold":{},"folds":{"n_splits":3}} --models only '
    f"--ensemble ensemble/oof.npy --masks data/train_masks.npy {TABLES} --output out {' '.join(OOF)}",
    "submission": "submission --test ensemble/test.npy --threshold threshold.json --tiles data/tiles.csv "
    "--output out/submission.csv",
    "check-submission": "check-submission submission.csv sample.csv --tile-size 24",
    "submit": "submit --submission submission.csv --tile-size 24 --dry-run --receipt out/submitted.json",
    "status": "status .",
    "plot-tiles": "plot-tiles . t0001 --output out",
    "export": "export . --output out/bundle.zip",
    "segment": "segment bundle.zip section.png --output out --format rle",
    "segment jpg": "segment bundle.zip section.jpg --output out",
    "segment npy": "segment bundle.zip section.npy --output out",
    "config": "config mine.yaml",
}  # fmt: skip

RERUN = "delete this file and run snakemake again."
REDOWNLOAD = "fix it or download the dataset again."
ID_AND_RLE = "expected a CSV file with the columns id and rle_mask."
ID_AND_Z = "expected a CSV file with the columns id and z."
VALID_ID = "expected 1 to 200 printable ASCII characters without commas, quotes and slashes; rename that tile."
UNEXPECTED_MEMBER = "the competition's archive has no such member: download it from Kaggle."
TILES, FOLDS, OOF0, MODEL = "data/tiles.csv", "folds.csv", "models/only/fold0/oof.npy", "models/only/fold0/model.pt"
VALID_IMAGE = "save gray pixels of shape (height, width), scaled to 0..255."
EXPORT = "run `tgs-salt export` again."
VALID_NAME = "letters, digits, '_', '-' and '.', starting with a letter or digit"
Row = tuple[str, str, Corruption, str]  # description, key of COMMANDS, corruption, expected error message
FIRST_RLE = "rle_mask$\n^([0-9a-f]+),.*$"  # the first row of train.csv


def set_rle(code: str) -> Corruption:
    return substitute("kaggle/train.csv", FIRST_RLE, rf"rle_mask\n\1,{code}")


def write_config(text: str) -> Corruption:
    return write("mine.yaml", text)


def model_config(**keys: str) -> Corruption:
    return write_config("models: {a: {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}}")


def replace_image(kind: str, pixels: np.ndarray, suffix: str = ".png") -> Corruption:
    """Replace the first train image or mask."""
    return edit_member("kaggle/train.zip", f"^{kind}/", lambda old: cv2.imencode(suffix, pixels)[1].tobytes())


def edit_model_file(changes: dict[str, object]) -> Corruption:
    def corrupt() -> None:
        torch.save({**torch.load(MODEL, weights_only=True), **changes}, MODEL)

    return corrupt


def set_first_weight(value: torch.Tensor) -> Corruption:
    def corrupt() -> None:
        content = torch.load(MODEL, weights_only=True)
        content["weights"][next(iter(content["weights"]))] = value
        torch.save(content, MODEL)

    return corrupt


def compress_zip(path: str) -> Corruption:
    """Compress the members of a zip, and append 16 MiB of zeros to tensor data."""

    def corrupt() -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content + bytes(1 << 24) * name.endswith("data/0"))

    return corrupt


def add_link() -> None:
    entry = zipfile.ZipInfo("depths.csv.zip")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("kaggle.zip", "a") as archive:
        archive.writestr(entry, "/etc/passwd")


def claim_huge_image(png: bytes) -> bytes:
    return png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]


def replace_manifest(new: str) -> Corruption:
    return edit_member("bundle.zip", r"bundle\.json", lambda old: new.encode())


def edit_manifest(pattern: str, replacement: str) -> Corruption:
    def edit(old: bytes) -> bytes:
        new = re.sub(pattern.encode(), replacement.encode(), old, count=1)
        assert new != old
        return new

    return edit_member("bundle.zip", r"bundle\.json", edit)


GRAY = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
COLORS = np.dstack([GRAY % 7, GRAY % 5, GRAY % 3]).astype(np.uint8)
KAGGLE_TABLES: list[Row] = [
    ("empty train.csv", "preprocess", write("kaggle/train.csv", ""),
     f"kaggle: train.csv cannot be read (No columns to parse from file); {ID_AND_RLE}"),
    ("train.csv with binary data", "preprocess", write("kaggle/train.csv", bytes(range(256))),
     f"kaggle: train.csv cannot be read (*); {ID_AND_RLE}"),
    ("train.csv in UTF-16", "preprocess", write("kaggle/train.csv", "id,rle_mask\na,1 1\n".encode("utf-16")),
     f"kaggle: train.csv cannot be read (*); {ID_AND_RLE}"),
    ("sample_submission.csv without rows", "preprocess", write("kaggle/sample_submission.csv", "id,rle_mask\n"),
     f"kaggle: sample_submission.csv has no rows; {REDOWNLOAD}"),
    ("depths.csv without z", "preprocess", substitute("kaggle/depths.csv", "id,z", "id,depth"),
     f"kaggle: depths.csv has no column 'z'; {ID_AND_Z}"),
    ("depths.csv with a duplicate z column", "preprocess", substitute("kaggle/depths.csv", "id,z", "id,z,z"),
     f"kaggle: depths.csv cannot be read (column 'z' appears twice); {ID_AND_Z}"),
    ("depths.csv with trailing commas", "preprocess", substitute("kaggle/depths.csv", r"(\d)$", r"\1,", 0),
     f"kaggle: depths.csv cannot be read (a row is longer than the header); {ID_AND_Z}"),
    ("depths.csv with one long row", "preprocess", substitute("kaggle/depths.csv", r"\n(.*)\n(.*)$", r"\n\1\n\2,7"),
     f"kaggle: depths.csv cannot be read (*Expected 2 fields in line 3, saw 3); {ID_AND_Z}"),
    ("depths.csv with an unclosed quote", "preprocess", substitute("kaggle/depths.csv", r"\n(.*)$", r'\n"\1'),
     f"kaggle: depths.csv cannot be read (*EOF inside string*); {ID_AND_Z}"),
    ("NaN depth", "preprocess", substitute("kaggle/depths.csv", r",\d+$", ",NaN"),
     "kaggle: depths.csv has z 'NaN' for id *; expected a number."),
    ("infinite depth", "preprocess", substitute("kaggle/depths.csv", r",\d+$", ",1e999"),
     "kaggle: depths.csv has z '1e999' for id *; expected a number."),
    ("empty depth", "preprocess", substitute("kaggle/depths.csv", r",\d+$", ","),
     "kaggle: depths.csv has z '' for id *; expected a number."),
    ("id without a depth", "preprocess", substitute("kaggle/depths.csv", r"\n.*$", ""),
     f"kaggle: depths.csv has no depth for 1 of * ids, for example *; {REDOWNLOAD}"),
    ("duplicate id", "preprocess", substitute("kaggle/train.csv", r"\n(.*)$", r"\n\1\n\1"),
     "kaggle: train.csv has id * twice; keep one row per tile."),
    ("id without an image", "preprocess", substitute("kaggle/train.csv", "$", r"\nunknown,"),
     f"kaggle: 1 of 25 train images are missing from the dataset (looked in train.zip and test.zip), "
     f"for example unknown.png; {REDOWNLOAD}"),
    ("id with a path traversal", "preprocess", substitute("kaggle/train.csv", "$", r"\n../../evil,"),
     f"kaggle: train.csv has id '../../evil'; {VALID_ID}"),
    ("id with a comma", "preprocess", substitute("kaggle/train.csv", "$", r'\n"a,b",'),
     f"kaggle: train.csv has id 'a,b'; {VALID_ID}"),
    ("non-ASCII id", "preprocess", substitute("kaggle/depths.csv", "$", r"\nsäll,7"),
     f"kaggle: depths.csv has id 'säll'; {VALID_ID}"),
    ("id of one MiB", "preprocess", substitute("kaggle/train.csv", "$", r"\n" + "a" * (1 << 20) + ","),
     f"kaggle: train.csv has id '{'a' * 40}'; {VALID_ID}"),
]  # fmt: skip
RLE_CODES: list[Row] = [
    ("RLE with an odd number of tokens", "preprocess", set_rle("1 2 3"),
     "kaggle: train.csv, id *: RLE has 3 numbers, the last '3'; expected pairs of start and length"),
    ("RLE with overlapping runs", "preprocess", set_rle("1 5 3 2"),
     "kaggle: train.csv, id *: run '3 2' (token 3 of the RLE) overlaps the previous run '1 5'"),
    ("RLE with unsorted runs", "preprocess", set_rle("9 2 3 2"),
     "kaggle: train.csv, id *: run '3 2' (token 3 of the RLE) begins before the previous run '9 2';"
     " sort the runs"),
    ("RLE with a run past the last pixel", "preprocess", set_rle("1024 2"),
     "kaggle: train.csv, id *: run '1024 2' (token 1 of the RLE) ends past the last pixel, 1024,"
     " of a tile of 32 x 32"),
    ("RLE with length 0", "preprocess", set_rle("3 0"),
     "kaggle: train.csv, id *: token 2 of the RLE, '0', is not a length: it must be positive"),
    ("RLE with a negative length", "preprocess", set_rle("3 -4"),
     "kaggle: train.csv, id *: token 2 of the RLE, '-4', is not a length: it must be positive"),
    ("RLE with start 0", "preprocess", set_rle("0 4"),
     "kaggle: train.csv, id *: token 1 of the RLE, '0', is not a start: it must be positive"),
    ("RLE with a word", "preprocess", set_rle("1 two"),
     "kaggle: train.csv, id *: token 2 of the RLE, 'two', is not a length: expected plain digits"),
    ("RLE with a length of 100 digits", "preprocess", set_rle("1 " + "9" * 100),
     f"kaggle: train.csv, id *: token 2 of the RLE, '{'9' * 21}...', is a length larger than any tile"),
    ("RLE that differs from the mask image", "preprocess", set_rle("1 1 1024 1"),
     "kaggle: the mask image of * differs from its rle_mask in train.csv; one of the two is damaged:"
     f" {REDOWNLOAD}"),
]  # fmt: skip
IMAGE_FILES: list[Row] = [
    ("truncated PNG", "preprocess", edit_member("kaggle/train.zip", "^images/", lambda old: old[:-20]),
     f"kaggle: train image *.png is not a valid PNG file (* bytes); {REDOWNLOAD}"),
    ("empty PNG", "preprocess", edit_member("kaggle/train.zip", "^images/", lambda old: b""),
     f"kaggle: train image *.png is not a valid PNG file (0 bytes); {REDOWNLOAD}"),
    ("JPEG named .png", "preprocess", replace_image("images", COLORS, ".jpg"),
     f"kaggle: train image *.png is not a valid PNG file (* bytes); {REDOWNLOAD}"),
    ("PNG of another size", "preprocess", replace_image("images", COLORS[:30]),
     "kaggle: train image *.png is 32 x 30 pixels, expected 32 x 32 (data.tile_size)."),
    ("PNG of 3,600,000,000 pixels", "preprocess", edit_member("kaggle/train.zip", "^images/", claim_huge_image),
     "kaggle: train image *.png is 60,000 x 60,000 pixels, expected 32 x 32 (data.tile_size)."),
    ("16-bit PNG", "preprocess", replace_image("images", np.dstack([GRAY] * 3)),
     "kaggle: train image *.png is not an 8-bit RGB image, as tiles are."),
    ("PNG with colors", "preprocess", replace_image("images", COLORS),
     "kaggle: train image *.png has colors; the three channels of a tile are equal."),
    ("mask with colors", "preprocess", replace_image("masks", COLORS),
     "kaggle: train mask *.png is not a grayscale image, as masks are."),
    ("mask with many gray levels", "preprocess", replace_image("masks", GRAY),
     "kaggle: train mask *.png is not a mask; expected 0 and one other value for salt."),
    ("text file as section", "segment", write("section.png", "not an image"),
     "section.png: OpenCV cannot read this image, or it is truncated; convert it to PNG or to a uint8 .npy array."),
    ("truncated PNG section", "segment", truncate("section.png"),
     "section.png: OpenCV cannot read this image, or it is truncated; convert it to PNG or to a uint8 .npy array."),
    ("section of 3,600,000,000 pixels", "segment",
     lambda: Path("section.png").write_bytes(claim_huge_image(Path("section.png").read_bytes())),
     "section.png: OpenCV cannot read this image, or it is truncated; convert it to PNG or to a uint8 .npy array."),
    ("16-bit section", "segment", lambda: cv2.imwrite("section.png", GRAY),
     "section.png: expected 8-bit pixels, found uint16; scale amplitudes to 0..255 as in the training tiles."),
    ("truncated JPEG section", "segment jpg", truncate("section.jpg", 0.9),
     "section.jpg: OpenCV cannot read this image, or it is truncated; convert it to PNG or to a uint8 .npy array."),
    ("float section", "segment npy", edit_array("section.npy", lambda old: old / 255),
     f"section.npy: expected uint8 nxn, found float64 24x48; {VALID_IMAGE}"),
    ("three-dimensional section", "segment npy", edit_array("section.npy", lambda old: old[None]),
     f"section.npy: expected uint8 nxn, found uint8 1x24x48; {VALID_IMAGE}"),
    ("section without pixels", "segment npy", edit_array("section.npy", lambda old: old[:0]),
     "section.npy: the image has no pixels; use another image."),
]  # fmt: skip
ZIP_FILES: list[Row] = [
    ("HTML page as zip", "preprocess zip", write("kaggle.zip", "<!DOCTYPE html>"),
     "kaggle.zip: not a valid zip file (File is not a zip file); download it again."),
    ("truncated zip", "preprocess zip", truncate("kaggle.zip"),
     "kaggle.zip: not a valid zip file (*); download it again."),
    ("truncated inner zip", "preprocess", truncate("kaggle/test.zip"),
     "kaggle/test.zip: not a valid zip file (*); download it again."),
    ("zip with a path traversal", "preprocess zip", add_member("kaggle.zip", "../../evil.csv"),
     f"kaggle.zip: member '../../evil.csv' has an unsafe path; {UNEXPECTED_MEMBER}"),
    ("inner zip with an absolute path", "preprocess", add_member("kaggle/test.zip", "/tmp/evil.png"),
     f"kaggle/test.zip: member '/tmp/evil.png' has an unsafe path; {UNEXPECTED_MEMBER}"),
    ("zip with a symbolic link", "preprocess zip", add_link,
     f"kaggle.zip: member 'depths.csv.zip' is a link or a device; {UNEXPECTED_MEMBER}"),
    ("encrypted zip", "preprocess zip", set_zip_flag("kaggle.zip", 1),
     f"kaggle.zip: member 'train.zip' is encrypted; {UNEXPECTED_MEMBER}"),
    ("zip with a member of 65 MiB", "preprocess zip",
     add_member("kaggle.zip", "a.csv", bytes(65 << 20), zipfile.ZIP_DEFLATED),
     "kaggle.zip: member 'a.csv' unpacks to 68,157,440 bytes, above the limit of 64 MiB; "
     f"{UNEXPECTED_MEMBER}"),
]  # fmt: skip
PIPELINE_FILES: list[Row] = [
    ("empty tiles.csv", "folds", write(TILES, ""),
     f"{TILES}: not the expected table (No columns to parse from file); {RERUN}"),
    ("tiles.csv without a depth column", "folds", substitute(TILES, "depth", "z"),
     f"{TILES}: no column 'depth', expected id, split, row, depth, coverage, blank; {RERUN}"),
    ("tiles.csv with long rows", "folds", substitute(TILES, "(True|False)$", r"\1,7", 0),
     f"{TILES}: not the expected table (a row is longer than the header); {RERUN}"),
    ("tiles.csv with a duplicate id", "folds", substitute(TILES, "^t0001", "t0000"),
     f"{TILES}: id t0000 appears twice; {RERUN}"),
    ("tiles.csv with an unknown split", "folds", substitute(TILES, "^t0001,train", "t0001,Train"),
     f"{TILES}: split of id t0001 is Train, expected train or test; {RERUN}"),
    ("tiles.csv out of order", "folds", substitute(TILES, "^t0001,train,1", "t0001,train,7"),
     f"{TILES}: expected rows 0, 1, 2, ... of the train tiles, in this order; {RERUN}"),
    ("tiles.csv with a number above int64", "folds", substitute(TILES, "^t0001,train,1", f"t0001,train,{10**20}"),
     f"{TILES}: not the expected table (a number is too large); {RERUN}"),
    ("tiles.csv with an empty depth", "folds", substitute(TILES, r"^(t0001,train,1),\d+", r"\1,"),
     f"{TILES}: depth of id t0001 is nan, expected a number; {RERUN}"),
    ("tiles.csv with an infinite depth", "folds", substitute(TILES, r"^(t0001,train,1),\d+", r"\1,-inf"),
     f"{TILES}: depth of id t0001 is -inf, expected a number; {RERUN}"),
    ("tiles.csv with a coverage above 1", "folds", substitute(TILES, r"^(t0001,train,1,\d+),[0-9.]+", r"\1,1.5"),
     f"{TILES}: coverage of id t0001 is 1.5, expected a number from 0 to 1; {RERUN}"),
    ("tiles.csv without test tiles", "submission", substitute(TILES, r"^u.*\n", "", 0),
     f"{TILES}: contains no test tiles; {RERUN}"),
    ("folds.csv of other tiles", "ensemble", substitute(FOLDS, "^t0001", "x0001"),
     f"{FOLDS}: its tiles differ from those of tiles.csv; run snakemake again with --forcerun folds."),
    ("truncated folds.csv", "train", truncate(FOLDS),
     f"{FOLDS}: * run snakemake again*"),
    ("folds.csv with a negative fold", "ensemble", substitute(FOLDS, r"^(t0001,.*),\d$", r"\1,-1"),
     f"{FOLDS}: fold of id t0001 is -1, expected 0 or more; {RERUN}"),
    ("folds.csv with a word as fold", "threshold", substitute(FOLDS, r"^(t0001,.*),\d$", r"\1,two"),
     f"{FOLDS}: not the expected table (*); {RERUN}"),
    ("folds.csv without a fold column", "predict", substitute(FOLDS, "fold$", "part"),
     f"{FOLDS}: no column 'fold', expected id, depth, coverage_class, fold; {RERUN}"),
    ("float array", "ensemble", edit_array(OOF0, lambda old: old / 255),
     f"{OOF0}: expected uint8 10x24x24, found float64 10x24x24; {RERUN}"),
    ("array of another shape", "ensemble", edit_array(OOF0, lambda old: old[:, :20]),
     f"{OOF0}: expected uint8 10x24x24, found uint8 10x20x24; {RERUN}"),
    ("truncated array", "ensemble", truncate(OOF0),
     f"{OOF0}: not a valid .npy file (*); {RERUN}"),
    ("empty array file", "ensemble", write(OOF0, b""),
     f"{OOF0}: not a valid .npy file (*); {RERUN}"),
    ("object array", "ensemble",
     lambda: np.save(OOF0, np.array([None, 1], object), allow_pickle=True),
     f"{OOF0}: not a valid .npy file (Array can't be memory-mapped: Python objects in dtype.); {RERUN}"),
    ("pickle as array", "ensemble", write(OOF0, malicious_pickle()),
     f"{OOF0}: not a valid .npy file (the magic string is not correct*); {RERUN}"),
    (".npz file as array", "ensemble", lambda: np.savez(open(OOF0, "wb"), a=np.zeros(3)),  # noqa: SIM115
     f"{OOF0}: not a valid .npy file (the magic string is not correct*); {RERUN}"),
    ("array with an invalid header", "ensemble", set_npy_header(OOF0, "-" * 9000 + "1"),
     f"{OOF0}: not a valid .npy file (*); {RERUN}"),
    ("array with a huge shape", "ensemble",
     set_npy_header(OOF0, f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 24, 24)}}"),
     f"{OOF0}: not a valid .npy file (*); {RERUN}"),
    ("masks of 0 and 255", "threshold", edit_array("data/train_masks.npy", lambda old: old * np.uint8(255)),
     f"data/train_masks.npy: expected masks of 0 and 1, found 255; {RERUN}"),
    ("masks of 0 and 7 for training", "train", edit_array("data/train_masks.npy", lambda old: old * np.uint8(7)),
     f"data/train_masks.npy: expected masks of 0 and 1, found 7; {RERUN}"),
    ("truncated threshold.json", "submission", truncate("threshold.json"),
     f"threshold.json: not valid JSON (*); {RERUN}"),
    ("threshold.json without a threshold", "submission", set_json("threshold.json", threshold=...),
     f"threshold.json: threshold is missing; {RERUN}"),
    ("threshold.json with threshold 256", "submission", set_json("threshold.json", threshold=256),
     f"threshold.json: threshold: expected less than or equal to 255, found 256; {RERUN}"),
    ("threshold.json with threshold 127.5", "submission", set_json("threshold.json", threshold=127.5),
     f"threshold.json: threshold: expected a valid integer, found 127.5; {RERUN}"),
    ("threshold.json with a huge min_area", "submission", set_json("threshold.json", min_area=10**30),
     f"threshold.json: min_area: expected less than 2147483648, found {10**30}; {RERUN}"),
    ("threshold.json with a list", "submission", write("threshold.json", "[1, 2]"),
     f"threshold.json: expected a valid dictionary or instance of ThresholdDecision, found [1, 2]; {RERUN}"),
    ("deeply nested threshold.json", "submission", write("threshold.json", "[" * 100_000),
     f"threshold.json: not valid JSON (*); {RERUN}"),
    ("threshold.json without a score", "status", set_json("threshold.json", score=...),
     f"threshold.json: score is missing; {RERUN}"),
    ("threshold.json with only a NaN score", "plot-tiles", write("threshold.json", '{"score": NaN}'),
     f"threshold.json: threshold is missing; {RERUN}"),
    ("weights.json without weights", "export", set_json("ensemble/weights.json", weights={}),
     f"ensemble/weights.json: weights: *; {RERUN}"),
    ("weights.json with a negative weight", "export", set_json("ensemble/weights.json", weights={"only": -1}),
     f"ensemble/weights.json: weights.only: expected greater than or equal to 0, found -1; {RERUN}"),
]  # fmt: skip
MODEL_FILES: list[Row] = [
    ("text file as model.pt", "predict", write(MODEL, "weights"),
     f"{MODEL}: not a valid model file; {RERUN}"),
    ("truncated model.pt", "predict", truncate(MODEL),
     f"{MODEL}: not a valid model file; {RERUN}"),
    ("malicious pickle as model.pt", "predict", write(MODEL, malicious_pickle()),
     f"{MODEL}: not a valid model file; {RERUN}"),
    ("model.pt with a malicious pickle", "predict", write(MODEL, torch_file(malicious_pickle())),
     f"{MODEL}: not a valid model file; {RERUN}"),
    ("compressed model.pt", "predict", compress_zip(MODEL),
     f"{MODEL}: not a valid model file; {RERUN}"),
    ("model.pt with another format version", "predict", edit_model_file({"format": 7}),
     f"{MODEL}: format 7, expected 1; train this fold again."),
    ("model.pt without a fold", "predict", edit_model_file({"fold": None}),
     f"{MODEL}: its weights do not match its settings (fold: expected a valid integer, found None; train this fold"
     " again); train this fold again."),
    ("model.pt with a huge tile size", "predict", edit_model_file({"tile_size": 10**12}),
     f"{MODEL}: its weights do not match its settings (tile_size: expected less than or equal to 4096,"
     " found 1000000000000; train this fold again); train this fold again."),
    ("model.pt with invalid settings", "predict",
     edit_model_file({"settings": {"architecture": "article", "epochs": 0}}),
     f"{MODEL}: its weights do not match its settings (epochs: *); train this fold again."),
    ("model.pt of another architecture", "predict",
     edit_model_file({"settings": {"architecture": "article-described"}}),
     f"{MODEL}: its weights do not match its settings (*); train this fold again."),
    ("model.pt with a weight of another shape", "predict", set_first_weight(torch.zeros(3)),
     f"{MODEL}: its weights do not match its settings (*size mismatch*); train this fold again."),
    ("model.pt with a string as weights", "predict", edit_model_file({"weights": "none"}),
     f"{MODEL}: its weights do not match its settings (*); train this fold again."),
    ("model.pt with NaN weights", "predict", set_first_weight(torch.full((16, 1, 3, 3), torch.nan)),
     f"{MODEL}: its weights contain NaN or infinite values; train this fold again."),
    ("model.pt of another fold", "predict", edit_model_file({"fold_hash": "0" * 16}),
     f"{MODEL}: its training folds differ from folds.csv; train this fold again."),
    ("text file as bundle", "segment", write("bundle.zip", "bundle"),
     f"bundle.zip: not a valid bundle (File is not a zip file); {EXPORT}"),
    ("truncated bundle", "segment", truncate("bundle.zip"),
     f"bundle.zip: not a valid bundle (*); {EXPORT}"),
    ("bundle without a manifest", "segment", lambda: zipfile.ZipFile("bundle.zip", "w").close(),
     f"bundle.zip: not a valid bundle (*bundle.json*); {EXPORT}"),
    ("bundle with an invalid JSON manifest", "segment", replace_manifest("{"),
     f"bundle.zip: not a valid bundle (*); {EXPORT}"),
    ("bundle with a list as manifest", "segment", replace_manifest("[]"),
     f"bundle.zip: expected a valid dictionary or instance of BundleManifest, found []; {EXPORT}"),
    ("bundle with another format version", "segment", edit_manifest('"format": 1', '"format": 2'),
     "bundle.zip: bundle format 2, expected 1; run `tgs-salt export` again."),
    ("bundle without a tile size", "segment", edit_manifest('"tile_size"', '"size"'),
     f"bundle.zip: tile_size is missing; {EXPORT}"),
    ("bundle with another tile size", "segment", edit_manifest('"tile_size": 24', '"tile_size": 32'),
     f"bundle.zip: only/fold0/model.pt is for tiles of 24, expected 32; {EXPORT}"),
    ("bundle with threshold 300", "segment", edit_manifest(r'"threshold": \d+', '"threshold": 300'),
     f"bundle.zip: threshold: expected less than or equal to 255, found 300; {EXPORT}"),
    ("bundle with an unknown setting", "segment", edit_manifest('"tta"', '"tta2"'),
     "bundle.zip: predict.tta2: unknown key, did you mean bundle.zip: predict.tta?"),
    ("bundle with a missing model", "segment", edit_manifest("only/fold0", "../fold0"),
     f"bundle.zip: not a valid bundle (*); {EXPORT}"),
    ("compressed bundle", "segment", compress_zip("bundle.zip"),
     f"bundle.zip: not a valid bundle (its members are compressed); {EXPORT}"),
    ("bundle with a malicious model file", "segment",
     edit_member("bundle.zip", "fold0/model.pt", lambda old: torch_file(malicious_pickle())),
     f"bundle.zip/only/fold0/model.pt: not a valid model file; {RERUN}"),
]  # fmt: skip
SUBMISSIONS: list[Row] = [
    ("empty submission", "submit", write("submission.csv", ""),
     "submission.csv: line 1 is '', expected 'id,rle_mask'."),
    ("submission with a byte order mark", "submit", substitute("submission.csv", r"\Aid", "\ufeffid"),
     "submission.csv: contains non-ASCII characters; expected id,rle_mask and numbers."),
    ("submission without its last row", "submit", substitute("submission.csv", r"^u0009.*\n", ""),
     "submission.csv: 9 rows, expected 10; id u0009 is missing."),
    ("submission with ids out of order", "submit", substitute("submission.csv", "^u0003", "u0004"),
     "submission.csv: line 5: found id 'u0004', expected 'u0003' (use the ids of the sample, in its order)."),
    ("submission with an extra row", "submit", substitute("submission.csv", r"\Z", r"u0010,\n"),
     "submission.csv: line 12: more rows than the 10 of the sample."),
    ("submission with an odd number of tokens", "submit", substitute("submission.csv", "^u0003,.*$", "u0003,1 2 9"),
     "submission.csv: line 5, id u0003: RLE has 3 numbers, the last '9'; expected pairs of start and"
     " length"),
    ("submission with adjacent runs", "submit", substitute("submission.csv", "^u0003,.*$", "u0003,1 2 3 4"),
     "submission.csv: line 5, id u0003: '1 2 3 4' is not canonical RLE; expected '1 6'."),
    ("submission with a run past the last pixel", "submit", substitute("submission.csv", "^u0003,.*$", "u0003,576 2"),
     "submission.csv: line 5, id u0003: run '576 2' (token 1 of the RLE) ends past the last pixel, 576,"
     " of a tile of 24 x 24"),
    ("folder as submission", "submit", lambda: (Path("submission.csv").unlink(), Path("submission.csv").mkdir()),
     "submission.csv: cannot be read (Is a directory); pass the path of a submission.csv."),
    ("sample without an id column", "check-submission", substitute("sample.csv", "id,", "tile,"),
     "sample.csv: no column 'id'; pass the competition's sample_submission.csv."),
    ("sample with binary data", "check-submission", write("sample.csv", bytes(range(256))),
     "sample.csv: not a CSV table (*); pass the competition's sample_submission.csv."),
]  # fmt: skip
CONFIGS: list[Row] = [
    ("invalid YAML", "config", write_config("a: [1"),
     "mine.yaml: invalid YAML: *"),
    ("YAML list", "config", write_config("- a\n"),
     "mine.yaml: expected top-level keys such as `name:` and `models:`."),
    ("YAML with binary data", "config", write("mine.yaml", b"\xff\xfe\x00\x01"),
     "mine.yaml: invalid YAML: *"),
    ("deeply nested YAML", "config", write_config("a: " + "[" * 1000),
     "mine.yaml: invalid YAML: maximum recursion depth exceeded*"),
    ("YAML with a duplicate key", "config", write_config("models: {a: {}}\nname: one\nname: two\n"),
     "mine.yaml: invalid YAML: duplicate key 'name'*line 3*"),
    ("YAML with a billion values", "config",
     write_config("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
         f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10))),
     "configuration: more than 100,000 values; remove nested aliases (*)."),
    ("unknown key", "config", write_config("models: {a: {}}\nfold: {n_splits: 3}\n"),
     "fold: unknown key, did you mean folds?"),
    ("string for a number", "config", model_config(epochs="many"),
     "models.a.epochs: expected an integer, at least 1, found 'many'."),
    ("NaN learning rate", "config", model_config(learning_rate=".nan"),
     "models.a.learning_rate: expected a number, above 0, found nan."),
    ("number of 10,000 hexadecimal digits", "config", model_config(epochs="0x" + "f" * 10_000),
     "models.a.epochs: expected an integer of at most one billion, found a number of thousands of digits."),
    ("one billion folds", "config", write_config("models: {a: {}}\nfolds: {n_splits: 1000000000}\n"),
     "folds.n_splits: expected an integer, at least 2, at most 1000, found 1000000000."),
    ("seed of 2**32", "config", model_config(seed=str(2**32)),
     "models.a.seed: expected an integer of at most one billion, found 4294967296."),
    ("name with a slash", "config", write_config("name: ../other\nmodels: {a: {}}\n"),
     f"name: expected {VALID_NAME}, found '../other'."),
    ("model name with a space", "config", write_config("models: {my model: {}}\n"),
     f"models.my model: expected a name made of {VALID_NAME}, found 'my model'."),
    ("name of 300 characters", "config", write_config(f"name: {'a' * 300}\nmodels: {{a: {{}}}}\n"),
     "name: *, found 'a*"),
    ("circular extends", "config", write_config("models: {a: {extends: b}, b: {extends: a}}"),
     "models.a.extends: a -> b -> a is circular; remove one `extends`."),
    ("circular stages", "config", write_config("models: {a: {init_from: b}, b: {teacher: a}}"),
     "models: a -> b -> a is circular; remove one init_from or teacher."),
    ("unknown loss", "config", model_config(loss="2*mse"),
     "models.a.loss: expected a sum of bce, dice, focal, lovasz, symmetric_lovasz such as '0.2*bce + lovasz',"
     " found '2*mse'."),
    ("depth channels for the article's network", "config", model_config(architecture="article", depth_channels="true"),
     "models.a.depth_channels: True requires architecture: unet, found architecture: article; remove one of them."),
    ("decoder too narrow for scse", "config",
     model_config(decoder_attention="scse", decoder_channels="[64, 32, 16, 8, 8]"),
     "models.a.decoder_channels: scse requires at least 16 channels in each block, found"
     " [64, 32, 16, 8, 8]."),
    ("input size that is not a multiple of 32", "config", model_config(input_size="112"),
     "models.a.input_size: expected a multiple of 32, found 112; change or remove it."),
    ("missing configuration file", "config", lambda: Path("mine.yaml").unlink(),
     "mine.yaml: cannot be read (No such file or directory); name a configuration file."),
]  # fmt: skip
BAD_INPUTS = [
    *KAGGLE_TABLES, *RLE_CODES, *IMAGE_FILES, *ZIP_FILES, *PIPELINE_FILES, *MODEL_FILES, *SUBMISSIONS, *CONFIGS,
]  # fmt: skip


def list_files(folder: Path) -> set[Path]:
    """Return all files except those of checkpoints, which hold the lock of a training."""
    return {path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts}


@pytest.mark.parametrize(("command", "corrupt", "message"), [pytest.param(*row[1:], id=row[0]) for row in BAD_INPUTS])
def test_bad_input_raises_its_error_message(
    workdir: Path, user: User, command: str, corrupt: Corruption, message: str
) -> None:
    corrupt()
    before = list_files(workdir)
    result = user.run(*COMMANDS[command].split(" "))
    assert result.code == 1
    assert re.fullmatch(re.escape(message).replace(r"\*", ".*"), result.error), result.error
    assert list_files(workdir) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_same_commands_accept_valid_inputs(workdir: Path, user: User, command: str) -> None:
    before = list_files(workdir)
    result = user.run(*COMMANDS[command].split(" "))
    assert result.code == 0, result.output
    writes_files = command not in ("check-submission", "submit", "status", "config")
    assert (len(list_files(workdir)) > len(before)) == writes_files


def test_table_has_at_least_100_distinct_rows() -> None:
    assert len({row[0] for row in BAD_INPUTS}) == len(BAD_INPUTS) >= 100


EQUIVALENT_TABLES = {
    "byte order mark": substitute("kaggle/depths.csv", r"\Aid", "\ufeffid"),
    "CRLF line ends": substitute("kaggle/depths.csv", "$", "\r", 0),
    "quoted ids": substitute("kaggle/depths.csv", "^([0-9a-f]+),", r'"\1",', 0),
    "blank lines": substitute("kaggle/depths.csv", "$", r"\n", 0),
    "an extra column": substitute("kaggle/depths.csv", "(.)$", r"\1,comment", 0),
    "no final newline": substitute("kaggle/depths.csv", r"\n\Z", ""),
}


@pytest.mark.parametrize("reformat", EQUIVALENT_TABLES.values(), ids=EQUIVALENT_TABLES)
def test_reformatted_table_gives_the_same_outputs(workdir: Path, user: User, reformat: Corruption) -> None:
    command = COMMANDS["preprocess"].split(" ")
    assert user.run(*command[:-1], "before").code == 0
    reformat()
    assert user.run(*command).code == 0
    for name in ("tiles.csv", "train_images.npy", "train_masks.npy", "test_images.npy"):
        assert (workdir / "before" / name).read_bytes() == (workdir / "out" / name).read_bytes()


def test_depths_may_be_negative(workdir: Path, user: User) -> None:
    substitute("kaggle/depths.csv", r",(\d+)$", r",-\1.5", 0)()
    assert user.run(*COMMANDS["preprocess"].split(" ")).code == 0
    depths = dict(line.split(",") for line in Path("kaggle/depths.csv").read_text().splitlines())
    rows = [line.split(",") for line in Path("out/tiles.csv").read_text().splitlines()[1:]]
    assert [float(row[3]) for row in rows] == [float(depths[row[0]]) for row in rows]
    assert all(float(row[3]) < 0 for row in rows)

"""Bad inputs, one a row: what is spoilt, which command reads it, and the sentence that it ends with.

A sentence is written out whole; `*` stands for what a library or the clock of a zip says. Each command ends with
code 1 and that sentence as its last line, without a traceback, runs no code of the file, and leaves no output.
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
    Spoil,
    array,
    content,
    cut,
    flags,
    header,
    member,
    more,
    pickled,
    record,
    text,
    torch_file,
)
from helpers.kaggle_user import User

OOF = [f"--oof models/only/fold{fold}/oof.npy" for fold in range(3)]
TEST = [f"--test models/only/fold{fold}/test.npy" for fold in range(3)]
TABLES = "--tiles data/tiles.csv --folds folds.csv"
IMAGES = "--images data/train_images.npy"
DATA = '{"data":{"tile_size":32,"source":"directory","directory":"x"}}'
COMMANDS = {
    "preprocess": f"preprocess --settings {DATA} --source kaggle --output out",
    "pack zip": f"preprocess --settings {DATA} --source kaggle.zip --output out",
    "folds": 'folds --settings {"folds":{"n_splits":3}} --tiles data/tiles.csv --output out/folds.csv',
    "train": 'train --settings {"model":{"architecture":"article","epochs":1,"threads":1}} --model only --fold 0 '
    f"{IMAGES} --masks data/train_masks.npy {TABLES} --output out/model.pt",
    "predict": 'predict --settings {"predict":{"backend":"eager"}} --split oof --model models/only/fold0/model.pt '
    f"{IMAGES} {TABLES} --output out/oof.npy",
    "ensemble": 'ensemble --settings {"ensemble":{},"folds":{"n_splits":3}} --models only '
    f"--masks data/train_masks.npy {TABLES} --output out {' '.join(OOF + TEST)}",
    "threshold": 'threshold --settings {"ensemble":{},"threshold":{},"folds":{"n_splits":3}} --models only '
    f"--ensemble ensemble/oof.npy --masks data/train_masks.npy {TABLES} --output out {' '.join(OOF)}",
    "submission": "submission --test ensemble/test.npy --decision threshold.json --tiles data/tiles.csv "
    "--output out/submission.csv",
    "check": "check-submission submission.csv sample.csv --tile-size 24",
    "submit": "submit --submission submission.csv --tile-size 24 --dry-run --receipt out/submitted.json",
    "status": "status .",
    "show": "plot-tiles . t0001 --output out",
    "export": "export . --output out/bundle.zip",
    "segment": "segment bundle.zip section.png --output out --format rle",
    "segment jpg": "segment bundle.zip section.jpg --output out",
    "segment npy": "segment bundle.zip section.npy --output out",
    "config": "config mine.yaml",
}  # fmt: skip

AGAIN = "delete it and run snakemake again."
FETCH = "mend it, or fetch the dataset again."
PLAIN = "expected 1 to 200 plain characters (ASCII) without commas, quotes and slashes: rename that tile."
KAGGLE = "the competition's archive has nothing like it, so none of it is used: get it from Kaggle."
TILES, FOLDS, OOF0, MODEL = "data/tiles.csv", "folds.csv", "models/only/fold0/oof.npy", "models/only/fold0/model.pt"
BRING = "bring gray pixels, height x width, scaled to 0..255."
EXPORT = "write it again with `tgs-salt export`."
NAMES = "letters, digits, '_', '-' and '.', beginning with a letter or digit"
RLE = "rle_mask$\n^([0-9a-f]+),.*$"  # the first row of train.csv


def rle(code: str) -> Spoil:
    return text("kaggle/train.csv", RLE, rf"rle_mask\n\1,{code}")


def yaml(lines: str) -> Spoil:
    return content("mine.yaml", lines)


def model(**keys: str) -> Spoil:
    return yaml("models: {a: {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}}")


def picture(kind: str, pixels: np.ndarray, suffix: str = ".png") -> Spoil:
    return member("kaggle/train.zip", f"^{kind}/", lambda old: cv2.imencode(suffix, pixels)[1].tobytes())


def weights(change: dict[str, object]) -> Spoil:
    def spoil() -> None:
        torch.save({**torch.load(MODEL, weights_only=True), **change}, MODEL)

    return spoil


def first_weight(value: torch.Tensor) -> Spoil:
    def spoil() -> None:
        saved = torch.load(MODEL, weights_only=True)
        saved["weights"][next(iter(saved["weights"]))] = value
        torch.save(saved, MODEL)

    return spoil


def packed(path: str) -> Spoil:
    """The same zip, compressed: its members may be of any size."""

    def spoil() -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, inside in members.items():
                archive.writestr(name, inside + bytes(1 << 24) * name.endswith("data/0"))

    return spoil


def link() -> None:
    entry = zipfile.ZipInfo("depths.csv.zip")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("kaggle.zip", "a") as archive:
        archive.writestr(entry, "/etc/passwd")


def many_pixels(old: bytes) -> bytes:
    return old[:16] + struct.pack(">II", 60_000, 60_000) + old[24:]


def index(new: str) -> Spoil:
    return member("bundle.zip", r"bundle\.json", lambda old: new.encode())


def in_index(pattern: str, new: str) -> Spoil:
    def change(old: bytes) -> bytes:
        changed = re.sub(pattern.encode(), new.encode(), old, count=1)
        assert changed != old
        return changed

    return member("bundle.zip", r"bundle\.json", change)


GRAY = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
COLORS = np.dstack([GRAY % 7, GRAY % 5, GRAY % 3]).astype(np.uint8)
KAGGLE_TABLES: list[tuple[str, str, Spoil, str]] = [
    ("train.csv of no bytes", "preprocess", content("kaggle/train.csv", ""),
     "kaggle: train.csv cannot be read (No columns to parse from file); expected a csv with id and rle_mask."),
    ("train.csv of other bytes", "preprocess", content("kaggle/train.csv", bytes(range(256))),
     "kaggle: train.csv cannot be read (*); expected a csv with id and rle_mask."),
    ("train.csv in UTF-16", "preprocess", content("kaggle/train.csv", "id,rle_mask\na,1 1\n".encode("utf-16")),
     "kaggle: train.csv cannot be read (*); expected a csv with id and rle_mask."),
    ("sample_submission.csv without rows", "preprocess", content("kaggle/sample_submission.csv", "id,rle_mask\n"),
     f"kaggle: sample_submission.csv has no rows; {FETCH}"),
    ("depths.csv without z", "preprocess", text("kaggle/depths.csv", "id,z", "id,depth"),
     "kaggle: depths.csv has no column 'z'; expected id and z."),
    ("depths.csv with z twice", "preprocess", text("kaggle/depths.csv", "id,z", "id,z,z"),
     "kaggle: depths.csv cannot be read (column 'z' is there twice); expected a csv with id and z."),
    ("depths.csv with a comma at the end of each row", "preprocess", text("kaggle/depths.csv", r"(\d)$", r"\1,", 0),
     "kaggle: depths.csv cannot be read (a row is longer than the header); expected a csv with id and z."),
    ("depths.csv with one row too long", "preprocess", text("kaggle/depths.csv", r"\n(.*)\n(.*)$", r"\n\1\n\2,7"),
     "kaggle: depths.csv cannot be read (*Expected 2 fields in line 3, saw 3); expected a csv with id and z."),
    ("depths.csv with an open quote", "preprocess", text("kaggle/depths.csv", r"\n(.*)$", r'\n"\1'),
     "kaggle: depths.csv cannot be read (*EOF inside string*); expected a csv with id and z."),
    ("a depth that is NaN", "preprocess", text("kaggle/depths.csv", r",\d+$", ",NaN"),
     "kaggle: depths.csv has z 'NaN' for id *; a number is expected."),
    ("a depth beyond all numbers", "preprocess", text("kaggle/depths.csv", r",\d+$", ",1e999"),
     "kaggle: depths.csv has z '1e999' for id *; a number is expected."),
    ("a depth left out", "preprocess", text("kaggle/depths.csv", r",\d+$", ","),
     "kaggle: depths.csv has z '' for id *; a number is expected."),
    ("an id without a depth", "preprocess", text("kaggle/depths.csv", r"\n.*$", ""),
     f"kaggle: depths.csv has no depth for id * (1 such in all); {FETCH}"),
    ("an id twice", "preprocess", text("kaggle/train.csv", r"\n(.*)$", r"\n\1\n\1"),
     "kaggle: train.csv has id * twice; each tile has one row."),
    ("an id without a picture", "preprocess", text("kaggle/train.csv", "$", r"\nunknown,"),
     f"kaggle: 1 of 25 train images are missing in train.zip and test.zip, such as unknown.png; {FETCH}"),
    ("an id that leads out of the folder", "preprocess", text("kaggle/train.csv", "$", r"\n../../evil,"),
     f"kaggle: train.csv has id '../../evil'; {PLAIN}"),
    ("an id with a comma", "preprocess", text("kaggle/train.csv", "$", r'\n"a,b",'),
     f"kaggle: train.csv has id 'a,b'; {PLAIN}"),
    ("an id that a submission cannot hold", "preprocess", text("kaggle/depths.csv", "$", r"\nsäll,7"),
     f"kaggle: depths.csv has id 'säll'; {PLAIN}"),
    ("an id of a mebibyte", "preprocess", text("kaggle/train.csv", "$", r"\n" + "a" * (1 << 20) + ","),
     f"kaggle: train.csv has id '{'a' * 40}'; {PLAIN}"),
]  # fmt: skip
RUNS: list[tuple[str, str, Spoil, str]] = [
    ("runs: odd", "preprocess", rle("1 2 3"),
     "kaggle: train.csv, id *: run-length text has 3 numbers, the last '3'; expected pairs of start and length"),
    ("runs: overlapping", "preprocess", rle("1 5 3 2"),
     "kaggle: train.csv, id *: run '3 2' (token 3 of run-length text) overlaps the run '1 5' that it follows"),
    ("runs: not sorted", "preprocess", rle("9 2 3 2"),
     "kaggle: train.csv, id *: run '3 2' (token 3 of run-length text) begins before the run '9 2' that it follows;"
     " sort the runs"),
    ("runs: beyond the tile", "preprocess", rle("1024 2"),
     "kaggle: train.csv, id *: run '1024 2' (token 1 of run-length text) ends past the last pixel, 1024,"
     " of a tile of 32 x 32"),
    ("runs: of no length", "preprocess", rle("3 0"),
     "kaggle: train.csv, id *: token 2 of run-length text, '0', is not a length: it must be positive"),
    ("runs: of negative length", "preprocess", rle("3 -4"),
     "kaggle: train.csv, id *: token 2 of run-length text, '-4', is not a length: it must be positive"),
    ("runs: from pixel 0", "preprocess", rle("0 4"),
     "kaggle: train.csv, id *: token 1 of run-length text, '0', is not a start: it must be positive"),
    ("runs: in words", "preprocess", rle("1 two"),
     "kaggle: train.csv, id *: token 2 of run-length text, 'two', is not a length: expected plain digits"),
    ("runs: of a hundred digits", "preprocess", rle("1 " + "9" * 100),
     f"kaggle: train.csv, id *: token 2 of run-length text, '{'9' * 21}...', is a length beyond any tile"),
    ("runs: of another mask", "preprocess", rle("1 1 1024 1"),
     "kaggle: the mask picture of * disagrees with its rle_mask in train.csv; one of the two is damaged:"
     f" {FETCH}"),
]  # fmt: skip
PICTURES: list[tuple[str, str, Spoil, str]] = [
    ("PNG cut short", "preprocess", member("kaggle/train.zip", "^images/", lambda old: old[:-20]),
     f"kaggle: train image *.png is not a whole PNG (* bytes); {FETCH}"),
    ("PNG of no bytes", "preprocess", member("kaggle/train.zip", "^images/", lambda old: b""),
     f"kaggle: train image *.png is not a whole PNG (0 bytes); {FETCH}"),
    ("JPEG called PNG", "preprocess", picture("images", COLORS, ".jpg"),
     f"kaggle: train image *.png is not a whole PNG (* bytes); {FETCH}"),
    ("PNG of another size", "preprocess", picture("images", COLORS[:30]),
     "kaggle: train image *.png is 32 x 30 pixels, expected 32 x 32 (data.tile_size)."),
    ("PNG of 3,600,000,000 pixels", "preprocess", member("kaggle/train.zip", "^images/", many_pixels),
     "kaggle: train image *.png is 60,000 x 60,000 pixels, expected 32 x 32 (data.tile_size)."),
    ("PNG of 16 bits", "preprocess", picture("images", np.dstack([GRAY] * 3)),
     "kaggle: train image *.png is not an 8-bit RGB picture, as tiles are."),
    ("PNG with colors", "preprocess", picture("images", COLORS),
     "kaggle: train image *.png has colors; the three channels of a tile are equal."),
    ("mask with colors", "preprocess", picture("masks", COLORS),
     "kaggle: train mask *.png is not a gray picture, as masks are."),
    ("mask of many grays", "preprocess", picture("masks", GRAY),
     "kaggle: train mask *.png is not a mask: a mask has 0 and one value for salt."),
    ("section that is text", "segment", content("section.png", "no picture"),
     "section.png: not a picture that OpenCV reads, or not a whole one; bring it as PNG, or as a uint8 .npy array."),
    ("section cut short", "segment", cut("section.png"),
     "section.png: not a picture that OpenCV reads, or not a whole one; bring it as PNG, or as a uint8 .npy array."),
    ("section of 3,600,000,000 pixels", "segment",
     lambda: Path("section.png").write_bytes(many_pixels(Path("section.png").read_bytes())),
     "section.png: not a picture that OpenCV reads, or not a whole one; bring it as PNG, or as a uint8 .npy array."),
    ("section of 16 bits", "segment", lambda: cv2.imwrite("section.png", GRAY),
     "section.png: its pixels are uint16, expected 8 bits; scale amplitudes to 0..255 as in the training tiles."),
    ("JPEG section cut short", "segment jpg", cut("section.jpg", 0.9),
     "section.jpg: not a picture that OpenCV reads, or not a whole one; bring it as PNG, or as a uint8 .npy array."),
    ("section of floats", "segment npy", array("section.npy", lambda old: old / 255),
     f"section.npy: expected uint8 nxn, found float64 24x48; {BRING}"),
    ("section of three axes", "segment npy", array("section.npy", lambda old: old[None]),
     f"section.npy: expected uint8 nxn, found uint8 1x24x48; {BRING}"),
    ("section of no pixels", "segment npy", array("section.npy", lambda old: old[:0]),
     "section.npy: has no pixels; bring another picture."),
]  # fmt: skip
ZIPS: list[tuple[str, str, Spoil, str]] = [
    ("zip that is none", "pack zip", content("kaggle.zip", "<!DOCTYPE html>"),
     "kaggle.zip: not a whole zip (File is not a zip file); fetch it again."),
    ("zip cut short", "pack zip", cut("kaggle.zip"),
     "kaggle.zip: not a whole zip (*); fetch it again."),
    ("inner zip cut short", "preprocess", cut("kaggle/test.zip"),
     "kaggle/test.zip: not a whole zip (*); fetch it again."),
    ("zip that leads out of its folder", "pack zip", more("kaggle.zip", "../../evil.csv"),
     f"kaggle.zip: member '../../evil.csv' has a name that may lead out of the archive; {KAGGLE}"),
    ("inner zip that leads out of its folder", "preprocess", more("kaggle/test.zip", "/tmp/evil.png"),
     f"kaggle/test.zip: member '/tmp/evil.png' has a name that may lead out of the archive; {KAGGLE}"),
    ("zip with a link", "pack zip", link,
     f"kaggle.zip: member 'depths.csv.zip' is a link or a device; {KAGGLE}"),
    ("zip with a password", "pack zip", flags("kaggle.zip", 1),
     f"kaggle.zip: member 'train.zip' is encrypted; {KAGGLE}"),
    ("zip that unpacks to a lot", "pack zip", more("kaggle.zip", "a.csv", bytes(65 << 20), zipfile.ZIP_DEFLATED),
     "kaggle.zip: member 'a.csv' would be 68,157,440 bytes, more than the 64 MiB that one may have; "
     f"{KAGGLE}"),
]  # fmt: skip
STEPS: list[tuple[str, str, Spoil, str]] = [
    ("tiles.csv of no bytes", "folds", content(TILES, ""),
     f"{TILES}: not the expected table (No columns to parse from file); {AGAIN}"),
    ("tiles.csv without depths", "folds", text(TILES, "depth", "z"),
     f"{TILES}: no column 'depth'; expected id, split, row, depth, coverage, blank."),
    ("tiles.csv with longer rows", "folds", text(TILES, "(True|False)$", r"\1,7", 0),
     f"{TILES}: not the expected table (a row is longer than the header); {AGAIN}"),
    ("tiles.csv with an id twice", "folds", text(TILES, "^t0001", "t0000"),
     f"{TILES}: id t0000 is there twice; leave one."),
    ("tiles.csv with another split", "folds", text(TILES, "^t0001,train", "t0001,Train"),
     f"{TILES}: split of id t0001 is Train, expected train or test; {AGAIN}"),
    ("tiles.csv out of order", "folds", text(TILES, "^t0001,train,1", "t0001,train,7"),
     f"{TILES}: rows of the train tiles are not 0, 1, 2, ...; {AGAIN}"),
    ("tiles.csv with a number too large", "folds", text(TILES, "^t0001,train,1", f"t0001,train,{10**20}"),
     f"{TILES}: not the expected table (a number is too large); {AGAIN}"),
    ("tiles.csv with a depth left out", "folds", text(TILES, r"^(t0001,train,1),\d+", r"\1,"),
     f"{TILES}: depth of id t0001 is nan, expected a number; {AGAIN}"),
    ("tiles.csv with an endless depth", "folds", text(TILES, r"^(t0001,train,1),\d+", r"\1,-inf"),
     f"{TILES}: depth of id t0001 is -inf, expected a number; {AGAIN}"),
    ("tiles.csv with salt in more than all", "folds", text(TILES, r"^(t0001,train,1,\d+),[0-9.]+", r"\1,1.5"),
     f"{TILES}: coverage of id t0001 is 1.5, expected a share from 0 to 1; {AGAIN}"),
    ("tiles.csv without test tiles", "submission", text(TILES, r"^u.*\n", "", 0),
     f"{TILES}: has no test tiles; {AGAIN}"),
    ("folds.csv of other tiles", "ensemble", text(FOLDS, "^t0001", "x0001"),
     f"{FOLDS}: its tiles are not those of tiles.csv; run snakemake again with --forcerun folds."),
    ("folds.csv cut short", "train", cut(FOLDS),
     f"{FOLDS}: * run snakemake again*"),
    ("folds.csv with a negative fold", "ensemble", text(FOLDS, r"^(t0001,.*),\d$", r"\1,-1"),
     f"{FOLDS}: fold of id t0001 is -1, expected 0 or more; {AGAIN}"),
    ("folds.csv with a fold in words", "threshold", text(FOLDS, r"^(t0001,.*),\d$", r"\1,two"),
     f"{FOLDS}: not the expected table (*); {AGAIN}"),
    ("folds.csv without folds", "predict", text(FOLDS, "fold$", "part"),
     f"{FOLDS}: no column 'fold'; expected id, depth, coverage_class, fold."),
    ("array of floats", "ensemble", array(OOF0, lambda old: old / 255),
     f"{OOF0}: expected uint8 10x24x24, found float64 10x24x24; {AGAIN}"),
    ("array of another shape", "ensemble", array(OOF0, lambda old: old[:, :20]),
     f"{OOF0}: expected uint8 10x24x24, found uint8 10x20x24; {AGAIN}"),
    ("array cut short", "ensemble", cut(OOF0),
     f"{OOF0}: not a whole .npy array (*); {AGAIN}"),
    ("array of no bytes", "ensemble", content(OOF0, b""),
     f"{OOF0}: not a whole .npy array (*); {AGAIN}"),
    ("array of objects", "ensemble",
     lambda: np.save(OOF0, np.array([None, 1], object), allow_pickle=True),
     f"{OOF0}: not a whole .npy array (Array can't be memory-mapped: Python objects in dtype.); {AGAIN}"),
    ("array that is a pickle", "ensemble", content(OOF0, pickled()),
     f"{OOF0}: not a whole .npy array (the magic string is not correct*); {AGAIN}"),
    ("array that is a zip of arrays", "ensemble", lambda: np.savez(open(OOF0, "wb"), a=np.zeros(3)),  # noqa: SIM115
     f"{OOF0}: not a whole .npy array (the magic string is not correct*); {AGAIN}"),
    ("array with a header that is no header", "ensemble", header(OOF0, "-" * 9000 + "1"),
     f"{OOF0}: not a whole .npy array (*); {AGAIN}"),
    ("array of more bytes than there are", "ensemble",
     header(OOF0, f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 24, 24)}}"),
     f"{OOF0}: not a whole .npy array (*); {AGAIN}"),
    ("masks of 0 and 255", "threshold", array("data/train_masks.npy", lambda old: old * np.uint8(255)),
     f"data/train_masks.npy: a mask has 0 and 1, found 255; {AGAIN}"),
    ("masks of 0 and 7 to learn from", "train", array("data/train_masks.npy", lambda old: old * np.uint8(7)),
     f"data/train_masks.npy: a mask has 0 and 1, found 7; {AGAIN}"),
    ("threshold.json cut short", "submission", cut("threshold.json"),
     f"threshold.json: not JSON (*); {AGAIN}"),
    ("threshold.json without a threshold", "submission", record("threshold.json", threshold=...),
     f"threshold.json: threshold is missing; {AGAIN}"),
    ("threshold.json beyond a byte", "submission", record("threshold.json", threshold=256),
     f"threshold.json: threshold: expected less than or equal to 255, found 256; {AGAIN}"),
    ("threshold.json of half a byte", "submission", record("threshold.json", threshold=127.5),
     f"threshold.json: threshold: expected a valid integer, found 127.5; {AGAIN}"),
    ("threshold.json with an area beyond all tiles", "submission", record("threshold.json", min_area=10**30),
     f"threshold.json: min_area: expected less than 2147483648, found {10**30}; {AGAIN}"),
    ("threshold.json that is a list", "submission", content("threshold.json", "[1, 2]"),
     f"threshold.json: expected a valid dictionary or instance of ThresholdDecision, found [1, 2]; {AGAIN}"),
    ("threshold.json nested without end", "submission", content("threshold.json", "[" * 100_000),
     f"threshold.json: not JSON (*); {AGAIN}"),
    ("threshold.json without its score", "status", record("threshold.json", score=...),
     f"threshold.json: score is missing; {AGAIN}"),
    ("threshold.json with a score that is no number", "show", content("threshold.json", '{"score": NaN}'),
     f"threshold.json: threshold is missing; {AGAIN}"),
    ("weights.json without votes", "export", record("ensemble/weights.json", weights={}),
     f"ensemble/weights.json: weights: *; {AGAIN}"),
    ("weights.json with a negative vote", "export", record("ensemble/weights.json", weights={"only": -1}),
     f"ensemble/weights.json: weights.only: expected greater than or equal to 0, found -1; {AGAIN}"),
]  # fmt: skip
MODELS: list[tuple[str, str, Spoil, str]] = [
    ("model.pt that is text", "predict", content(MODEL, "weights"),
     f"{MODEL}: not a whole model file; {AGAIN}"),
    ("model.pt cut short", "predict", cut(MODEL),
     f"{MODEL}: not a whole model file; {AGAIN}"),
    ("model.pt that is a pickle with code", "predict", content(MODEL, pickled()),
     f"{MODEL}: not a whole model file; {AGAIN}"),
    ("model.pt with code in its pickle", "predict", content(MODEL, torch_file(pickled())),
     f"{MODEL}: not a whole model file; {AGAIN}"),
    ("model.pt compressed", "predict", packed(MODEL),
     f"{MODEL}: not a whole model file; {AGAIN}"),
    ("model.pt of another format", "predict", weights({"format": 7}),
     f"{MODEL}: format 7, expected 1; train this fold again."),
    ("model.pt without a fold", "predict", weights({"fold": None}),
     f"{MODEL}: its weights and settings do not fit (fold: expected a valid integer, found None; train this fold"
     " again); train this fold again."),
    ("model.pt for tiles without end", "predict", weights({"tile_size": 10**12}),
     f"{MODEL}: its weights and settings do not fit (tile_size: expected less than or equal to 4096,"
     " found 1000000000000; train this fold again); train this fold again."),
    ("model.pt with other settings", "predict", weights({"settings": {"architecture": "article", "epochs": 0}}),
     f"{MODEL}: its weights and settings do not fit (epochs: *); train this fold again."),
    ("model.pt of another network", "predict", weights({"settings": {"architecture": "article-described"}}),
     f"{MODEL}: its weights and settings do not fit (*); train this fold again."),
    ("model.pt with a weight of another shape", "predict", first_weight(torch.zeros(3)),
     f"{MODEL}: its weights and settings do not fit (*size mismatch*); train this fold again."),
    ("model.pt with a weight that is a text", "predict", weights({"weights": "none"}),
     f"{MODEL}: its weights and settings do not fit (*); train this fold again."),
    ("model.pt with a weight that is no number", "predict", first_weight(torch.full((16, 1, 3, 3), torch.nan)),
     f"{MODEL}: some of its weights are no numbers; train this fold again."),
    ("model.pt of another fold", "predict", weights({"fold_hash": "0" * 16}),
     f"{MODEL}: was trained with other folds than folds.csv has now; train this fold again."),
    ("bundle that is no zip", "segment", content("bundle.zip", "bundle"),
     f"bundle.zip: not a whole bundle (File is not a zip file); {EXPORT}"),
    ("bundle cut short", "segment", cut("bundle.zip"),
     f"bundle.zip: not a whole bundle (*); {EXPORT}"),
    ("bundle without an index", "segment", lambda: zipfile.ZipFile("bundle.zip", "w").close(),
     f"bundle.zip: not a whole bundle (*bundle.json*); {EXPORT}"),
    ("bundle with an index that is no JSON", "segment", index("{"),
     f"bundle.zip: not a whole bundle (*); {EXPORT}"),
    ("bundle with an index that is a list", "segment", index("[]"),
     f"bundle.zip: expected a valid dictionary or instance of BundleManifest, found []; {EXPORT}"),
    ("bundle of another format", "segment", in_index('"format": 1', '"format": 2'),
     "bundle.zip: bundle format 2, expected 1; export it again."),
    ("bundle without a tile size", "segment", in_index('"tile_size"', '"size"'),
     f"bundle.zip: tile_size is missing; {EXPORT}"),
    ("bundle for other tiles", "segment", in_index('"tile_size": 24', '"tile_size": 32'),
     f"bundle.zip: only/fold0/model.pt is for tiles of 24, expected 32; {EXPORT}"),
    ("bundle beyond a byte", "segment", in_index(r'"threshold": \d+', '"threshold": 300'),
     f"bundle.zip: threshold: expected less than or equal to 255, found 300; {EXPORT}"),
    ("bundle with unknown settings", "segment", in_index('"tta"', '"tta2"'),
     "bundle.zip: predict.tta2: unknown key, did you mean bundle.zip: predict.tta?"),
    ("bundle with a voter that is not there", "segment", in_index("only/fold0", "../fold0"),
     f"bundle.zip: not a whole bundle (*); {EXPORT}"),
    ("bundle compressed", "segment", packed("bundle.zip"),
     f"bundle.zip: not a whole bundle (its members are compressed); {EXPORT}"),
    ("bundle with code in a voter", "segment",
     member("bundle.zip", "fold0/model.pt", lambda old: torch_file(pickled())),
     f"bundle.zip/only/fold0/model.pt: not a whole model file; {AGAIN}"),
]  # fmt: skip
SUBMISSIONS: list[tuple[str, str, Spoil, str]] = [
    ("submission of no bytes", "submit", content("submission.csv", ""),
     "submission.csv: line 1 is '', expected 'id,rle_mask'."),
    ("submission with a byte order mark", "submit", text("submission.csv", r"\Aid", "\ufeffid"),
     "submission.csv: holds characters that are not ASCII; expected id,rle_mask and numbers."),
    ("submission without its last row", "submit", text("submission.csv", r"^u0009.*\n", ""),
     "submission.csv: 9 rows, expected 10; id u0009 is missing."),
    ("submission in another order", "submit", text("submission.csv", "^u0003", "u0004"),
     "submission.csv: line 5: found id 'u0004', expected 'u0003' (the sample's ids in the sample's order)."),
    ("submission with a row too many", "submit", text("submission.csv", r"\Z", r"u0010,\n"),
     "submission.csv: line 12: more rows than the 10 of the sample."),
    ("submission with half a run", "submit", text("submission.csv", "^u0003,.*$", "u0003,1 2 9"),
     "submission.csv: line 5, id u0003: run-length text has 3 numbers, the last '9'; expected pairs of start and"
     " length"),
    ("submission with touching runs", "submit", text("submission.csv", "^u0003,.*$", "u0003,1 2 3 4"),
     "submission.csv: line 5, id u0003: '1 2 3 4' is not the run-length code of its mask, which is '1 6'."),
    ("submission beyond the tile", "submit", text("submission.csv", "^u0003,.*$", "u0003,576 2"),
     "submission.csv: line 5, id u0003: run '576 2' (token 1 of run-length text) ends past the last pixel, 576,"
     " of a tile of 24 x 24"),
    ("submission that is a folder", "submit", lambda: (Path("submission.csv").unlink(), Path("submission.csv").mkdir()),
     "submission.csv: cannot be read (Is a directory); name a submission.csv."),
    ("sample without ids", "check", text("sample.csv", "id,", "tile,"),
     "sample.csv: no column 'id'; name the competition's sample_submission.csv."),
    ("sample of other bytes", "check", content("sample.csv", bytes(range(256))),
     "sample.csv: not a csv table (*); name the competition's sample_submission.csv."),
]  # fmt: skip
SETTINGS: list[tuple[str, str, Spoil, str]] = [
    ("YAML that is none", "config", yaml("a: [1"),
     "mine.yaml: not YAML: *"),
    ("YAML that is a list", "config", yaml("- a\n"),
     "mine.yaml: expected keys such as `name:` and `models:` at the top."),
    ("YAML of other bytes", "config", content("mine.yaml", b"\xff\xfe\x00\x01"),
     "mine.yaml: not YAML: *"),
    ("YAML nested without end", "config", yaml("a: " + "[" * 1000),
     "mine.yaml: not YAML: maximum recursion depth exceeded*"),
    ("YAML with a key twice", "config", yaml("models: {a: {}}\nname: one\nname: two\n"),
     "mine.yaml: not YAML: 'name' is there twice*line 3*"),
    ("YAML of a billion values", "config",
     yaml("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
         f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10))),
     "configuration: more than 100,000 values; take out aliases (*) within aliases."),
    ("unknown key", "config", yaml("models: {a: {}}\nfold: {n_splits: 3}\n"),
     "fold: unknown key, did you mean folds?"),
    ("a text for a number", "config", model(epochs="many"),
     "models.a.epochs: expected a whole number, at least 1, found 'many'."),
    ("a rate that is no number", "config", model(learning_rate=".nan"),
     "models.a.learning_rate: expected a number, above 0, found nan."),
    ("a number of ten thousand digits", "config", model(epochs="0x" + "f" * 10_000),
     "models.a.epochs: a whole number up to a billion is expected, found a number of thousands of digits."),
    ("a billion folds", "config", yaml("models: {a: {}}\nfolds: {n_splits: 1000000000}\n"),
     "folds.n_splits: expected a whole number, at least 2, at most 1000, found 1000000000."),
    ("a seed that no library takes", "config", model(seed=str(2**32)),
     "models.a.seed: a whole number up to a billion is expected, found 4294967296."),
    ("a name with a slash", "config", yaml("name: ../other\nmodels: {a: {}}\n"),
     f"name: expected {NAMES}, found '../other'."),
    ("a model's name with a space", "config", yaml("models: {my model: {}}\n"),
     f"models.my model: expected a name of {NAMES}, found 'my model'."),
    ("a name that no file can have", "config", yaml(f"name: {'a' * 300}\nmodels: {{a: {{}}}}\n"),
     "name: *, found 'a*"),
    ("models that are like each other", "config", yaml("models: {a: {extends: b}, b: {extends: a}}"),
     "models.a.extends: a -> b -> a is a circle."),
    ("stages in a circle", "config", yaml("models: {a: {init_from: b}, b: {teacher: a}}"),
     "models: a -> b -> a is a circle; a stage can only follow another."),
    ("a loss that is none", "config", model(loss="2*mse"),
     "models.a.loss: a sum of bce, dice, focal, lovasz, symmetric_lovasz such as '0.2*bce + lovasz' is expected,"
     " found '2*mse'."),
    ("a network without channels", "config", model(architecture="article", depth_channels="true"),
     "models.a.depth_channels: True is for architecture: unet, found architecture: article; drop one of them."),
    ("a decoder too narrow", "config", model(decoder_attention="scse", decoder_channels="[64, 32, 16, 8, 8]"),
     "models.a.decoder_channels: scse squeezes to a sixteenth, so widths of at least 16 are needed, found"
     " [64, 32, 16, 8, 8]."),
    ("an input that is no multiple of 32", "config", model(input_size="112"),
     "models.a.input_size: a multiple of 32 is expected, found 112; change it or drop it."),
    ("a file that is not there", "config", lambda: Path("mine.yaml").unlink(),
     "mine.yaml: cannot be read (No such file or directory); name a configuration file."),
]  # fmt: skip
BAD = [*KAGGLE_TABLES, *RUNS, *PICTURES, *ZIPS, *STEPS, *MODELS, *SUBMISSIONS, *SETTINGS]


def listing(folder: Path) -> set[Path]:
    """All files; the lock of a training is none of its outputs."""
    return {path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts}


@pytest.mark.parametrize(("command", "spoil", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_a_bad_input_ends_with_its_sentence(place: Path, user: User, command: str, spoil: Spoil, sentence: str) -> None:
    spoil()
    before = listing(place)
    ended = user.types(*COMMANDS[command].split(" "))
    assert ended.code == 1
    assert re.fullmatch(re.escape(sentence).replace(r"\*", ".*"), ended.error), ended.error
    assert listing(place) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_commands_take_what_is_not_spoilt(place: Path, user: User, command: str) -> None:
    before = listing(place)
    ended = user.types(*COMMANDS[command].split(" "))
    assert ended.code == 0, ended.said
    assert (len(listing(place)) > len(before)) == (command not in ("check", "submit", "status", "config"))


def test_there_are_enough_of_them() -> None:
    assert len({row[0] for row in BAD}) == len(BAD) >= 100


FINE = {
    "byte order mark": text("kaggle/depths.csv", r"\Aid", "\ufeffid"),
    "Windows line ends": text("kaggle/depths.csv", "$", "\r", 0),
    "quotes": text("kaggle/depths.csv", "^([0-9a-f]+),", r'"\1",', 0),
    "blank lines": text("kaggle/depths.csv", "$", r"\n", 0),
    "one column more": text("kaggle/depths.csv", "(.)$", r"\1,by hand", 0),
    "no line end at the end": text("kaggle/depths.csv", r"\n\Z", ""),
}


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in FINE.items()])
def test_the_same_table_in_other_words_is_the_same(place: Path, user: User, spoil: Spoil) -> None:
    command = COMMANDS["preprocess"].split(" ")
    assert user.types(*command[:-1], "before").code == 0
    spoil()
    assert user.types(*command).code == 0
    for name in ("tiles.csv", "train_images.npy", "train_masks.npy", "test_images.npy"):
        assert (place / "before" / name).read_bytes() == (place / "out" / name).read_bytes()


def test_depths_may_be_negative(place: Path, user: User) -> None:
    text("kaggle/depths.csv", r",(\d+)$", r",-\1.5", 0)()
    assert user.types(*COMMANDS["preprocess"].split(" ")).code == 0
    depths = dict(line.split(",") for line in Path("kaggle/depths.csv").read_text().splitlines())
    rows = [line.split(",") for line in Path("out/tiles.csv").read_text().splitlines()[1:]]
    assert [float(row[3]) for row in rows] == [float(depths[row[0]]) for row in rows]
    assert all(float(row[3]) < 0 for row in rows)

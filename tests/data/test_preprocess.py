"""Arrays and tiles.csv equal those of an independent reader; each bad dataset raises one clear error."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import error_message, tgs_salt
from helpers.datasets import extract_zips, make_dataset, read_zip, rewrite_zip
from PIL import Image

from tgs_salt.data.preprocess import preprocess
from tgs_salt.data.tiles import read_tiles
from tgs_salt.errors import UserError
from tgs_salt.settings import Data

ANY = Data(source="directory", directory="anywhere")


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def rewrite_rows(path: Path, change: Callable[[list[dict[str, str]]], object]) -> None:
    rows = rows_of(path)
    change(rows)
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def ids_of(path: Path) -> list[str]:
    return [row["id"] for row in rows_of(path)]


def encode_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decode_png(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


# --- output


@pytest.mark.parametrize(("size", "train", "test"), [(101, 60, 12), (48, 20, 30), (128, 8, 4)])
def test_arrays_and_table_equal_those_of_an_independent_reader(
    tmp_path: Path, size: int, train: int, test: int
) -> None:
    dataset = make_dataset(tmp_path / "data", train_tiles=train, test_tiles=test, tile_size=size, seed=size)
    # A depth can be a fraction, and a tile of any constant gray value is blank.
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[0].update(z="123.25"))
    gray_id = ids_of(dataset / "sample_submission.csv")[1]
    rewrite_zip(dataset / "test.zip", {f"images/{gray_id}.png": encode_png(np.full((size, size, 3), 77, np.uint8))})
    preprocess(dataset, tmp_path / "output", Data(source="directory", directory="x", tile_size=size), threads=3)

    train_files = read_zip(dataset / "train.zip")
    test_files = read_zip(dataset / "test.zip")
    images, masks, test_images = (
        np.load(tmp_path / "output" / f"{name}.npy") for name in ("train_images", "train_masks", "test_images")
    )
    assert {array.dtype for array in (images, masks, test_images)} == {np.dtype(np.uint8)}
    assert images.shape == masks.shape == (train, size, size) and test_images.shape == (test, size, size)

    depths = {row["id"]: float(row["z"]) for row in rows_of(dataset / "depths.csv")}
    expected = []
    for row, tile in enumerate(ids_of(dataset / "train.csv")):
        image, mask = decode_png(train_files[f"images/{tile}.png"]), decode_png(train_files[f"masks/{tile}.png"]) > 0
        assert np.array_equal(images[row], image[..., 2])
        assert np.array_equal(masks[row], mask), "1 for salt, at any bit depth"
        expected.append((tile, "train", row, depths[tile], mask.sum() / size**2, len(np.unique(image)) == 1))
    for row, tile in enumerate(ids_of(dataset / "sample_submission.csv")):
        image = decode_png(test_files[f"images/{tile}.png"])
        assert np.array_equal(test_images[row], image[..., 1])
        expected.append((tile, "test", row, depths[tile], None, len(np.unique(image)) == 1))

    table = rows_of(tmp_path / "output" / "tiles.csv")
    result = [
        (
            row["id"], row["split"], int(row["row"]), float(row["depth"]),
            float(row["coverage"]) if row["coverage"] else None, {"True": True, "False": False}[row["blank"]],
        )
        for row in table
    ]  # fmt: skip
    assert result == expected
    assert sum(row[5] for row in expected) >= 1 + (train >= 60), "the test needs blank tiles"
    assert {row[4] == 0 for row in expected if row[1] == "train"} == {True, False}

    tiles = read_tiles(tmp_path / "output" / "tiles.csv")
    assert list(tiles.itertuples(index=False, name=None))[:train] == expected[:train]
    assert tiles["coverage"].isna().sum() == test
    assert list(read_tiles(tmp_path / "output" / "tiles.csv", "test")["id"]) == [row[0] for row in expected[train:]]


def test_rows_have_the_order_of_the_tables(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    for name in ("train.csv", "sample_submission.csv"):
        rewrite_rows(dataset / name, lambda rows: rows.sort(key=lambda row: row["id"][::-1]))
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.reverse())
    preprocess(dataset, tmp_path / "output", ANY)
    ids = ids_of(dataset / "train.csv") + ids_of(dataset / "sample_submission.csv")
    assert ids_of(tmp_path / "output" / "tiles.csv") == ids != sorted(ids)
    images = np.load(tmp_path / "output" / "train_images.npy")
    files = read_zip(dataset / "train.zip")
    assert all((images[row] == decode_png(files[f"images/{ids[row]}.png"])[..., 0]).all() for row in range(24))


def test_output_does_not_depend_on_threads_and_equal_files_are_kept(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "output", ANY, threads=1)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "output").iterdir()}
    assert len(before) == 4
    preprocess(dataset, tmp_path / "output", ANY, threads=4)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "output").iterdir()} == before


def test_ids_that_look_like_other_types(tmp_path: Path) -> None:
    """Ids are strings: "0012", "1e5" and "NA" do not change."""
    dataset = make_dataset(tmp_path / "data")
    new = dict(zip(ids_of(dataset / "train.csv"), ["0012", "1e5", "NA", "nan", "null", "True", "-1"], strict=False))
    for name in ("train.csv", "depths.csv"):
        rewrite_rows(dataset / name, lambda rows: [row.update(id=new.get(row["id"], row["id"])) for row in rows])
    members = read_zip(dataset / "train.zip")
    with zipfile.ZipFile(dataset / "train.zip", "w") as archive:
        for member, content in members.items():
            stem = Path(member).stem
            archive.writestr(member.replace(stem, new.get(stem, stem)), content)
    preprocess(dataset, tmp_path / "output", ANY)
    assert ids_of(tmp_path / "output" / "tiles.csv")[:7] == list(new.values())
    assert list(read_tiles(tmp_path / "output" / "tiles.csv", "train")["id"])[:7] == list(new.values())


def test_masks_may_have_any_value_for_salt(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "output", ANY)
    before = (tmp_path / "output" / "train_masks.npy").read_bytes()
    with_salt = [row["id"] for row in rows_of(dataset / "train.csv") if row["rle_mask"]]
    files = read_zip(dataset / "train.zip")
    changed = {}
    for tile, value in zip(with_salt, (np.uint8(255), np.uint8(1), np.uint16(1), np.uint16(300)), strict=False):
        name = f"masks/{tile}.png"
        changed[name] = encode_png(np.where(decode_png(files[name]) > 0, value, value.dtype.type(0)))
    assert len(changed) == 4
    rewrite_zip(dataset / "train.zip", changed)
    preprocess(dataset, tmp_path / "second", ANY)
    assert (tmp_path / "second" / "train_masks.npy").read_bytes() == before


def test_an_equal_mask_of_other_runs_is_accepted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")

    def split_first_run(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["rle_mask"] and int(row["rle_mask"].split()[1]) > 1)
        start, length, *rest = map(int, row["rle_mask"].split())
        row["rle_mask"] = " ".join(map(str, [start, 1, start + 1, length - 1, *rest]))

    rewrite_rows(dataset / "train.csv", split_first_run)
    preprocess(dataset, tmp_path / "output", ANY)
    assert (tmp_path / "output" / "tiles.csv").exists()


# --- errors

Damage = Callable[[Path], str]  # damages a dataset and returns the start of the expected error, without the path


def first(dataset: Path, table: str = "train.csv") -> str:
    return ids_of(dataset / table)[0]


def missing_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": None})
    return (
        f"1 of 24 train masks are missing from the dataset (looked in train.zip and test.zip), "
        f"for example {tile}.png; "
        "fix it or download the dataset again."
    )


def missing_image(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"images/{tile}.png": None})
    return (
        f"1 of 24 train images are missing from the dataset (looked in train.zip and test.zip), "
        f"for example {tile}.png; "
        "fix it or download the dataset again."
    )


def missing_test_image(dataset: Path) -> str:
    tile = first(dataset, "sample_submission.csv")
    extract_zips(dataset)
    (dataset / "test" / "images" / f"{tile}.png").unlink()
    return (
        f"1 of 10 test images are missing from the dataset (looked in unpacked folders), for example {tile}.png; "
        "fix it or download the dataset again."
    )


def extra_image(dataset: Path) -> str:
    image = read_zip(dataset / "test.zip")[f"images/{first(dataset, 'sample_submission.csv')}.png"]
    rewrite_zip(dataset / "test.zip", add={"images/abc.png": image})
    return (
        "1 test images in train.zip and test.zip are not in sample_submission.csv, for example abc; "
        "fix it or download the dataset again."
    )


def replace_image(dataset: Path, content: bytes) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"images/{tile}.png": content})
    return f"train image {tile}.png"


def image_of(dataset: Path) -> bytes:
    return read_zip(dataset / "train.zip")[f"images/{first(dataset)}.png"]


def narrow_image(dataset: Path) -> str:
    name = replace_image(dataset, encode_png(np.zeros((101, 100, 3), np.uint8)))
    return f"{name} is 100 x 101 pixels, expected 101 x 101 (data.tile_size)."


def short_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": encode_png(np.zeros((100, 101), np.uint8))})
    return f"train mask {tile}.png is 101 x 100 pixels, expected 101 x 101 (data.tile_size)."


def truncated_image(dataset: Path) -> str:
    content = image_of(dataset)
    name = replace_image(dataset, content[:-20])
    return f"{name} is not a valid PNG file ({len(content) - 20:,} bytes); fix it or download the dataset again."


def empty_image(dataset: Path) -> str:
    return f"{replace_image(dataset, b'')} is not a valid PNG file (0 bytes); fix it or download the dataset again."


def jpeg_image(dataset: Path) -> str:
    stream = io.BytesIO()
    Image.fromarray(decode_png(image_of(dataset))).save(stream, "JPEG")
    name = replace_image(dataset, stream.getvalue())
    return f"{name} is not a valid PNG file ({len(stream.getvalue()):,} bytes); fix it or download the dataset again."


def corrupt_image(dataset: Path) -> str:
    content = bytearray(image_of(dataset))
    content[len(content) // 2] ^= 0xFF
    name = replace_image(dataset, bytes(content))
    return f"{name} is not a valid PNG file ({len(content):,} bytes); fix it or download the dataset again."


def color_image(dataset: Path) -> str:
    pixels = decode_png(image_of(dataset)).copy()
    pixels[50, 50, 2] ^= 1
    return f"{replace_image(dataset, encode_png(pixels))} has colors; the three channels of a tile are equal."


def gray_image(dataset: Path) -> str:
    name = replace_image(dataset, encode_png(decode_png(image_of(dataset))[..., 0].copy()))
    return f"{name} is not an 8-bit RGB image, as tiles are."


def transparent_image(dataset: Path) -> str:
    name = replace_image(
        dataset, encode_png(np.dstack([decode_png(image_of(dataset)), np.full((101, 101), 255, np.uint8)]))
    )
    return f"{name} is not an 8-bit RGB image, as tiles are."


def probability_mask(dataset: Path) -> str:
    tile = first(dataset)
    pixels = np.zeros((101, 101), np.uint8)
    pixels[0, :3] = 0, 128, 255
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": encode_png(pixels)})
    return f"train mask {tile}.png is not a mask; expected 0 and one other value for salt."


def rgb_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": encode_png(np.zeros((101, 101, 3), np.uint8))})
    return f"train mask {tile}.png is not a grayscale image, as masks are."


def no_depth(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.remove(next(row for row in rows if row["id"] == tile)))
    return f"depths.csv has no depth for 1 of 34 ids, for example {tile}; fix it or download the dataset again."


def duplicate_train_id(dataset: Path) -> str:
    rewrite_rows(dataset / "train.csv", lambda rows: rows.append(dict(rows[3])))
    return f"train.csv has id {ids_of(dataset / 'train.csv')[3]} twice; keep one row per tile."


def duplicate_depth(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.append({"id": rows[5]["id"], "z": "7"}))
    return f"depths.csv has id {ids_of(dataset / 'depths.csv')[5]} twice; keep one row per tile."


def duplicate_sample_id(dataset: Path) -> str:
    rewrite_rows(dataset / "sample_submission.csv", lambda rows: rows.append(dict(rows[0])))
    return f"sample_submission.csv has id {first(dataset, 'sample_submission.csv')} twice; keep one row per tile."


def id_in_both_splits(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_rows(dataset / "sample_submission.csv", lambda rows: rows.append({"id": tile, "rle_mask": "1 1"}))
    return f"id {tile} is in both train.csv and sample_submission.csv; keep one of the two."


def mask_differs(dataset: Path) -> str:
    row = next(row for row in rows_of(dataset / "train.csv") if row["rle_mask"])
    name = f"masks/{row['id']}.png"
    pixels = decode_png(read_zip(dataset / "train.zip")[name]).copy()
    salt = np.argwhere(pixels)[0]
    pixels[tuple(salt)] = 0
    rewrite_zip(dataset / "train.zip", {name: encode_png(pixels)})
    return (
        f"the mask image of {row['id']} differs from its rle_mask in train.csv; "
        "one of the two is damaged: fix it or download the dataset again."
    )


def masks_swapped(dataset: Path) -> str:
    """Swap two valid masks."""
    one, other = [row["id"] for row in rows_of(dataset / "train.csv") if row["rle_mask"]][:2]
    files = read_zip(dataset / "train.zip")
    names = [f"masks/{tile}.png" for tile in (one, other)]
    rewrite_zip(dataset / "train.zip", {names[0]: files[names[1]], names[1]: files[names[0]]})
    return f"the mask image of {one} differs from its rle_mask in train.csv;"


def code_transposed(dataset: Path) -> str:
    """Encode a mask in row-major order, a common mistake."""

    def transpose(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["rle_mask"])
        mask = decode_png(read_zip(dataset / "train.zip")[f"masks/{row['id']}.png"]) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(int), [0]]))) + 1
        row["rle_mask"] = " ".join(f"{a} {b - a}" for a, b in edges.reshape(-1, 2).tolist())
        dataset.joinpath("changed").write_text(row["id"])

    rewrite_rows(dataset / "train.csv", transpose)
    return f"the mask image of {(dataset / 'changed').read_text()} differs from its rle_mask in train.csv;"


def set_code(dataset: Path, code: str) -> str:
    rewrite_rows(dataset / "train.csv", lambda rows: rows[2].update(rle_mask=code))
    return f"train.csv, id {ids_of(dataset / 'train.csv')[2]}: "


def odd_code(dataset: Path) -> str:
    return set_code(dataset, "1 2 3") + "RLE has 3 numbers, the last '3'; expected pairs of start and length"


def code_with_letters(dataset: Path) -> str:
    return set_code(dataset, "1 two") + "token 2 of the RLE, 'two', is not a length: expected plain digits"


def code_past_the_end(dataset: Path) -> str:
    return set_code(dataset, "10200 3") + "run '10200 3' (token 1 of the RLE) ends past the last pixel, 10201,"


def no_column(dataset: Path) -> str:
    text = (dataset / "depths.csv").read_text()
    (dataset / "depths.csv").write_text(text.replace("id,z", "id,depth", 1))
    return "depths.csv has no column 'z'; expected a CSV file with the columns id and z."


def no_id_column(dataset: Path) -> str:
    text = (dataset / "train.csv").read_text()
    (dataset / "train.csv").write_text(text.partition("\n")[2])
    return "train.csv has no column 'id'; expected a CSV file with the columns id and rle_mask."


def depth_in_letters(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z="deep"))
    return f"depths.csv has z 'deep' for id {ids_of(dataset / 'depths.csv')[4]}; expected a number."


def empty_depth(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z=""))
    return f"depths.csv has z '' for id {ids_of(dataset / 'depths.csv')[4]}; expected a number."


def infinite_depth(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z="inf"))
    return f"depths.csv has z 'inf' for id {ids_of(dataset / 'depths.csv')[4]}; expected a number."


def empty_table(dataset: Path) -> str:
    (dataset / "sample_submission.csv").write_text("id,rle_mask\n")
    return "sample_submission.csv has no rows; fix it or download the dataset again."


def table_without_content(dataset: Path) -> str:
    (dataset / "train.csv").write_bytes(b"")
    return (
        "train.csv cannot be read (No columns to parse from file); "
        "expected a CSV file with the columns id and rle_mask."
    )


def table_with_binary_content(dataset: Path) -> str:
    (dataset / "train.csv").write_bytes(b"id,rle_mask\n\xff\xfe\x00,1 1\n")
    return "train.csv cannot be read ("


def bad_crc(dataset: Path) -> str:
    """Flip a byte of a stored member, which only the checksum detects."""
    name = f"masks/{first(dataset)}.png"
    path = dataset / "train.zip"
    content = bytearray(path.read_bytes())
    offset = bytes(content).index(read_zip(path)[name]) + 30
    content[offset] ^= 0xFF
    path.write_bytes(bytes(content))
    return f"/train.zip: {name} cannot be read (Bad CRC-32 for file '{name}'); download the archive again."


def damaged_zip(dataset: Path) -> str:
    content = (dataset / "test.zip").read_bytes()
    (dataset / "test.zip").write_bytes(content[:-100])
    return "/test.zip: not a valid zip file (File is not a zip file); download it again."


DAMAGES: list[Damage] = [
    missing_mask, missing_image, missing_test_image, extra_image, narrow_image, short_mask, truncated_image,
    empty_image, jpeg_image, corrupt_image, color_image, gray_image, transparent_image, probability_mask,
    rgb_mask, no_depth, duplicate_train_id, duplicate_depth, duplicate_sample_id, id_in_both_splits,
    mask_differs, masks_swapped,
    code_transposed, odd_code, code_with_letters, code_past_the_end, no_column, no_id_column, depth_in_letters,
    empty_depth, infinite_depth, empty_table, table_without_content, table_with_binary_content, bad_crc, damaged_zip,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_datasets_are_rejected(tmp_path: Path, damage: Damage) -> None:
    dataset = make_dataset(tmp_path / "data")
    message = damage(dataset)
    start = f"{dataset}{message}" if message.startswith("/") else f"{dataset}: {message}"
    with pytest.raises(UserError, match=f"^{re.escape(start)}") as caught:
        preprocess(dataset, tmp_path / "output", ANY)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "output").exists() or not list((tmp_path / "output").iterdir())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train_tiles": 4000}, "4,000 train images, 4,000 train masks and any number of test images"),
        ({"test_tiles": 9}, "any number of train images, any number of train masks and 9 test images"),
    ],
)
def test_an_unexpected_number_of_tiles_is_rejected(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    found = "found 24 train images, 24 train masks, 10 test images in train.zip and test.zip"
    advice = "Download the dataset again, or set data.train_tiles and data.test_tiles to the actual number of tiles."
    with pytest.raises(UserError, match=re.escape(f"{dataset}: {found}; expected {message}. {advice}")):
        preprocess(dataset, tmp_path / "output", Data(source="directory", directory="x", **counts))
    preprocess(dataset, tmp_path / "output", Data(source="directory", directory="x", train_tiles=24, test_tiles=10))


def test_an_unexpected_tile_size_is_rejected(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", tile_size=48)
    with pytest.raises(UserError, match=r"is 48 x 48 pixels, expected 101 x 101 \(data\.tile_size\)\.$"):
        preprocess(dataset, tmp_path / "output", ANY)


def test_a_failure_keeps_the_previous_output(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "output", ANY)
    before = {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()}
    color_image(dataset)
    with pytest.raises(UserError):
        preprocess(dataset, tmp_path / "output", ANY)
    assert {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()} == before


# --- command line


SETTINGS = '{"data": {"source": "directory", "directory": "x"}}'


@pytest.mark.parametrize("damage", [truncated_image, mask_differs, damaged_zip])
def test_the_command_prints_one_error_message(tmp_path: Path, damage: Damage) -> None:
    dataset = make_dataset(tmp_path / "data")
    message = damage(dataset)
    done = tgs_salt("preprocess", "--settings", SETTINGS, "--source", dataset, "--output", tmp_path / "output")
    assert message in error_message(done)
    assert not (tmp_path / "output").exists() or not list((tmp_path / "output").iterdir())


def test_the_command_logs_a_summary(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    done = tgs_salt("preprocess", "--settings", SETTINGS, "--source", dataset, "--output", tmp_path / "output")
    assert done.returncode == 0, done.stderr
    blank = sum(row["blank"] == "True" for row in rows_of(tmp_path / "output" / "tiles.csv"))
    summary = done.stderr.splitlines()[-1]
    assert "preprocessed 24 labeled tiles (" in summary
    assert summary.endswith(f"10 test tiles of 101 x 101 pixels; {blank} are blank")

"""Arrays and tiles.csv against another reader of the same files, and one clear sentence for each bad dataset."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import refused, tgs_salt
from helpers.datasets import make_dataset, read_zip, rewrite_zip, unpack
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


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


# --- what comes out


@pytest.mark.parametrize(("size", "train", "test"), [(101, 60, 12), (48, 20, 30), (128, 8, 4)])
def test_arrays_and_table_against_another_reader(tmp_path: Path, size: int, train: int, test: int) -> None:
    dataset = make_dataset(tmp_path / "data", train_tiles=train, test_tiles=test, tile_size=size, seed=size)
    # Depths need not be whole, and a tile of one gray is blank whatever the gray.
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[0].update(z="123.25"))
    gray_id = ids_of(dataset / "sample_submission.csv")[1]
    rewrite_zip(dataset / "test.zip", {f"images/{gray_id}.png": png(np.full((size, size, 3), 77, np.uint8))})
    preprocess(dataset, tmp_path / "packed", Data(source="directory", directory="x", tile_size=size), threads=3)

    pictures = read_zip(dataset / "train.zip")
    tested = read_zip(dataset / "test.zip")
    images, masks, test_images = (
        np.load(tmp_path / "packed" / f"{name}.npy") for name in ("train_images", "train_masks", "test_images")
    )
    assert {array.dtype for array in (images, masks, test_images)} == {np.dtype(np.uint8)}
    assert images.shape == masks.shape == (train, size, size) and test_images.shape == (test, size, size)

    depths = {row["id"]: float(row["z"]) for row in rows_of(dataset / "depths.csv")}
    expected = []
    for row, tile in enumerate(ids_of(dataset / "train.csv")):
        image, mask = decoded(pictures[f"images/{tile}.png"]), decoded(pictures[f"masks/{tile}.png"]) > 0
        assert np.array_equal(images[row], image[..., 2])
        assert np.array_equal(masks[row], mask), "1 where there is salt, whatever the depth of the picture"
        expected.append((tile, "train", row, depths[tile], mask.sum() / size**2, len(np.unique(image)) == 1))
    for row, tile in enumerate(ids_of(dataset / "sample_submission.csv")):
        image = decoded(tested[f"images/{tile}.png"])
        assert np.array_equal(test_images[row], image[..., 1])
        expected.append((tile, "test", row, depths[tile], None, len(np.unique(image)) == 1))

    table = rows_of(tmp_path / "packed" / "tiles.csv")
    found = [
        (
            row["id"], row["split"], int(row["row"]), float(row["depth"]),
            float(row["coverage"]) if row["coverage"] else None, {"True": True, "False": False}[row["blank"]],
        )
        for row in table
    ]  # fmt: skip
    assert found == expected
    assert sum(row[5] for row in expected) >= 1 + (train >= 60), "there are blank tiles in this test"
    assert {row[4] == 0 for row in expected if row[1] == "train"} == {True, False}

    read = read_tiles(tmp_path / "packed" / "tiles.csv")
    assert list(read.itertuples(index=False, name=None))[:train] == expected[:train]
    assert read["coverage"].isna().sum() == test
    assert list(read_tiles(tmp_path / "packed" / "tiles.csv", "test")["id"]) == [row[0] for row in expected[train:]]


def test_rows_follow_the_tables_not_the_archives(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    for name in ("train.csv", "sample_submission.csv"):
        rewrite_rows(dataset / name, lambda rows: rows.sort(key=lambda row: row["id"][::-1]))
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.reverse())
    preprocess(dataset, tmp_path / "packed", ANY)
    ids = ids_of(dataset / "train.csv") + ids_of(dataset / "sample_submission.csv")
    assert ids_of(tmp_path / "packed" / "tiles.csv") == ids != sorted(ids)
    images = np.load(tmp_path / "packed" / "train_images.npy")
    pictures = read_zip(dataset / "train.zip")
    assert all((images[row] == decoded(pictures[f"images/{ids[row]}.png"])[..., 0]).all() for row in range(24))


def test_threads_do_not_change_the_bytes_and_equal_bytes_stay(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "packed", ANY, threads=1)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "packed").iterdir()}
    assert len(before) == 4
    preprocess(dataset, tmp_path / "packed", ANY, threads=4)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "packed").iterdir()} == before


def test_ids_that_look_like_something_else(tmp_path: Path) -> None:
    """Ids are texts: "0012", "1e5" and "NA" must come out as they went in."""
    dataset = make_dataset(tmp_path / "data")
    new = dict(zip(ids_of(dataset / "train.csv"), ["0012", "1e5", "NA", "nan", "null", "True", "-1"], strict=False))
    for name in ("train.csv", "depths.csv"):
        rewrite_rows(dataset / name, lambda rows: [row.update(id=new.get(row["id"], row["id"])) for row in rows])
    members = read_zip(dataset / "train.zip")
    with zipfile.ZipFile(dataset / "train.zip", "w") as archive:
        for member, content in members.items():
            stem = Path(member).stem
            archive.writestr(member.replace(stem, new.get(stem, stem)), content)
    preprocess(dataset, tmp_path / "packed", ANY)
    assert ids_of(tmp_path / "packed" / "tiles.csv")[:7] == list(new.values())
    assert list(read_tiles(tmp_path / "packed" / "tiles.csv", "train")["id"])[:7] == list(new.values())


def test_masks_of_any_gray_are_the_same_masks(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "packed", ANY)
    before = (tmp_path / "packed" / "train_masks.npy").read_bytes()
    salty = [row["id"] for row in rows_of(dataset / "train.csv") if row["rle_mask"]]
    pictures = read_zip(dataset / "train.zip")
    changed = {}
    for tile, value in zip(salty, (np.uint8(255), np.uint8(1), np.uint16(1), np.uint16(300)), strict=False):
        name = f"masks/{tile}.png"
        changed[name] = png(np.where(decoded(pictures[name]) > 0, value, value.dtype.type(0)))
    assert len(changed) == 4
    rewrite_zip(dataset / "train.zip", changed)
    preprocess(dataset, tmp_path / "again", ANY)
    assert (tmp_path / "again" / "train_masks.npy").read_bytes() == before


def test_an_equal_mask_in_other_words_is_accepted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")

    def split_first_run(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["rle_mask"] and int(row["rle_mask"].split()[1]) > 1)
        start, length, *rest = map(int, row["rle_mask"].split())
        row["rle_mask"] = " ".join(map(str, [start, 1, start + 1, length - 1, *rest]))

    rewrite_rows(dataset / "train.csv", split_first_run)
    preprocess(dataset, tmp_path / "packed", ANY)
    assert (tmp_path / "packed" / "tiles.csv").exists()


# --- what is refused

Damage = Callable[[Path], str]  # spoils a dataset, and says what to expect after its name


def first(dataset: Path, table: str = "train.csv") -> str:
    return ids_of(dataset / table)[0]


def missing_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": None})
    return (
        f"1 of 24 train masks are missing in train.zip and test.zip, such as {tile}.png; "
        "mend it, or fetch the dataset again."
    )


def missing_image(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"images/{tile}.png": None})
    return (
        f"1 of 24 train images are missing in train.zip and test.zip, such as {tile}.png; "
        "mend it, or fetch the dataset again."
    )


def missing_test_image(dataset: Path) -> str:
    tile = first(dataset, "sample_submission.csv")
    unpack(dataset)
    (dataset / "test" / "images" / f"{tile}.png").unlink()
    return f"1 of 10 test images are missing in loose folders, such as {tile}.png; mend it, or fetch the dataset again."


def image_too_many(dataset: Path) -> str:
    some = read_zip(dataset / "test.zip")[f"images/{first(dataset, 'sample_submission.csv')}.png"]
    rewrite_zip(dataset / "test.zip", add={"images/abc.png": some})
    return (
        "1 test images in train.zip and test.zip are not in sample_submission.csv, such as abc; "
        "mend it, or fetch the dataset again."
    )


def replace_image(dataset: Path, content: bytes) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"images/{tile}.png": content})
    return f"train image {tile}.png"


def image_of(dataset: Path) -> bytes:
    return read_zip(dataset / "train.zip")[f"images/{first(dataset)}.png"]


def narrow_image(dataset: Path) -> str:
    named = replace_image(dataset, png(np.zeros((101, 100, 3), np.uint8)))
    return f"{named} is 100 x 101 pixels, expected 101 x 101 (data.tile_size)."


def flat_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": png(np.zeros((100, 101), np.uint8))})
    return f"train mask {tile}.png is 101 x 100 pixels, expected 101 x 101 (data.tile_size)."


def truncated_image(dataset: Path) -> str:
    content = image_of(dataset)
    named = replace_image(dataset, content[:-20])
    return f"{named} is not a whole PNG ({len(content) - 20:,} bytes); mend it, or fetch the dataset again."


def empty_image(dataset: Path) -> str:
    return f"{replace_image(dataset, b'')} is not a whole PNG (0 bytes); mend it, or fetch the dataset again."


def jpeg_image(dataset: Path) -> str:
    stream = io.BytesIO()
    Image.fromarray(decoded(image_of(dataset))).save(stream, "JPEG")
    named = replace_image(dataset, stream.getvalue())
    return f"{named} is not a whole PNG ({len(stream.getvalue()):,} bytes); mend it, or fetch the dataset again."


def flipped_bytes_in_an_image(dataset: Path) -> str:
    content = bytearray(image_of(dataset))
    content[len(content) // 2] ^= 0xFF
    named = replace_image(dataset, bytes(content))
    return f"{named} is not a whole PNG ({len(content):,} bytes); mend it, or fetch the dataset again."


def colour_image(dataset: Path) -> str:
    pixels = decoded(image_of(dataset)).copy()
    pixels[50, 50, 2] ^= 1
    return f"{replace_image(dataset, png(pixels))} has colors; the three channels of a tile are equal."


def gray_image(dataset: Path) -> str:
    named = replace_image(dataset, png(decoded(image_of(dataset))[..., 0].copy()))
    return f"{named} is not an 8-bit RGB picture, as tiles are."


def transparent_image(dataset: Path) -> str:
    named = replace_image(dataset, png(np.dstack([decoded(image_of(dataset)), np.full((101, 101), 255, np.uint8)])))
    return f"{named} is not an 8-bit RGB picture, as tiles are."


def probability_mask(dataset: Path) -> str:
    tile = first(dataset)
    pixels = np.zeros((101, 101), np.uint8)
    pixels[0, :3] = 0, 128, 255
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": png(pixels)})
    return f"train mask {tile}.png is not a mask: a mask has 0 and one value for salt."


def rgb_mask(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_zip(dataset / "train.zip", {f"masks/{tile}.png": png(np.zeros((101, 101, 3), np.uint8))})
    return f"train mask {tile}.png is not a gray picture, as masks are."


def no_depth(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.remove(next(row for row in rows if row["id"] == tile)))
    return f"depths.csv has no depth for id {tile} (1 such in all); mend it, or fetch the dataset again."


def train_id_twice(dataset: Path) -> str:
    rewrite_rows(dataset / "train.csv", lambda rows: rows.append(dict(rows[3])))
    return f"train.csv has id {ids_of(dataset / 'train.csv')[3]} twice; each tile has one row."


def depth_twice(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows.append({"id": rows[5]["id"], "z": "7"}))
    return f"depths.csv has id {ids_of(dataset / 'depths.csv')[5]} twice; each tile has one row."


def sample_id_twice(dataset: Path) -> str:
    rewrite_rows(dataset / "sample_submission.csv", lambda rows: rows.append(dict(rows[0])))
    return f"sample_submission.csv has id {first(dataset, 'sample_submission.csv')} twice; each tile has one row."


def id_in_both(dataset: Path) -> str:
    tile = first(dataset)
    rewrite_rows(dataset / "sample_submission.csv", lambda rows: rows.append({"id": tile, "rle_mask": "1 1"}))
    return f"id {tile} is in train.csv and in sample_submission.csv; it can only be one."


def mask_disagrees(dataset: Path) -> str:
    row = next(row for row in rows_of(dataset / "train.csv") if row["rle_mask"])
    name = f"masks/{row['id']}.png"
    pixels = decoded(read_zip(dataset / "train.zip")[name]).copy()
    salt = np.argwhere(pixels)[0]
    pixels[tuple(salt)] = 0
    rewrite_zip(dataset / "train.zip", {name: png(pixels)})
    return (
        f"the mask picture of {row['id']} disagrees with its rle_mask in train.csv; "
        "one of the two is damaged: mend it, or fetch the dataset again."
    )


def masks_swapped(dataset: Path) -> str:
    """Each is a good mask, of another tile."""
    one, other = [row["id"] for row in rows_of(dataset / "train.csv") if row["rle_mask"]][:2]
    pictures = read_zip(dataset / "train.zip")
    names = [f"masks/{tile}.png" for tile in (one, other)]
    rewrite_zip(dataset / "train.zip", {names[0]: pictures[names[1]], names[1]: pictures[names[0]]})
    return f"the mask picture of {one} disagrees with its rle_mask in train.csv;"


def code_transposed(dataset: Path) -> str:
    """Runs to the right and then down, the usual mistake."""

    def transpose(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["rle_mask"])
        mask = decoded(read_zip(dataset / "train.zip")[f"masks/{row['id']}.png"]) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(int), [0]]))) + 1
        row["rle_mask"] = " ".join(f"{a} {b - a}" for a, b in edges.reshape(-1, 2).tolist())
        dataset.joinpath("changed").write_text(row["id"])

    rewrite_rows(dataset / "train.csv", transpose)
    return f"the mask picture of {(dataset / 'changed').read_text()} disagrees with its rle_mask in train.csv;"


def set_code(dataset: Path, code: str) -> str:
    rewrite_rows(dataset / "train.csv", lambda rows: rows[2].update(rle_mask=code))
    return f"train.csv, id {ids_of(dataset / 'train.csv')[2]}: "


def odd_code(dataset: Path) -> str:
    return (
        set_code(dataset, "1 2 3") + "run-length text has 3 numbers, the last '3'; expected pairs of start and length"
    )


def code_with_words(dataset: Path) -> str:
    return set_code(dataset, "1 two") + "token 2 of run-length text, 'two', is not a length: expected plain digits"


def code_past_the_end(dataset: Path) -> str:
    return set_code(dataset, "10200 3") + "run '10200 3' (token 1 of run-length text) ends past the last pixel, 10201,"


def no_column(dataset: Path) -> str:
    text = (dataset / "depths.csv").read_text()
    (dataset / "depths.csv").write_text(text.replace("id,z", "id,depth", 1))
    return "depths.csv has no column 'z'; expected id and z."


def no_id_column(dataset: Path) -> str:
    text = (dataset / "train.csv").read_text()
    (dataset / "train.csv").write_text(text.partition("\n")[2])
    return "train.csv has no column 'id'; expected id and rle_mask."


def depth_in_words(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z="deep"))
    return f"depths.csv has z 'deep' for id {ids_of(dataset / 'depths.csv')[4]}; a number is expected."


def depth_left_out(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z=""))
    return f"depths.csv has z '' for id {ids_of(dataset / 'depths.csv')[4]}; a number is expected."


def infinite_depth(dataset: Path) -> str:
    rewrite_rows(dataset / "depths.csv", lambda rows: rows[4].update(z="inf"))
    return f"depths.csv has z 'inf' for id {ids_of(dataset / 'depths.csv')[4]}; a number is expected."


def empty_table(dataset: Path) -> str:
    (dataset / "sample_submission.csv").write_text("id,rle_mask\n")
    return "sample_submission.csv has no rows; mend it, or fetch the dataset again."


def table_of_no_bytes(dataset: Path) -> str:
    (dataset / "train.csv").write_bytes(b"")
    return "train.csv cannot be read (No columns to parse from file); expected a csv with id and rle_mask."


def table_of_other_bytes(dataset: Path) -> str:
    (dataset / "train.csv").write_bytes(b"id,rle_mask\n\xff\xfe\x00,1 1\n")
    return "train.csv cannot be read ("


def bad_crc(dataset: Path) -> str:
    """A byte of a stored member flipped in the archive: only the archive's own sum tells."""
    name = f"masks/{first(dataset)}.png"
    path = dataset / "train.zip"
    content = bytearray(path.read_bytes())
    at = bytes(content).index(read_zip(path)[name]) + 30
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))
    return f"/train.zip: {name} cannot be read (Bad CRC-32 for file '{name}'); fetch the archive again."


def damaged_zip(dataset: Path) -> str:
    content = (dataset / "test.zip").read_bytes()
    (dataset / "test.zip").write_bytes(content[:-100])
    return "/test.zip: not a whole zip (File is not a zip file); fetch it again."


DAMAGES: list[Damage] = [
    missing_mask, missing_image, missing_test_image, image_too_many, narrow_image, flat_mask, truncated_image,
    empty_image, jpeg_image, flipped_bytes_in_an_image, colour_image, gray_image, transparent_image, probability_mask,
    rgb_mask, no_depth, train_id_twice, depth_twice, sample_id_twice, id_in_both, mask_disagrees, masks_swapped,
    code_transposed, odd_code, code_with_words, code_past_the_end, no_column, no_id_column, depth_in_words,
    depth_left_out, infinite_depth, empty_table, table_of_no_bytes, table_of_other_bytes, bad_crc, damaged_zip,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_surveys_are_refused(tmp_path: Path, damage: Damage) -> None:
    dataset = make_dataset(tmp_path / "data")
    sentence = damage(dataset)
    start = f"{dataset}{sentence}" if sentence.startswith("/") else f"{dataset}: {sentence}"
    with pytest.raises(UserError, match=f"^{re.escape(start)}") as caught:
        preprocess(dataset, tmp_path / "packed", ANY)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "packed").exists() or not list((tmp_path / "packed").iterdir())


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"train_tiles": 4000}, "4,000 train images, 4,000 train masks and any number of test images"),
        ({"test_tiles": 9}, "any number of train images, any number of train masks and 9 test images"),
    ],
)
def test_another_number_of_tiles(tmp_path: Path, counts: dict[str, int], sentence: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    found = "24 train images, 24 train masks, 10 test images in train.zip and test.zip"
    advice = "mend it, fetch the dataset again, or set data.train_tiles and data.test_tiles to what is right for it."
    with pytest.raises(UserError, match=re.escape(f"{dataset}: {found}; expected {sentence}: {advice}")):
        preprocess(dataset, tmp_path / "packed", Data(source="directory", directory="x", **counts))
    preprocess(dataset, tmp_path / "packed", Data(source="directory", directory="x", train_tiles=24, test_tiles=10))


def test_tiles_of_another_size_than_set(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", tile_size=48)
    with pytest.raises(UserError, match=r"is 48 x 48 pixels, expected 101 x 101 \(data\.tile_size\)\.$"):
        preprocess(dataset, tmp_path / "packed", ANY)


def test_a_failure_leaves_what_was_packed_before(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    preprocess(dataset, tmp_path / "packed", ANY)
    before = {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()}
    colour_image(dataset)
    with pytest.raises(UserError):
        preprocess(dataset, tmp_path / "packed", ANY)
    assert {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()} == before


# --- the command


SETTINGS = '{"data": {"source": "directory", "directory": "x"}}'


@pytest.mark.parametrize("damage", [truncated_image, mask_disagrees, damaged_zip])
def test_the_command_ends_with_one_sentence(tmp_path: Path, damage: Damage) -> None:
    dataset = make_dataset(tmp_path / "data")
    sentence = damage(dataset)
    done = tgs_salt("preprocess", "--settings", SETTINGS, "--source", dataset, "--output", tmp_path / "packed")
    assert sentence in refused(done)
    assert not (tmp_path / "packed").exists() or not list((tmp_path / "packed").iterdir())


def test_the_command_packs(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    done = tgs_salt("preprocess", "--settings", SETTINGS, "--source", dataset, "--output", tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    blank = sum(row["blank"] == "True" for row in rows_of(tmp_path / "packed" / "tiles.csv"))
    said = done.stderr.splitlines()[-1]
    assert "packed 24 labelled tiles (" in said and said.endswith(f"10 test tiles of 101 x 101; {blank} are blank")

"""However a dataset lies on the disk, the same arrays come out of it; and what is no dataset is told from one."""

from __future__ import annotations

import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.datasets import as_outer_zip, make_dataset, read_zip, rewrite_zip, unpack

from tgs_salt.data.layout import detect_layout
from tgs_salt.data.preprocess import preprocess
from tgs_salt.errors import UserError
from tgs_salt.settings import Data

ANY = Data(source="directory", directory="anywhere")
PACKED = ["test_images.npy", "tiles.csv", "train_images.npy", "train_masks.npy"]


def packed(source: Path, output: Path) -> dict[str, bytes]:
    preprocess(source, output, ANY)
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes of zips that lie beside the csv files."""
    folder = tmp_path_factory.mktemp("beside")
    found = packed(make_dataset(folder / "data"), folder / "packed")
    assert list(found) == PACKED
    return found


def zips_beside_csvs(dataset: Path) -> Path:
    return dataset


def unpacked(dataset: Path) -> Path:
    return unpack(dataset)


def unpacked_one_level_down(dataset: Path) -> Path:
    unpack(dataset)
    (dataset / "tgs").mkdir()
    for name in ("train", "test"):
        (dataset / name).rename(dataset / "tgs" / name)
    return dataset


def csvs_beside_the_pictures(dataset: Path) -> Path:
    unpack(dataset)
    (dataset / "train.csv").rename(dataset / "train" / "train.csv")
    (dataset / "depths.csv").rename(dataset / "train" / "depths.csv")
    return dataset


def outer_zip(dataset: Path) -> Path:
    return as_outer_zip(dataset, dataset.with_suffix(".zip"))


def outer_zip_of_folders(dataset: Path) -> Path:
    return as_outer_zip(unpack(dataset), dataset.with_suffix(".zip"))


def outer_zip_with_a_folder_on_top(dataset: Path) -> Path:
    shutil.move(dataset, dataset.parent / "top" / "tgs")
    return as_outer_zip(dataset.parent / "top", dataset.with_suffix(".zip"))


def outer_zip_in_a_folder(dataset: Path) -> Path:
    """Not an outer zip but its content: a zip elsewhere in the folder is no part of the dataset."""
    as_outer_zip(dataset, dataset.parent / "copy.zip")
    shutil.move(dataset.parent / "copy.zip", dataset / "backup.zip")
    return dataset


def csvs_zipped_singly(dataset: Path) -> Path:
    for name in ("train.csv", "depths.csv", "sample_submission.csv"):
        with zipfile.ZipFile(dataset / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(dataset / name, name)
        (dataset / name).unlink()
    return dataset


def csvs_zipped_on_a_mac(dataset: Path) -> Path:
    for name in ("train.csv", "depths.csv", "sample_submission.csv"):
        with zipfile.ZipFile(dataset / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"__MACOSX/._{name}", b"\0\5\26\7 not a table")
            archive.write(dataset / name, name)
        (dataset / name).unlink()
    return dataset


def competition_data_alone(dataset: Path) -> Path:
    with zipfile.ZipFile(dataset / "competition_data.zip", "w") as archive:
        for split in ("train", "test"):
            for name, content in read_zip(dataset / f"{split}.zip").items():
                archive.writestr(f"competition_data/{split}/{name}", content)
            (dataset / f"{split}.zip").unlink()
        archive.write(dataset / "train.csv", "competition_data/train.csv")
    (dataset / "train.csv").unlink()
    return dataset


def competition_data_beside_the_zips(dataset: Path) -> Path:
    """Kaggle hands out both; pictures of the one are not mixed with those of the other."""
    with zipfile.ZipFile(dataset / "competition_data.zip", "w") as archive:
        for split in ("train", "test"):
            for name in read_zip(dataset / f"{split}.zip"):
                archive.writestr(f"competition_data/{split}/{name}", b"not looked at")
        archive.writestr("competition_data/train.csv", b"not looked at")
    return dataset


def with_what_macs_and_kaggle_add(dataset: Path) -> Path:
    first = next(name for name in read_zip(dataset / "train.zip") if name.startswith("images/"))
    extra = {
        "__MACOSX/images/._a.png": b"fork",
        f"__MACOSX/{first}": b"fork",
        "images/._b.png": b"x",
        ".DS_Store": b"x",
    }
    rewrite_zip(dataset / "train.zip", add={**extra, "images/": b"", "notes.txt": b"by hand"})
    rewrite_zip(dataset / "test.zip", add={"images/._c.png": b"fork", "masks/": b""})
    (dataset / "__MACOSX").mkdir()
    (dataset / "__MACOSX" / "._train.csv").write_bytes(b"fork")
    (dataset / "flamingo.zip").write_bytes(b"not even a zip")
    return dataset


def the_same_with_folders(dataset: Path) -> Path:
    with_what_macs_and_kaggle_add(dataset)
    return unpack(dataset)


def a_damaged_copy_beside_the_zips(dataset: Path) -> Path:
    (dataset / "competition_data.zip").write_bytes(b"PK\3\4 cut short")
    return dataset


def compressed_in_another_order(dataset: Path) -> Path:
    for name in ("train.zip", "test.zip"):
        members = read_zip(dataset / name)
        with zipfile.ZipFile(dataset / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in sorted(members.items(), reverse=True):
                archive.writestr(f"./{member}" if name == "test.zip" else member, content)
    return dataset


LAYOUTS = [
    zips_beside_csvs, unpacked, unpacked_one_level_down, csvs_beside_the_pictures, outer_zip, outer_zip_of_folders,
    outer_zip_with_a_folder_on_top, outer_zip_in_a_folder, csvs_zipped_singly, csvs_zipped_on_a_mac,
    competition_data_alone, competition_data_beside_the_zips, with_what_macs_and_kaggle_add, the_same_with_folders,
    a_damaged_copy_beside_the_zips, compressed_in_another_order,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], layout: Callable[[Path], Path]
) -> None:
    place = layout(make_dataset(tmp_path / "data"))
    assert packed(place, tmp_path / "packed") == expected


def test_nothing_is_written_where_the_dataset_lies(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in dataset.rglob("*")}
    preprocess(dataset, tmp_path / "packed", ANY)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in dataset.rglob("*")} == before


def test_the_source_with_all_tiles_is_taken_whole(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """train.zip lacks a tile that competition_data.zip has: nothing is filled in from the one to the other."""
    dataset = competition_data_beside_the_zips(make_dataset(tmp_path / "data"))
    pictures = read_zip(dataset / "train.zip")
    rewrite_zip(
        dataset / "competition_data.zip",
        {f"competition_data/train/{name}": content for name, content in pictures.items()}
        | {f"competition_data/test/{name}": content for name, content in read_zip(dataset / "test.zip").items()},
    )
    rewrite_zip(dataset / "train.zip", {min(pictures): None})
    assert detect_layout(dataset).where == "train.zip and test.zip"
    found = detect_layout(dataset, 24, 10)
    assert found.where == "competition_data.zip"
    assert {tile: read() for tile, read in found.pictures["train images"].items()} == {
        Path(name).stem: content for name, content in pictures.items() if name.startswith("images/")
    }


def test_halves_of_two_copies_are_no_dataset(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    for split in ("train", "test"):
        (dataset / f"copy of {split}").mkdir()
        (dataset / f"{split}.zip").rename(dataset / f"copy of {split}" / f"{split}.zip")
    with pytest.raises(UserError, match="0 train images, 0 train masks, 0 test images in loose folders"):
        detect_layout(dataset)


def test_what_was_found_and_what_was_expected(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    shutil.copytree(unpack(make_dataset(tmp_path / "other")) / "train", dataset / "train")
    with pytest.raises(UserError) as caught:
        detect_layout(dataset, 4000, 18000)
    assert str(caught.value) == (
        f"{dataset}: 24 train images, 24 train masks, 10 test images in train.zip and test.zip, "
        "24 train images, 24 train masks, 0 test images in loose folders; expected 4,000 train images, "
        "4,000 train masks and 18,000 test images: mend it, fetch the dataset again, or set data.train_tiles and "
        "data.test_tiles to what is right for it."
    )


def picture_twice_in_a_zip(dataset: Path) -> Path:
    first = sorted(read_zip(dataset / "test.zip"))[0]
    with zipfile.ZipFile(dataset / "test.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(first, b"another")
    return dataset


def large_table(dataset: Path) -> Path:
    with open(dataset / "train.csv", "ab") as stream:
        stream.truncate(65 << 20)
    return dataset


def large_picture_in_a_zip(dataset: Path) -> Path:
    rewrite_zip(dataset / "test.zip", add={"images/0123456789.png": bytes(17 << 20)})
    return dataset


def picture_of_many_pixels(dataset: Path) -> Path:
    first = min(read_zip(dataset / "test.zip"))
    content = bytearray(read_zip(dataset / "test.zip")[first])
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    rewrite_zip(dataset / "test.zip", {first: bytes(content)})
    return dataset


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (large_table, r"train\.csv: larger than 64 MiB, which no part of a dataset is; replace it\.$"),
        (large_picture_in_a_zip, r"test\.zip: member 'images/0123456789\.png' would be 17,825,792 bytes, more than"),
        (picture_of_many_pixels, r"\.png is 60,000 x 60,000 pixels, expected 101 x 101 \(data\.tile_size\)\.$"),
        (picture_twice_in_a_zip, r"test\.zip: member 'images/[0-9a-f]{10}\.png' is there twice; the competition's"),
    ],
)
def test_archives_are_not_trusted(tmp_path: Path, damage: Callable[[Path], Path], sentence: str) -> None:
    place = damage(make_dataset(tmp_path / "data"))
    with pytest.raises(UserError, match=sentence):
        preprocess(place, tmp_path / "packed", ANY)
    assert not (tmp_path / "packed").exists()


def test_what_was_found_is_said(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    tables = "depths.csv, sample_submission.csv, train.csv"
    counts = "24 train images, 24 train masks, 10 test images"
    assert str(detect_layout(dataset)) == f"{dataset}: {counts} in train.zip and test.zip; {tables}"
    assert str(detect_layout(unpack(dataset))) == f"{dataset}: {counts} in loose folders; {tables}"


def empty_folder(dataset: Path) -> Path:
    shutil.rmtree(dataset)
    dataset.mkdir()
    return dataset


def nothing_there(dataset: Path) -> Path:
    return dataset / "nowhere"


def only_tables(dataset: Path) -> Path:
    (dataset / "train.zip").unlink()
    (dataset / "test.zip").unlink()
    return dataset


def no_test_pictures(dataset: Path) -> Path:
    (dataset / "test.zip").unlink()
    return dataset


def no_masks(dataset: Path) -> Path:
    rewrite_zip(dataset / "train.zip", {n: None for n in read_zip(dataset / "train.zip") if n.startswith("masks/")})
    return dataset


def no_depths(dataset: Path) -> Path:
    (dataset / "depths.csv").unlink()
    return dataset


def no_tables(dataset: Path) -> Path:
    for path in dataset.glob("*.csv"):
        path.unlink()
    return dataset


def half_a_zip(dataset: Path) -> Path:
    content = (dataset / "train.zip").read_bytes()
    (dataset / "train.zip").write_bytes(content[: len(content) // 2])
    return dataset


def half_an_outer_zip(dataset: Path) -> Path:
    path = outer_zip(dataset)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def not_a_zip(dataset: Path) -> Path:
    return dataset / "train.csv"


def picture_twice_in_folders(dataset: Path) -> Path:
    unpack(dataset)
    shutil.copytree(dataset / "test", dataset / "old" / "test")
    return dataset


def empty_csv_zip(dataset: Path) -> Path:
    (dataset / "depths.csv").unlink()
    with zipfile.ZipFile(dataset / "depths.csv.zip", "w"):
        pass
    return dataset


EXPECTED = (
    "; expected train/images, train/masks and test/images with .png files, in train.zip and test.zip, "
    "in competition_data.zip, or in folders of these names."
)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (empty_folder, f"0 train images, 0 train masks, 0 test images in loose folders; no csv{EXPECTED}"),
        (nothing_there, "no such folder or zip; set data.directory (relative to the working folder)."),
        (only_tables, "0 train images, 0 train masks, 0 test images in loose folders; depths.csv, "
         f"sample_submission.csv, train.csv{EXPECTED}"),
        (no_test_pictures, "0 train images, 0 train masks, 0 test images in loose folders"),
        (no_masks, "24 train images, 0 train masks, 10 test images in train.zip and test.zip"),
        (no_depths, "no depths.csv found; a dataset has train.csv, depths.csv, sample_submission.csv."),
        (no_tables, "no train.csv and no depths.csv and no sample_submission.csv found; a dataset has"),
        (half_an_outer_zip, "not a whole zip (File is not a zip file); fetch it again."),
        (not_a_zip, "not a whole zip (File is not a zip file); fetch it again."),
        (picture_twice_in_folders, "test image .* is there twice; leave one of the two."),
    ],
)  # fmt: skip
def test_what_is_no_dataset(tmp_path: Path, damage: Callable[[Path], Path], sentence: str) -> None:
    place = damage(make_dataset(tmp_path / "data"))
    pattern = re.escape(f"{place}: {sentence}").replace(re.escape(".*"), "[0-9a-f]{10}")
    with pytest.raises(UserError, match=f"^{pattern}"):
        detect_layout(place)


def test_a_damaged_zip_in_a_folder_is_named(tmp_path: Path) -> None:
    place = half_a_zip(make_dataset(tmp_path / "data"))
    with pytest.raises(
        UserError, match=r"data/train\.zip: not a whole zip \(File is not a zip file\); fetch it again\.$"
    ):
        detect_layout(place)


def test_a_zip_without_its_table(tmp_path: Path) -> None:
    place = empty_csv_zip(make_dataset(tmp_path / "data"))
    with pytest.raises(UserError, match=r"depths\.csv\.zip: holds no depths\.csv; fetch it again\.$"):
        preprocess(place, tmp_path / "packed", ANY)

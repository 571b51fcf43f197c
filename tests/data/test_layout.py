"""All layouts of a dataset produce the same arrays; folders and zips without a dataset are rejected."""

from __future__ import annotations

import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.datasets import extract_zips, make_dataset, make_outer_zip, read_zip, rewrite_zip

from tgs_salt.data.layout import detect_layout
from tgs_salt.data.preprocess import preprocess
from tgs_salt.errors import UserError
from tgs_salt.settings import Data

ANY = Data(source="directory", directory="anywhere")
OUTPUTS = ["test_images.npy", "tiles.csv", "train_images.npy", "train_masks.npy"]


def preprocess_bytes(source: Path, output: Path) -> dict[str, bytes]:
    preprocess(source, output, ANY)
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the output for zips next to the csv files."""
    folder = tmp_path_factory.mktemp("expected")
    outputs = preprocess_bytes(make_dataset(folder / "data"), folder / "output")
    assert list(outputs) == OUTPUTS
    return outputs


def zips_next_to_csvs(dataset: Path) -> Path:
    return dataset


def unpacked(dataset: Path) -> Path:
    return extract_zips(dataset)


def unpacked_one_level_down(dataset: Path) -> Path:
    extract_zips(dataset)
    (dataset / "tgs").mkdir()
    for name in ("train", "test"):
        (dataset / name).rename(dataset / "tgs" / name)
    return dataset


def csvs_next_to_the_images(dataset: Path) -> Path:
    extract_zips(dataset)
    (dataset / "train.csv").rename(dataset / "train" / "train.csv")
    (dataset / "depths.csv").rename(dataset / "train" / "depths.csv")
    return dataset


def outer_zip(dataset: Path) -> Path:
    return make_outer_zip(dataset, dataset.with_suffix(".zip"))


def outer_zip_of_folders(dataset: Path) -> Path:
    return make_outer_zip(extract_zips(dataset), dataset.with_suffix(".zip"))


def outer_zip_with_a_top_level_folder(dataset: Path) -> Path:
    shutil.move(dataset, dataset.parent / "top" / "tgs")
    return make_outer_zip(dataset.parent / "top", dataset.with_suffix(".zip"))


def outer_zip_in_a_folder(dataset: Path) -> Path:
    """Put a backup zip in the folder; it is not part of the dataset."""
    make_outer_zip(dataset, dataset.parent / "copy.zip")
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


def competition_data_next_to_the_zips(dataset: Path) -> Path:
    """Add competition_data.zip, which Kaggle also provides; images of the two are not combined."""
    with zipfile.ZipFile(dataset / "competition_data.zip", "w") as archive:
        for split in ("train", "test"):
            for name in read_zip(dataset / f"{split}.zip"):
                archive.writestr(f"competition_data/{split}/{name}", b"not read")
        archive.writestr("competition_data/train.csv", b"not read")
    return dataset


def with_macos_metadata_and_other_files(dataset: Path) -> Path:
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


def folders_with_macos_metadata_and_other_files(dataset: Path) -> Path:
    with_macos_metadata_and_other_files(dataset)
    return extract_zips(dataset)


def a_damaged_copy_next_to_the_zips(dataset: Path) -> Path:
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
    zips_next_to_csvs, unpacked, unpacked_one_level_down, csvs_next_to_the_images, outer_zip, outer_zip_of_folders,
    outer_zip_with_a_top_level_folder, outer_zip_in_a_folder, csvs_zipped_singly, csvs_zipped_on_a_mac,
    competition_data_alone, competition_data_next_to_the_zips, with_macos_metadata_and_other_files,
    folders_with_macos_metadata_and_other_files,
    a_damaged_copy_next_to_the_zips, compressed_in_another_order,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_produce_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], layout: Callable[[Path], Path]
) -> None:
    source = layout(make_dataset(tmp_path / "data"))
    assert preprocess_bytes(source, tmp_path / "output") == expected


def test_the_source_folder_is_not_changed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in dataset.rglob("*")}
    preprocess(dataset, tmp_path / "output", ANY)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in dataset.rglob("*")} == before


def test_the_location_with_all_tiles_is_used(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """If train.zip lacks a tile, all images are read from competition_data.zip."""
    dataset = competition_data_next_to_the_zips(make_dataset(tmp_path / "data"))
    images = read_zip(dataset / "train.zip")
    rewrite_zip(
        dataset / "competition_data.zip",
        {f"competition_data/train/{name}": content for name, content in images.items()}
        | {f"competition_data/test/{name}": content for name, content in read_zip(dataset / "test.zip").items()},
    )
    rewrite_zip(dataset / "train.zip", {min(images): None})
    assert detect_layout(dataset).location == "train.zip and test.zip"
    source = detect_layout(dataset, 24, 10)
    assert source.location == "competition_data.zip"
    assert {tile: read() for tile, read in source.image_readers["train images"].items()} == {
        Path(name).stem: content for name, content in images.items() if name.startswith("images/")
    }


def test_zips_in_different_folders_are_not_combined(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    for split in ("train", "test"):
        (dataset / f"copy of {split}").mkdir()
        (dataset / f"{split}.zip").rename(dataset / f"copy of {split}" / f"{split}.zip")
    with pytest.raises(UserError, match="0 train images, 0 train masks, 0 test images in unpacked folders"):
        detect_layout(dataset)


def test_the_error_lists_found_and_expected_tiles(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    shutil.copytree(extract_zips(make_dataset(tmp_path / "other")) / "train", dataset / "train")
    with pytest.raises(UserError) as caught:
        detect_layout(dataset, 4000, 18000)
    assert str(caught.value) == (
        f"{dataset}: found 24 train images, 24 train masks, 10 test images in train.zip and test.zip, "
        "24 train images, 24 train masks, 0 test images in unpacked folders; expected 4,000 train images, "
        "4,000 train masks and 18,000 test images. Download the dataset again, or set data.train_tiles "
        "and data.test_tiles to the actual number of tiles."
    )


def duplicate_image_in_a_zip(dataset: Path) -> Path:
    first = sorted(read_zip(dataset / "test.zip"))[0]
    with zipfile.ZipFile(dataset / "test.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(first, b"another")
    return dataset


def large_table(dataset: Path) -> Path:
    with open(dataset / "train.csv", "ab") as stream:
        stream.truncate(65 << 20)
    return dataset


def large_image_in_a_zip(dataset: Path) -> Path:
    rewrite_zip(dataset / "test.zip", add={"images/0123456789.png": bytes(17 << 20)})
    return dataset


def image_of_many_pixels(dataset: Path) -> Path:
    first = min(read_zip(dataset / "test.zip"))
    content = bytearray(read_zip(dataset / "test.zip")[first])
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    rewrite_zip(dataset / "test.zip", {first: bytes(content)})
    return dataset


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (large_table, r"train\.csv: larger than the limit of 64 MiB; replace it with the original file\.$"),
        (large_image_in_a_zip, r"test\.zip: member 'images/0123456789\.png' unpacks to 17,825,792 bytes, above"),
        (image_of_many_pixels, r"\.png is 60,000 x 60,000 pixels, expected 101 x 101 \(data\.tile_size\)\.$"),
        (duplicate_image_in_a_zip, r"test\.zip: member 'images/[0-9a-f]{10}\.png' appears twice; the competition's"),
    ],
)
def test_oversized_and_duplicate_files_are_rejected(
    tmp_path: Path, damage: Callable[[Path], Path], message: str
) -> None:
    path = damage(make_dataset(tmp_path / "data"))
    with pytest.raises(UserError, match=message):
        preprocess(path, tmp_path / "output", ANY)
    assert not (tmp_path / "output").exists()


def test_the_source_describes_its_content(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    tables = "depths.csv, sample_submission.csv, train.csv"
    counts = "24 train images, 24 train masks, 10 test images"
    assert str(detect_layout(dataset)) == f"{dataset}: {counts} in train.zip and test.zip; {tables}"
    assert str(detect_layout(extract_zips(dataset))) == f"{dataset}: {counts} in unpacked folders; {tables}"


def empty_folder(dataset: Path) -> Path:
    shutil.rmtree(dataset)
    dataset.mkdir()
    return dataset


def missing_path(dataset: Path) -> Path:
    return dataset / "nowhere"


def only_tables(dataset: Path) -> Path:
    (dataset / "train.zip").unlink()
    (dataset / "test.zip").unlink()
    return dataset


def no_test_images(dataset: Path) -> Path:
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


def duplicate_image_in_folders(dataset: Path) -> Path:
    extract_zips(dataset)
    shutil.copytree(dataset / "test", dataset / "old" / "test")
    return dataset


def empty_csv_zip(dataset: Path) -> Path:
    (dataset / "depths.csv").unlink()
    with zipfile.ZipFile(dataset / "depths.csv.zip", "w"):
        pass
    return dataset


EXPECTED = (
    "; expected train/images, train/masks and test/images with .png files, in train.zip and test.zip, "
    "in competition_data.zip, or in folders with these names."
)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_folder,
         f"found 0 train images, 0 train masks, 0 test images in unpacked folders; no csv files{EXPECTED}"),
        (missing_path, "no such folder or zip; set data.directory (relative to the working directory)."),
        (only_tables, "found 0 train images, 0 train masks, 0 test images in unpacked folders; depths.csv, "
         f"sample_submission.csv, train.csv{EXPECTED}"),
        (no_test_images, "found 0 train images, 0 train masks, 0 test images in unpacked folders"),
        (no_masks, "found 24 train images, 0 train masks, 10 test images in train.zip and test.zip"),
        (no_depths, "missing depths.csv; a dataset has train.csv, depths.csv, sample_submission.csv."),
        (no_tables, "missing train.csv, depths.csv, sample_submission.csv; a dataset has"),
        (half_an_outer_zip, "not a valid zip file (File is not a zip file); download it again."),
        (not_a_zip, "not a valid zip file (File is not a zip file); download it again."),
        (duplicate_image_in_folders, "test image .* appears twice; remove one of the two files."),
    ],
)  # fmt: skip
def test_paths_without_a_complete_dataset_are_rejected(
    tmp_path: Path, damage: Callable[[Path], Path], message: str
) -> None:
    path = damage(make_dataset(tmp_path / "data"))
    pattern = re.escape(f"{path}: {message}").replace(re.escape(".*"), "[0-9a-f]{10}")
    with pytest.raises(UserError, match=f"^{pattern}"):
        detect_layout(path)


def test_the_error_names_a_damaged_zip(tmp_path: Path) -> None:
    path = half_a_zip(make_dataset(tmp_path / "data"))
    with pytest.raises(
        UserError, match=r"data/train\.zip: not a valid zip file \(File is not a zip file\); download it again\.$"
    ):
        detect_layout(path)


def test_an_empty_table_zip_is_rejected(tmp_path: Path) -> None:
    path = empty_csv_zip(make_dataset(tmp_path / "data"))
    with pytest.raises(UserError, match=r"depths\.csv\.zip: does not contain depths\.csv; download it again\.$"):
        preprocess(path, tmp_path / "output", ANY)

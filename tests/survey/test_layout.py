"""However a survey lies on the disk, the same arrays come out of it; and what is no survey is told from one."""

from __future__ import annotations

import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from surveys import as_outer_zip, make_survey, read_zip, rewrite_zip, unpack

from tgs_salt.errors import UserError
from tgs_salt.settings import Survey
from tgs_salt.survey.layout import recognise
from tgs_salt.survey.pack import pack

ANY = Survey(source="directory", directory="anywhere")
PACKED = ["test_images.npy", "tiles.csv", "train_images.npy", "train_masks.npy"]


def packed(source: Path, output: Path) -> dict[str, bytes]:
    pack(source, output, ANY)
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes of zips that lie beside the csv files."""
    folder = tmp_path_factory.mktemp("beside")
    found = packed(make_survey(folder / "survey"), folder / "packed")
    assert list(found) == PACKED
    return found


def zips_beside_csvs(survey: Path) -> Path:
    return survey


def unpacked(survey: Path) -> Path:
    return unpack(survey)


def unpacked_one_level_down(survey: Path) -> Path:
    unpack(survey)
    (survey / "tgs").mkdir()
    for name in ("train", "test"):
        (survey / name).rename(survey / "tgs" / name)
    return survey


def csvs_beside_the_pictures(survey: Path) -> Path:
    unpack(survey)
    (survey / "train.csv").rename(survey / "train" / "train.csv")
    (survey / "depths.csv").rename(survey / "train" / "depths.csv")
    return survey


def outer_zip(survey: Path) -> Path:
    return as_outer_zip(survey, survey.with_suffix(".zip"))


def outer_zip_of_folders(survey: Path) -> Path:
    return as_outer_zip(unpack(survey), survey.with_suffix(".zip"))


def outer_zip_with_a_folder_on_top(survey: Path) -> Path:
    shutil.move(survey, survey.parent / "top" / "tgs")
    return as_outer_zip(survey.parent / "top", survey.with_suffix(".zip"))


def outer_zip_in_a_folder(survey: Path) -> Path:
    """Not an outer zip but its content: a zip elsewhere in the folder is no part of the survey."""
    as_outer_zip(survey, survey.parent / "copy.zip")
    shutil.move(survey.parent / "copy.zip", survey / "backup.zip")
    return survey


def csvs_zipped_singly(survey: Path) -> Path:
    for name in ("train.csv", "depths.csv", "sample_submission.csv"):
        with zipfile.ZipFile(survey / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(survey / name, name)
        (survey / name).unlink()
    return survey


def csvs_zipped_on_a_mac(survey: Path) -> Path:
    for name in ("train.csv", "depths.csv", "sample_submission.csv"):
        with zipfile.ZipFile(survey / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"__MACOSX/._{name}", b"\0\5\26\7 not a table")
            archive.write(survey / name, name)
        (survey / name).unlink()
    return survey


def competition_data_alone(survey: Path) -> Path:
    with zipfile.ZipFile(survey / "competition_data.zip", "w") as archive:
        for split in ("train", "test"):
            for name, content in read_zip(survey / f"{split}.zip").items():
                archive.writestr(f"competition_data/{split}/{name}", content)
            (survey / f"{split}.zip").unlink()
        archive.write(survey / "train.csv", "competition_data/train.csv")
    (survey / "train.csv").unlink()
    return survey


def competition_data_beside_the_zips(survey: Path) -> Path:
    """Kaggle hands out both; pictures of the one are not mixed with those of the other."""
    with zipfile.ZipFile(survey / "competition_data.zip", "w") as archive:
        for split in ("train", "test"):
            for name in read_zip(survey / f"{split}.zip"):
                archive.writestr(f"competition_data/{split}/{name}", b"not looked at")
        archive.writestr("competition_data/train.csv", b"not looked at")
    return survey


def with_what_macs_and_kaggle_add(survey: Path) -> Path:
    first = next(name for name in read_zip(survey / "train.zip") if name.startswith("images/"))
    extra = {
        "__MACOSX/images/._a.png": b"fork",
        f"__MACOSX/{first}": b"fork",
        "images/._b.png": b"x",
        ".DS_Store": b"x",
    }
    rewrite_zip(survey / "train.zip", add={**extra, "images/": b"", "notes.txt": b"by hand"})
    rewrite_zip(survey / "test.zip", add={"images/._c.png": b"fork", "masks/": b""})
    (survey / "__MACOSX").mkdir()
    (survey / "__MACOSX" / "._train.csv").write_bytes(b"fork")
    (survey / "flamingo.zip").write_bytes(b"not even a zip")
    return survey


def the_same_with_folders(survey: Path) -> Path:
    with_what_macs_and_kaggle_add(survey)
    return unpack(survey)


def a_damaged_copy_beside_the_zips(survey: Path) -> Path:
    (survey / "competition_data.zip").write_bytes(b"PK\3\4 cut short")
    return survey


def compressed_in_another_order(survey: Path) -> Path:
    for name in ("train.zip", "test.zip"):
        members = read_zip(survey / name)
        with zipfile.ZipFile(survey / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in sorted(members.items(), reverse=True):
                archive.writestr(f"./{member}" if name == "test.zip" else member, content)
    return survey


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
    place = layout(make_survey(tmp_path / "survey"))
    assert packed(place, tmp_path / "packed") == expected


def test_nothing_is_written_where_the_survey_lies(tmp_path: Path) -> None:
    survey = make_survey(tmp_path / "survey")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in survey.rglob("*")}
    pack(survey, tmp_path / "packed", ANY)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in survey.rglob("*")} == before


def test_the_source_with_all_tiles_is_taken_whole(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """train.zip lacks a tile that competition_data.zip has: nothing is filled in from the one to the other."""
    survey = competition_data_beside_the_zips(make_survey(tmp_path / "survey"))
    pictures = read_zip(survey / "train.zip")
    rewrite_zip(
        survey / "competition_data.zip",
        {f"competition_data/train/{name}": content for name, content in pictures.items()}
        | {f"competition_data/test/{name}": content for name, content in read_zip(survey / "test.zip").items()},
    )
    rewrite_zip(survey / "train.zip", {min(pictures): None})
    assert recognise(survey).where == "train.zip and test.zip"
    found = recognise(survey, 24, 10)
    assert found.where == "competition_data.zip"
    assert {tile: read() for tile, read in found.pictures["train images"].items()} == {
        Path(name).stem: content for name, content in pictures.items() if name.startswith("images/")
    }


def test_halves_of_two_copies_are_no_survey(tmp_path: Path) -> None:
    survey = make_survey(tmp_path / "survey")
    for split in ("train", "test"):
        (survey / f"copy of {split}").mkdir()
        (survey / f"{split}.zip").rename(survey / f"copy of {split}" / f"{split}.zip")
    with pytest.raises(UserError, match="0 train images, 0 train masks, 0 test images in loose folders"):
        recognise(survey)


def test_what_was_found_and_what_was_expected(tmp_path: Path) -> None:
    survey = make_survey(tmp_path / "survey")
    shutil.copytree(unpack(make_survey(tmp_path / "other")) / "train", survey / "train")
    with pytest.raises(UserError) as caught:
        recognise(survey, 4000, 18000)
    assert str(caught.value) == (
        f"{survey}: 24 train images, 24 train masks, 10 test images in train.zip and test.zip, "
        "24 train images, 24 train masks, 0 test images in loose folders; expected 4,000 train images, "
        "4,000 train masks and 18,000 test images: mend it, fetch the survey again, or set survey.train_tiles and "
        "survey.test_tiles to what is right for it."
    )


def picture_twice_in_a_zip(survey: Path) -> Path:
    first = sorted(read_zip(survey / "test.zip"))[0]
    with zipfile.ZipFile(survey / "test.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(first, b"another")
    return survey


def large_table(survey: Path) -> Path:
    with open(survey / "train.csv", "ab") as stream:
        stream.truncate(65 << 20)
    return survey


def large_picture_in_a_zip(survey: Path) -> Path:
    rewrite_zip(survey / "test.zip", add={"images/0123456789.png": bytes(17 << 20)})
    return survey


def picture_of_many_pixels(survey: Path) -> Path:
    first = min(read_zip(survey / "test.zip"))
    content = bytearray(read_zip(survey / "test.zip")[first])
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    rewrite_zip(survey / "test.zip", {first: bytes(content)})
    return survey


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (large_table, r"train\.csv: larger than 64 MiB, which no part of a survey is; replace it\.$"),
        (large_picture_in_a_zip, r"test\.zip: member 'images/0123456789\.png' would be 17,825,792 bytes, more than"),
        (picture_of_many_pixels, r"\.png is 60,000 x 60,000 pixels, expected 101 x 101 \(survey\.tile_size\)\.$"),
        (picture_twice_in_a_zip, r"test\.zip: member 'images/[0-9a-f]{10}\.png' is there twice; the competition's"),
    ],
)
def test_archives_are_not_trusted(tmp_path: Path, damage: Callable[[Path], Path], sentence: str) -> None:
    place = damage(make_survey(tmp_path / "survey"))
    with pytest.raises(UserError, match=sentence):
        pack(place, tmp_path / "packed", ANY)
    assert not (tmp_path / "packed").exists()


def test_what_was_found_is_said(tmp_path: Path) -> None:
    survey = make_survey(tmp_path / "survey")
    tables = "depths.csv, sample_submission.csv, train.csv"
    counts = "24 train images, 24 train masks, 10 test images"
    assert str(recognise(survey)) == f"{survey}: {counts} in train.zip and test.zip; {tables}"
    assert str(recognise(unpack(survey))) == f"{survey}: {counts} in loose folders; {tables}"


def empty_folder(survey: Path) -> Path:
    shutil.rmtree(survey)
    survey.mkdir()
    return survey


def nothing_there(survey: Path) -> Path:
    return survey / "nowhere"


def only_tables(survey: Path) -> Path:
    (survey / "train.zip").unlink()
    (survey / "test.zip").unlink()
    return survey


def no_test_pictures(survey: Path) -> Path:
    (survey / "test.zip").unlink()
    return survey


def no_masks(survey: Path) -> Path:
    rewrite_zip(survey / "train.zip", {n: None for n in read_zip(survey / "train.zip") if n.startswith("masks/")})
    return survey


def no_depths(survey: Path) -> Path:
    (survey / "depths.csv").unlink()
    return survey


def no_tables(survey: Path) -> Path:
    for path in survey.glob("*.csv"):
        path.unlink()
    return survey


def half_a_zip(survey: Path) -> Path:
    content = (survey / "train.zip").read_bytes()
    (survey / "train.zip").write_bytes(content[: len(content) // 2])
    return survey


def half_an_outer_zip(survey: Path) -> Path:
    path = outer_zip(survey)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def not_a_zip(survey: Path) -> Path:
    return survey / "train.csv"


def picture_twice_in_folders(survey: Path) -> Path:
    unpack(survey)
    shutil.copytree(survey / "test", survey / "old" / "test")
    return survey


def empty_csv_zip(survey: Path) -> Path:
    (survey / "depths.csv").unlink()
    with zipfile.ZipFile(survey / "depths.csv.zip", "w"):
        pass
    return survey


EXPECTED = (
    "; expected train/images, train/masks and test/images with .png files, in train.zip and test.zip, "
    "in competition_data.zip, or in folders of these names."
)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (empty_folder, f"0 train images, 0 train masks, 0 test images in loose folders; no csv{EXPECTED}"),
        (nothing_there, "no such folder or zip; set survey.directory (relative to the working folder)."),
        (only_tables, "0 train images, 0 train masks, 0 test images in loose folders; depths.csv, "
         f"sample_submission.csv, train.csv{EXPECTED}"),
        (no_test_pictures, "0 train images, 0 train masks, 0 test images in loose folders"),
        (no_masks, "24 train images, 0 train masks, 10 test images in train.zip and test.zip"),
        (no_depths, "no depths.csv found; a survey has train.csv, depths.csv, sample_submission.csv."),
        (no_tables, "no train.csv and no depths.csv and no sample_submission.csv found; a survey has"),
        (half_an_outer_zip, "not a whole zip (File is not a zip file); fetch it again."),
        (not_a_zip, "not a whole zip (File is not a zip file); fetch it again."),
        (picture_twice_in_folders, "test image .* is there twice; leave one of the two."),
    ],
)  # fmt: skip
def test_what_is_no_survey(tmp_path: Path, damage: Callable[[Path], Path], sentence: str) -> None:
    place = damage(make_survey(tmp_path / "survey"))
    pattern = re.escape(f"{place}: {sentence}").replace(re.escape(".*"), "[0-9a-f]{10}")
    with pytest.raises(UserError, match=f"^{pattern}"):
        recognise(place)


def test_a_damaged_zip_in_a_folder_is_named(tmp_path: Path) -> None:
    place = half_a_zip(make_survey(tmp_path / "survey"))
    with pytest.raises(
        UserError, match=r"survey/train\.zip: not a whole zip \(File is not a zip file\); fetch it again\.$"
    ):
        recognise(place)


def test_a_zip_without_its_table(tmp_path: Path) -> None:
    place = empty_csv_zip(make_survey(tmp_path / "survey"))
    with pytest.raises(UserError, match=r"depths\.csv\.zip: holds no depths\.csv; fetch it again\.$"):
        pack(place, tmp_path / "packed", ANY)

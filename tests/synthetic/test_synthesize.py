"""The synthetic dataset: the competition's layout to the letter, the same bytes every time, and no easy way to win."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
import zipfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from tgs_salt.errors import UserError
from tgs_salt.synthetic.salt import Canvas, fractal
from tgs_salt.synthetic.seismic import convolved, draw_section, ricker
from tgs_salt.synthetic.synthesize import draw_tiles, synthesize

TRAIN, TEST = 200, 60
FILES = {"train.csv", "depths.csv", "sample_submission.csv", "train.zip", "test.zip"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    synthesize(folder, seed=7, train_tiles=TRAIN, test_tiles=TEST)
    return folder


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "simple_rules.py"
    spec = importlib.util.spec_from_file_location("simple_rules", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def pictures(path: Path) -> dict[str, Image.Image]:
    """Every member, decoded by another library than the one that encoded it."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}


def painted(rle: str, size: int) -> np.ndarray:
    """A mask from its runs, one pixel at a time: down the first column, then the next; the first pixel is 1."""
    mask = np.zeros((size, size), bool)
    numbers = [int(token) for token in rle.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % size, pixel // size] = True
    return mask


def test_files_and_tables(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == FILES
    train, depths, sample = (table(dataset / f"{name}.csv") for name in ("train", "depths", "sample_submission"))
    assert [len(train), len(depths), len(sample)] == [TRAIN, TRAIN + TEST, TEST]
    assert [list(rows[0]) for rows in (train, depths, sample)] == [["id", "rle_mask"], ["id", "z"], ["id", "rle_mask"]]
    train_ids, sample_ids = [row["id"] for row in train], [row["id"] for row in sample]
    assert all(re.fullmatch(r"[0-9a-f]{10}", i) for i in train_ids + sample_ids)
    assert len(set(train_ids + sample_ids)) == TRAIN + TEST
    assert {row["id"] for row in depths} == set(train_ids + sample_ids)
    assert [row["id"] for row in depths] != train_ids + sample_ids
    assert all(50 <= int(row["z"]) <= 959 for row in depths)
    assert {row["rle_mask"] for row in sample} == {"1 1"}
    assert set(pictures(dataset / "train.zip")) == {
        f"{kind}/{i}.png" for kind in ("images", "masks") for i in train_ids
    }
    in_zip = [Path(name).stem for name in pictures(dataset / "test.zip")]
    assert set(in_zip) == set(sample_ids) and in_zip != sample_ids


def test_pictures_have_the_competitions_modes(dataset: Path) -> None:
    train = pictures(dataset / "train.zip")
    blank = 0
    for row in table(dataset / "train.csv"):
        image = train[f"images/{row['id']}.png"]
        assert image.mode == "RGB" and image.size == (101, 101)
        pixels = np.asarray(image)
        assert (pixels == pixels[:, :, :1]).all()
        mask = train[f"masks/{row['id']}.png"]
        assert mask.mode == ("I;16" if row["rle_mask"] else "L")
        values = np.asarray(mask)
        assert set(np.unique(values)) <= {0, 65535}
        assert (painted(row["rle_mask"], 101) == (values > 0)).all()
        assert 0 <= (values > 0).sum() < 101 * 101, "no mask is full"
        if not pixels.any():
            blank += 1
            assert not row["rle_mask"], "a blank tile has an empty mask"
        else:
            assert pixels.min() < pixels.max()
    assert blank == round(0.02 * TRAIN)


def test_zip_members_are_stored_with_one_time(dataset: Path) -> None:
    for name in ("train.zip", "test.zip"):
        with zipfile.ZipFile(dataset / name) as archive:
            assert {(m.compress_type, m.date_time) for m in archive.infolist()} == {
                (zipfile.ZIP_STORED, (2018, 7, 19, 0, 0, 0))
            }


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_same_seed_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    for name, seed, count in (("a", 3, 1), ("b", 3, 4), ("c", 4, 1)):
        cv2.setNumThreads(count)
        synthesize(tmp_path / name, seed=seed, train_tiles=40, test_tiles=20)
    cv2.setNumThreads(threads)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert all(first[name] != other[name] for name in FILES)


@pytest.mark.parametrize("seed", range(4))
def test_shares_of_empty_blank_and_covered_tiles(seed: int) -> None:
    (tiles,) = draw_tiles(seed, [400])
    empty = np.array([tile.rle == "" for tile in tiles])
    assert 0.37 <= empty.mean() <= 0.41
    lengths = [sum(map(int, tile.rle.split()[1::2])) for tile in tiles if tile.rle]
    coverage = np.array(lengths) / 101**2
    assert 0.32 < coverage.mean() < 0.48
    assert 0.01 < (coverage < 0.01).mean() < 0.12
    assert (coverage > 0.95).any() and coverage.max() < 1


@pytest.mark.parametrize(("train", "test", "size"), [(12, 6, 101), (4, 1, 101), (12, 6, 64), (30, 6, 128)])
def test_small_surveys_and_other_sizes(tmp_path: Path, train: int, test: int, size: int) -> None:
    synthesize(tmp_path, seed=1, train_tiles=train, test_tiles=test, tile_size=size)
    rles = [row["rle_mask"] for row in table(tmp_path / "train.csv")]
    assert len(rles) == train and any(rles) and not all(rles)
    assert {image.size for image in pictures(tmp_path / "train.zip").values()} == {(size, size)}
    assert len(table(tmp_path / "sample_submission.csv")) == test


def test_tiles_are_distinct(dataset: Path) -> None:
    seen = [image.tobytes() for name, image in pictures(dataset / "train.zip").items() if name.startswith("images")]
    seen += [image.tobytes() for image in pictures(dataset / "test.zip").values()]
    shown = [pixels for pixels in seen if any(pixels)]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("wrong", [{"train_tiles": 0}, {"test_tiles": 0}, {"tile_size": 8}])
def test_impossible_surveys_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="expected at least one train and one test tile"):
        synthesize(tmp_path, **{"seed": 0, "train_tiles": 4, "test_tiles": 2, **wrong})
    assert not list(tmp_path.iterdir())


def test_simple_rules_do_not_win(dataset: Path, rules: ModuleType) -> None:
    images, masks, depth = rules.load(dataset)
    found = [*rules.constant_rules(masks), ("depth", rules.depth_rule(masks, depth, bins=5))]
    tried = {"intensity", "mean over 7", "deviation over 7", "relative deviation over 15", "relative envelope over 15"}
    found += [(name, rules.threshold_rule(map_, masks)) for name, map_ in rules.features(images) if name in tried]
    assert len(found) == 5 + len(tried)
    assert max(score for _, score in found) <= 0.50, found


def test_rules_are_scored_as_the_competition_scores(rules: ModuleType) -> None:
    counts = np.array([(0, 0, 0), (0, 5, 0), (0, 0, 5), (1, 2, 1), (3, 4, 3), (20, 20, 20)])
    overlap, predicted, truth = counts.T
    # Both empty, one-sided twice, IoU exactly 1/2 (no threshold passed), 3/4 (five passed, not the sixth), full marks.
    assert rules.scores(overlap, predicted, truth).tolist() == [1, 0, 0, 0, 0.5, 1]


def test_ricker_wavelet() -> None:
    wave = ricker(20.0, reach=3.0)
    assert wave.argmax() == len(wave) // 2 and wave.max() == 1
    assert abs(wave.sum()) < 1e-9, "no zero frequency"
    spectrum = np.abs(np.fft.rfft(wave, 4000))
    assert np.fft.rfftfreq(4000)[spectrum.argmax()] == pytest.approx(1 / 20, rel=0.01)


def test_a_hard_top_gives_a_reflection_on_its_row() -> None:
    impedance = np.zeros((101, 40), np.float32)
    impedance[50:] = 1
    wave = convolved(impedance, period=12, deeper=1.0, smear=1.0)
    assert np.abs(wave).argmax(axis=0).tolist() == [50] * 40 or np.abs(wave).argmax(axis=0).tolist() == [49] * 40
    assert wave[50].min() > 0, "harder below is a positive reflection"


def test_fractal_lines_are_scaled_and_band_limited() -> None:
    line = fractal(np.random.default_rng(0), 4096, 128, 16)
    assert line.shape == (4096,) and line.std() == pytest.approx(1, abs=0.2)
    power = np.abs(np.fft.rfft(line * np.hanning(4096))) ** 2
    wavelength = 1 / np.maximum(np.fft.rfftfreq(4096), 1e-9)
    assert power[(wavelength < 140) & (wavelength > 15)].sum() > 0.99 * power.sum()


def test_salt_is_quieter_than_rock() -> None:
    quieter = []
    for seed in range(6):
        section = draw_section(np.random.default_rng(seed), Canvas(404, 808, 101))
        assert section.amplitude.shape == section.salt.shape == (404, 808)
        assert np.isfinite(section.amplitude).all()
        inside = cv2.erode(section.salt, np.ones((25, 25), np.uint8)) > 0
        if inside.sum() > 2000:
            quieter.append(section.amplitude[inside].std() < 0.7 * section.amplitude[section.salt == 0].std())
    assert quieter and all(quieter)

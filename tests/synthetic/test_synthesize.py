"""The synthetic dataset has the competition's layout, is reproducible, and simple rules score low on it."""

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
from tgs_salt.synthetic.salt import Grid, fractal_noise
from tgs_salt.synthetic.seismic import generate_section, reflection_amplitude, ricker
from tgs_salt.synthetic.synthesize import generate_tiles, synthesize

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


def read_images(path: Path) -> dict[str, Image.Image]:
    """Return every member, decoded by another library than the one that encoded it."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}


def decode_rle(rle: str, size: int) -> np.ndarray:
    """Decode a mask pixel by pixel: column-major, the first pixel is 1."""
    mask = np.zeros((size, size), bool)
    numbers = [int(token) for token in rle.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % size, pixel // size] = True
    return mask


def test_file_names_and_tables(dataset: Path) -> None:
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
    assert set(read_images(dataset / "train.zip")) == {
        f"{kind}/{i}.png" for kind in ("images", "masks") for i in train_ids
    }
    in_zip = [Path(name).stem for name in read_images(dataset / "test.zip")]
    assert set(in_zip) == set(sample_ids) and in_zip != sample_ids


def test_images_have_the_modes_of_the_competition(dataset: Path) -> None:
    train = read_images(dataset / "train.zip")
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
        assert (decode_rle(row["rle_mask"], 101) == (values > 0)).all()
        assert 0 <= (values > 0).sum() < 101 * 101, "no mask is full"
        if not pixels.any():
            blank += 1
            assert not row["rle_mask"], "a blank tile has an empty mask"
        else:
            assert pixels.min() < pixels.max()
    assert blank == round(0.02 * TRAIN)


def test_zip_members_are_stored_with_a_constant_time(dataset: Path) -> None:
    for name in ("train.zip", "test.zip"):
        with zipfile.ZipFile(dataset / name) as archive:
            assert {(m.compress_type, m.date_time) for m in archive.infolist()} == {
                (zipfile.ZIP_STORED, (2018, 7, 19, 0, 0, 0))
            }


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_bytes_depend_on_the_seed_but_not_on_threads(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    for name, seed, count in (("a", 3, 1), ("b", 3, 4), ("c", 4, 1)):
        cv2.setNumThreads(count)
        synthesize(tmp_path / name, seed=seed, train_tiles=40, test_tiles=20)
    cv2.setNumThreads(threads)
    first, second, other = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert all(first[name] != other[name] for name in FILES)


@pytest.mark.parametrize("seed", range(4))
def test_shares_of_empty_and_covered_tiles(seed: int) -> None:
    (tiles,) = generate_tiles(seed, [400])
    empty = np.array([tile.rle == "" for tile in tiles])
    assert 0.37 <= empty.mean() <= 0.41
    lengths = [sum(map(int, tile.rle.split()[1::2])) for tile in tiles if tile.rle]
    coverage = np.array(lengths) / 101**2
    assert 0.32 < coverage.mean() < 0.48
    assert 0.01 < (coverage < 0.01).mean() < 0.12
    assert (coverage > 0.95).any() and coverage.max() < 1


@pytest.mark.parametrize(("train", "test", "size"), [(12, 6, 101), (4, 1, 101), (12, 6, 64), (30, 6, 128)])
def test_small_datasets_and_other_tile_sizes(tmp_path: Path, train: int, test: int, size: int) -> None:
    synthesize(tmp_path, seed=1, train_tiles=train, test_tiles=test, tile_size=size)
    rles = [row["rle_mask"] for row in table(tmp_path / "train.csv")]
    assert len(rles) == train and any(rles) and not all(rles)
    assert {image.size for image in read_images(tmp_path / "train.zip").values()} == {(size, size)}
    assert len(table(tmp_path / "sample_submission.csv")) == test


def test_tiles_are_distinct(dataset: Path) -> None:
    train = read_images(dataset / "train.zip").items()
    images = [image.tobytes() for name, image in train if name.startswith("images")]
    images += [image.tobytes() for image in read_images(dataset / "test.zip").values()]
    not_blank = [pixels for pixels in images if any(pixels)]
    assert len(set(not_blank)) == len(not_blank)


@pytest.mark.parametrize("changes", [{"train_tiles": 0}, {"test_tiles": 0}, {"tile_size": 8}])
def test_impossible_settings_are_rejected(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match="expected at least one train tile, one test tile"):
        synthesize(tmp_path, **{"seed": 0, "train_tiles": 4, "test_tiles": 2, **changes})
    assert not list(tmp_path.iterdir())


def test_simple_rules_score_low(dataset: Path, rules: ModuleType) -> None:
    images, masks, depth = rules.load(dataset)
    results = [*rules.constant_rules(masks), ("depth", rules.depth_rule(masks, depth, bins=5))]
    names = {"intensity", "mean over 7", "deviation over 7", "relative deviation over 15", "relative envelope over 15"}
    results += [(name, rules.threshold_rule(map_, masks)) for name, map_ in rules.features(images) if name in names]
    assert len(results) == 5 + len(names)
    assert max(score for _, score in results) <= 0.50, results


def test_simple_rules_use_the_competition_score(rules: ModuleType) -> None:
    counts = np.array([(0, 0, 0), (0, 5, 0), (0, 0, 5), (1, 2, 1), (3, 4, 3), (20, 20, 20)])
    overlap, predicted, actual = counts.T
    # Both empty; one empty (twice); IoU 1/2 (exceeds no threshold), 3/4 (exceeds five) and 1.
    assert rules.scores(overlap, predicted, actual).tolist() == [1, 0, 0, 0, 0.5, 1]


def test_ricker_wavelet_has_its_period_and_no_mean() -> None:
    wavelet = ricker(20.0, reach=3.0)
    assert wavelet.argmax() == len(wavelet) // 2 and wavelet.max() == 1
    assert abs(wavelet.sum()) < 1e-9, "no zero frequency"
    spectrum = np.abs(np.fft.rfft(wavelet, 4000))
    assert np.fft.rfftfreq(4000)[spectrum.argmax()] == pytest.approx(1 / 20, rel=0.01)


def test_an_impedance_step_causes_a_reflection_in_its_row() -> None:
    impedance = np.zeros((101, 40), np.float32)
    impedance[50:] = 1
    amplitude = reflection_amplitude(impedance, period=12, period_growth=1.0, lateral_sigma=1.0)
    rows = np.abs(amplitude).argmax(axis=0).tolist()
    assert rows in ([50] * 40, [49] * 40)
    assert amplitude[50].min() > 0, "an increase of impedance is a positive reflection"


def test_fractal_noise_is_scaled_and_band_limited() -> None:
    line = fractal_noise(np.random.default_rng(0), 4096, 128, 16)
    assert line.shape == (4096,) and line.std() == pytest.approx(1, abs=0.2)
    power = np.abs(np.fft.rfft(line * np.hanning(4096))) ** 2
    wavelength = 1 / np.maximum(np.fft.rfftfreq(4096), 1e-9)
    assert power[(wavelength < 140) & (wavelength > 15)].sum() > 0.99 * power.sum()


def test_amplitudes_are_lower_in_salt_than_in_rock() -> None:
    lower = []
    for seed in range(6):
        section = generate_section(np.random.default_rng(seed), Grid(404, 808, 101))
        assert section.amplitude.shape == section.salt.shape == (404, 808)
        assert np.isfinite(section.amplitude).all()
        inside = cv2.erode(section.salt, np.ones((25, 25), np.uint8)) > 0
        if inside.sum() > 2000:
            lower.append(section.amplitude[inside].std() < 0.7 * section.amplitude[section.salt == 0].std())
    assert lower and all(lower)

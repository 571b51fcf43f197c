"""A bundle segments tiles as the experiment does, and sections as their tiles."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tgs_salt.errors import UserError
from tgs_salt.inference import segment as segmenting
from tgs_salt.inference.bundle import Bundle, export, load_bundle
from tgs_salt.inference.image_files import MAX_OVERLAY_SIZE, TINT, Picture, overlay
from tgs_salt.inference.segment import segment
from tgs_salt.inference.sliding_window import starts
from tgs_salt.kernels import rle
from tgs_salt.models.model_file import save_model
from tgs_salt.models.tile_model import build
from tgs_salt.settings import Model, Predict

SIDE = 32
CPU = torch.device("cpu")


class Smooth(nn.Module):
    """Sees five pixels each way: far from a window's border it says the same whatever the window is."""

    depth_channels = False

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 12 * (nn.functional.avg_pool2d(nn.functional.pad(pixels, (5, 5, 5, 5), mode="reflect"), 11, 1) - 0.5)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    bundle = Bundle([Smooth(), Smooth()], [2, 1], SIDE, 128, 50, Predict(batch_size=5))
    monkeypatch.setattr(segmenting, "load_bundle", lambda path, device: bundle)
    return bundle


@pytest.fixture
def section() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(4 * SIDE, 7 * SIDE)).astype(np.float32)
    return np.clip(128 + 900 * cv2.GaussianBlur(noise, (0, 0), 6), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in folder.glob("*.png")}


def near_borders(shape: tuple[int, ...], firsts: list[Sequence[int]]) -> np.ndarray:
    """Pixels within the five that the network sees of the border of a window, the section's own borders left out."""
    near = []
    for length, first in zip(shape, firsts, strict=True):
        along = np.zeros(length, bool)
        for start in first:
            along[start : start + 5] |= start > 0
            along[start + SIDE - 5 : start + SIDE] |= start + SIDE < length
        near.append(along)
    return near[0][:, None] | near[1]


@pytest.mark.parametrize("overlap", [8, 12, 16])
def test_a_section_agrees_with_its_tiles_away_from_their_borders(
    local: Bundle, section: np.ndarray, tmp_path: Path, overlap: int
) -> None:
    for row in range(4):
        for column in range(7):
            part = section[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            save(tmp_path / f"tiles/{row}-{column}.png", part)
    object.__setattr__(local, "min_area", 0)
    save(tmp_path / "section.png", section)
    segment(Path(), [tmp_path / "section.png", tmp_path / "tiles"], tmp_path / "out", ["mask"], overlap=overlap)
    found = masks(tmp_path / "out")
    whole = found.pop("section")
    assert whole.shape == section.shape and set(np.unique(whole)) == {0, 255} and len(found) == 28
    together = np.vstack([np.hstack([found[f"{row}-{column}"] for column in range(7)]) for row in range(4)])
    exact = torch.sigmoid(Smooth()(torch.from_numpy(section[None, None]).float() / 255))[0, 0].numpy() >= 0.5
    near_tiles = near_borders(section.shape, [range(0, length, SIDE) for length in section.shape])
    near_windows = near_borders(section.shape, [starts(length, SIDE, overlap) for length in section.shape])
    for mask, near in ((together, near_tiles), (whole, near_windows)):
        np.testing.assert_array_equal(mask[~near] > 0, exact[~near])
    assert (~near_tiles & ~near_windows).mean() > 0.05
    assert ((whole > 0) != exact).mean() < 0.5 * ((together > 0) != exact).mean(), "blending hides the borders"
    assert 0.2 < exact.mean() < 0.8


def test_a_tile_below_the_smallest_area_is_empty_and_a_section_is_not(local: Bundle, tmp_path: Path) -> None:
    for name, shape in (("tile", (SIDE, SIDE)), ("section", (SIDE, SIDE + 1))):
        pixels = np.full(shape, 60, np.uint8)
        pixels[10:17, 10:17] = 255  # averaged, 45 pixels stay salt, and 50 are the smallest area
        save(tmp_path / f"{name}.png", pixels)
    segment(Path(), [tmp_path / "tile.png", tmp_path / "section.png"], tmp_path / "out", ["mask"])
    found = masks(tmp_path / "out")
    assert not found["tile"].any()
    assert 0 < np.count_nonzero(found["section"]) < 50


def test_what_is_written(local: Bundle, section: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", section)
    save(tmp_path / "gray.png", section)
    save(tmp_path / "color.tif", cv2.merge([section] * 3))
    inputs = [tmp_path / name for name in ("array.npy", "gray.png", "color.tif")]
    segment(Path(), inputs, tmp_path / "out", ["mask", "overlay", "rle"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "masks.csv", *(f"{name}{end}.png" for name in ("array", "gray", "color") for end in ("", "_overlay"))
    }  # fmt: skip
    found = masks(tmp_path / "out")
    np.testing.assert_array_equal(found["array"], found["gray"])
    np.testing.assert_array_equal(found["array"], found["color"])
    table = pd.read_csv(tmp_path / "out/masks.csv")
    assert list(table["id"]) == ["array", "gray", "color"]
    for code in table["rle_mask"]:
        np.testing.assert_array_equal(rle.decode(code, section.shape), found["array"] > 0)
    outside = cv2.dilate(found["array"], np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(found["gray_overlay"][outside], cv2.merge([section] * 3)[outside])
    salt = found["array"] > 0
    towards = np.abs(found["gray_overlay"][salt].astype(int) - TINT).sum()
    assert towards < np.abs(section[salt].astype(int)[:, None] - TINT).sum()


def test_a_large_section_costs_little_beside_itself(
    local: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        segmenting, "probability_bytes", lambda network, batches, *rest: (tiles for tiles, _ in batches)
    )
    pixels = np.zeros((5000, 6000), np.uint8)
    pixels[1000:4000, 2000:3000] = 200
    np.save(tmp_path / "large.npy", pixels)
    tracemalloc.start()
    segment(Path(), [tmp_path / "large.npy"], tmp_path / "out", ["mask"], overlap=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mask = masks(tmp_path / "out")["large"] > 0
    np.testing.assert_array_equal(mask, pixels >= 128)
    assert peak < 4 * pixels.size
    assert max(overlay(pixels, mask).shape) == MAX_OVERLAY_SIZE


def test_a_bundle_says_what_its_models_say(tmp_path: Path) -> None:
    settings = Model(architecture="article", threads=1)
    for fold in (0, 1):
        torch.manual_seed(fold)
        network = build(settings, SIDE)
        save_model(tmp_path / f"models/a/fold{fold}/model.pt", network.state_dict(), settings, SIDE, fold, "hash")
    (tmp_path / "ensemble").mkdir()
    (tmp_path / "ensemble/weights.json").write_text(json.dumps({"weights": {"a": 3}, "folds": [0, 1]}))
    (tmp_path / "threshold.json").write_text(json.dumps({"threshold": 100, "min_area": 7, "score": 0.5}))
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    export(tmp_path, Predict(tta="none"), one)
    export(tmp_path, Predict(tta="none"), two)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"bundle.json", "a/fold0/model.pt", "a/fold1/model.pt"}
    bundle = load_bundle(one, CPU)
    assert (bundle.threshold, bundle.min_area, bundle.tile_size, bundle.votes) == (100, 7, SIDE, [3, 3])
    assert bundle.predict == Predict(tta="none")
    pixels = torch.rand(2, 1, SIDE, SIDE)
    torch.manual_seed(1)
    with torch.inference_mode():
        torch.testing.assert_close(bundle.networks[1](pixels), build(settings, SIDE).eval()(pixels))


def test_what_is_wrong_is_said_in_one_sentence(local: Bundle, tmp_path: Path) -> None:
    picture = save(tmp_path / "in/a.png", np.zeros((SIDE, SIDE), np.uint8))
    twin = save(tmp_path / "more/a_overlay.png", np.zeros((SIDE, SIDE), np.uint8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    for inputs, output, options, sentence in (
        ([tmp_path / "no.png"], "out", {}, r"no\.png: no such picture or folder"),
        ([tmp_path / "empty"], "out", {}, r"empty: holds no picture \(\.png"),
        ([tmp_path / "text.png"], "out", {}, r"text\.png: not a picture that OpenCV reads"),
        ([picture, tmp_path / "in"], "out", {}, r"would be written under the same name"),
        ([picture, twin], "out", {"kinds": ["mask", "overlay"]}, r"a_overlay\.png and .*a\.png would be written"),
        ([picture], "in", {}, r"--output: .*in is the folder of a\.png"),
        ([picture], "out", {"overlap": SIDE}, r"--overlap: expected 0 to 31 pixels for tiles of 32, found 32"),
        ([picture], "out", {"kinds": ["masks"]}, r"--format: expected mask, overlay, rle, found 'masks'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=sentence):
            segment(Path(), inputs, tmp_path / output, **{"kinds": ["mask"], **options})


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_a_file_that_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"no such file; `tgs-salt export` writes bundles"):
        load_bundle(tmp_path / "bundle.zip", CPU)
    (tmp_path / "bundle.zip").write_bytes(content)
    with pytest.raises(UserError, match="not a whole bundle"):
        load_bundle(tmp_path / "bundle.zip", CPU)


def test_gray_is_read_from_equal_colours_exactly(tmp_path: Path) -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(Picture(save(tmp_path / name, cv2.merge([gray] * 3))).read(), gray)

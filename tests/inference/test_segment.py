"""Tests of `export` and `segment`: bundles, images of any size, output files and errors."""

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
from tgs_salt.inference import segment as module
from tgs_salt.inference.bundle import Bundle, export, load_bundle
from tgs_salt.inference.image_files import MAX_OVERLAY_SIZE, TINT, ImageFile, draw_overlay
from tgs_salt.inference.segment import segment
from tgs_salt.inference.sliding_window import window_starts
from tgs_salt.kernels import rle
from tgs_salt.models.model_file import save_model
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Model, Predict

SIDE = 32
CPU = torch.device("cpu")


class Smooth(nn.Module):
    """A network with a receptive field of 11 pixels: five pixels from a window's border it does not depend on it."""

    depth_channels = False

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 12 * (nn.functional.avg_pool2d(nn.functional.pad(pixels, (5, 5, 5, 5), mode="reflect"), 11, 1) - 0.5)


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    loaded = Bundle([Smooth(), Smooth()], [2, 1], SIDE, 128, 50, Predict(batch_size=5))
    monkeypatch.setattr(module, "load_bundle", lambda path, device: loaded)
    return loaded


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


def near_borders(shape: tuple[int, ...], starts_by_axis: list[Sequence[int]]) -> np.ndarray:
    """Return a mask of the pixels closer than five to a window's border, except for the section's own borders."""
    near = []
    for length, starts in zip(shape, starts_by_axis, strict=True):
        axis_mask = np.zeros(length, bool)
        for start in starts:
            axis_mask[start : start + 5] |= start > 0
            axis_mask[start + SIDE - 5 : start + SIDE] |= start + SIDE < length
        near.append(axis_mask)
    return near[0][:, None] | near[1]


@pytest.mark.parametrize("overlap", [8, 12, 16])
def test_section_agrees_with_its_tiles_away_from_borders(
    bundle: Bundle, section: np.ndarray, tmp_path: Path, overlap: int
) -> None:
    for row in range(4):
        for column in range(7):
            tile = section[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            save(tmp_path / f"tiles/{row}-{column}.png", tile)
    object.__setattr__(bundle, "min_area", 0)
    save(tmp_path / "section.png", section)
    segment(Path(), [tmp_path / "section.png", tmp_path / "tiles"], tmp_path / "out", ["mask"], overlap=overlap)
    written = masks(tmp_path / "out")
    whole = written.pop("section")
    assert whole.shape == section.shape and set(np.unique(whole)) == {0, 255} and len(written) == 28
    mosaic = np.vstack([np.hstack([written[f"{row}-{column}"] for column in range(7)]) for row in range(4)])
    exact = torch.sigmoid(Smooth()(torch.from_numpy(section[None, None]).float() / 255))[0, 0].numpy() >= 0.5
    near_tiles = near_borders(section.shape, [range(0, length, SIDE) for length in section.shape])
    near_windows = near_borders(section.shape, [window_starts(length, SIDE, overlap) for length in section.shape])
    for mask, near in ((mosaic, near_tiles), (whole, near_windows)):
        np.testing.assert_array_equal(mask[~near] > 0, exact[~near])
    assert (~near_tiles & ~near_windows).mean() > 0.05
    assert ((whole > 0) != exact).mean() < 0.5 * ((mosaic > 0) != exact).mean(), (
        "blending must reduce errors at borders"
    )
    assert 0.2 < exact.mean() < 0.8


def test_min_area_applies_to_tiles_only(bundle: Bundle, tmp_path: Path) -> None:
    for name, shape in (("tile", (SIDE, SIDE)), ("section", (SIDE, SIDE + 1))):
        pixels = np.full(shape, 60, np.uint8)
        pixels[10:17, 10:17] = 255  # 45 pixels are salt after smoothing, and min_area is 50
        save(tmp_path / f"{name}.png", pixels)
    segment(Path(), [tmp_path / "tile.png", tmp_path / "section.png"], tmp_path / "out", ["mask"])
    written = masks(tmp_path / "out")
    assert not written["tile"].any()
    assert 0 < np.count_nonzero(written["section"]) < 50


def test_output_files(bundle: Bundle, section: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", section)
    save(tmp_path / "gray.png", section)
    save(tmp_path / "color.tif", cv2.merge([section] * 3))
    inputs = [tmp_path / name for name in ("array.npy", "gray.png", "color.tif")]
    segment(Path(), inputs, tmp_path / "out", ["mask", "overlay", "rle"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "masks.csv", *(f"{name}{end}.png" for name in ("array", "gray", "color") for end in ("", "_overlay"))
    }  # fmt: skip
    written = masks(tmp_path / "out")
    np.testing.assert_array_equal(written["array"], written["gray"])
    np.testing.assert_array_equal(written["array"], written["color"])
    table = pd.read_csv(tmp_path / "out/masks.csv")
    assert list(table["id"]) == ["array", "gray", "color"]
    for code in table["rle_mask"]:
        np.testing.assert_array_equal(rle.decode(code, section.shape), written["array"] > 0)
    outside = cv2.dilate(written["array"], np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(written["gray_overlay"][outside], cv2.merge([section] * 3)[outside])
    salt = written["array"] > 0
    distance_to_tint = np.abs(written["gray_overlay"][salt].astype(int) - TINT).sum()
    assert distance_to_tint < np.abs(section[salt].astype(int)[:, None] - TINT).sum()


def test_memory_for_a_large_section_is_bounded(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "predict_batches", lambda network, batches, *rest: (tiles for tiles, _ in batches))
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
    assert max(draw_overlay(pixels, mask).shape) == MAX_OVERLAY_SIZE


def test_bundle_predicts_like_its_models(tmp_path: Path) -> None:
    settings = Model(architecture="article", threads=1)
    for fold in (0, 1):
        torch.manual_seed(fold)
        network = build_model(settings, SIDE)
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
        torch.testing.assert_close(bundle.networks[1](pixels), build_model(settings, SIDE).eval()(pixels))


def test_bad_inputs_raise_one_sentence(bundle: Bundle, tmp_path: Path) -> None:
    image = save(tmp_path / "in/a.png", np.zeros((SIDE, SIDE), np.uint8))
    same_name = save(tmp_path / "more/a_overlay.png", np.zeros((SIDE, SIDE), np.uint8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    for inputs, output, options, message in (
        ([tmp_path / "no.png"], "out", {}, r"no\.png: no such image or folder"),
        ([tmp_path / "empty"], "out", {}, r"empty: no images in this folder \(\.png"),
        ([tmp_path / "text.png"], "out", {}, r"text\.png: OpenCV cannot read this image"),
        ([image, tmp_path / "in"], "out", {}, r"have the same output name a;"),
        ([image, same_name], "out", {"formats": ["mask", "overlay"]}, r"a_overlay\.png and .* output name a_overlay;"),
        ([image], "in", {}, r"--output: .*in is the folder of a\.png"),
        ([image], "out", {"overlap": SIDE}, r"--overlap: expected 0 to 31 pixels for tiles of 32, found 32"),
        ([image], "out", {"formats": ["masks"]}, r"--format: expected mask, overlay, rle, found 'masks'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            segment(Path(), inputs, tmp_path / output, **{"formats": ["mask"], **options})


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_invalid_bundle_raises(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"no such file; `tgs-salt export` writes bundles"):
        load_bundle(tmp_path / "bundle.zip", CPU)
    (tmp_path / "bundle.zip").write_bytes(content)
    with pytest.raises(UserError, match="not a valid bundle"):
        load_bundle(tmp_path / "bundle.zip", CPU)


def test_equal_colors_are_read_as_gray_exactly(tmp_path: Path) -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(ImageFile(save(tmp_path / name, cv2.merge([gray] * 3))).read(), gray)

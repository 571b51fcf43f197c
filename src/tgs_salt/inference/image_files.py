"""Image files to segment, and the files written for them: masks, overlays and run-length encodings (RLE)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.kernels import rle

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")
FORMATS = ("mask", "overlay", "rle")
TINT = (40, 120, 255)  # blue, green, red
ONE_BIT_PNG = (cv2.IMWRITE_PNG_BILEVEL, 1)  # black and white; needs no copy of the mask
MAX_OVERLAY_SIZE = 4096  # pixels; enough for a screen

MaskWriter = Callable[["ImageFile", np.ndarray], None]


@dataclass(frozen=True)
class ImageFile:
    """An image to segment; its name without the suffix is the name of its output files."""

    path: Path

    @property
    def name(self) -> str:
        """The file name without the suffix."""
        return self.path.stem

    def read(self) -> np.ndarray:
        """Return gray pixels, (h, w) uint8; a memory map for a .npy file.

        Raises UserError if the file is missing, damaged, or not 8-bit.
        """
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such image or folder; check the path.")
        if self.path.suffix.lower() == ".npy":
            hint = "save gray pixels of shape (height, width), scaled to 0..255"
            pixels = files.read_array(self.path, (None, None), hint=hint)
        else:
            pixels = self._decode()
        if not pixels.size:
            raise UserError(f"{self.path}: the image has no pixels; use another image.")
        return pixels

    def _decode(self) -> np.ndarray:
        try:
            pixels = None if _is_truncated_jpeg(self.path) else cv2.imread(str(self.path), cv2.IMREAD_ANYDEPTH)
        except OSError as problem:
            raise files.read_error(self.path, problem) from None
        except cv2.error:  # more pixels than OpenCV accepts
            pixels = None
        if pixels is None:
            raise UserError(
                f"{self.path}: OpenCV cannot read this image, or it is truncated; "
                "convert it to PNG or to a uint8 .npy array."
            )
        if pixels.dtype != np.uint8:
            raise UserError(
                f"{self.path}: expected 8-bit pixels, found {pixels.dtype}; scale amplitudes to 0..255 as in the "
                "training tiles."
            )
        return np.asarray(pixels)


def _is_truncated_jpeg(path: Path) -> bool:
    """Return whether a JPEG has no end marker; OpenCV would fill in the missing part."""
    content = path.read_bytes() if path.suffix.lower() in (".jpg", ".jpeg") else b""
    return content.startswith(b"\xff\xd8") and b"\xff\xd9" not in content[-64:]


def find_images(inputs: list[Path], output: Path, formats: list[str]) -> list[ImageFile]:
    """Return the images in `inputs` (files and folders), those of a folder sorted by name.

    Raises UserError if a folder has no images, if two images have the same output name, or if a mask would replace an
    image.
    """
    images = [
        ImageFile(path)
        for entry in inputs
        for path in (_list_folder(entry) if entry.is_dir() else [entry])
    ]  # fmt: skip
    path_by_name: dict[str, Path] = {}
    for image in images:
        for name in _output_names(image.name, formats):
            other = path_by_name.setdefault(name, image.path)
            if other is not image.path:
                raise UserError(
                    f"{image.path} and {other} have the same output name {name}; segment them into two folders."
                )
        if image.path.resolve().parent == output.resolve():
            raise UserError(f"--output: {output} is the folder of {image.path.name}; use another folder.")
    return images


def _output_names(name: str, formats: list[str]) -> list[str]:
    """Return the output names of an image; the name of its overlay may be that of another image."""
    return [*([name] if set(formats) - {"overlay"} else []), *([f"{name}_overlay"] if "overlay" in formats else [])]


def _list_folder(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)}); use another folder.")
    return paths


@contextmanager
def open_writers(output: Path, formats: list[str]) -> Iterator[list[MaskWriter]]:
    """Yield a function per format that writes the (h, w) bool mask of an image into the folder `output`.

    Raises UserError for an unknown format.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise UserError(f"--format: expected {', '.join(FORMATS)}, found {unknown[0]!r}.")
    with ExitStack() as stack:
        writers: dict[str, MaskWriter] = {
            "mask": lambda image, mask: _write_png(output / f"{image.name}.png", mask.view(np.uint8), ONE_BIT_PNG),
            "overlay": lambda image, mask: _write_png(
                output / f"{image.name}_overlay.png", draw_overlay(image.read(), mask)
            ),
        }
        if "rle" in formats:
            tmp_path = stack.enter_context(files.atomic_write(output / "masks.csv"))
            stream = stack.enter_context(open(tmp_path, "w", encoding="utf-8", errors="surrogateescape", newline=""))
            table = csv.writer(stream, lineterminator="\n")  # quotes image names with commas
            table.writerow(["id", "rle_mask"])
            writers["rle"] = lambda image, mask: table.writerow([image.name, *rle.encode(mask[None])])
        yield [writers[name] for name in dict.fromkeys(formats)]


def draw_overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the image with salt tinted and outlined, (h, w, 3) uint8 in the order blue, green, red.

    Images larger than MAX_OVERLAY_SIZE pixels are scaled down.

    Args:
        pixels: (h, w) uint8.
        mask: (h, w) bool.
    """
    scale = MAX_OVERLAY_SIZE / max(mask.shape)
    salt: np.ndarray = mask.view(np.uint8)
    if scale < 1:
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
        salt = cv2.resize(salt, size, interpolation=cv2.INTER_NEAREST)
    canvas = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2BGR)
    tinted = cv2.addWeighted(canvas, 0.65, np.full_like(canvas, TINT), 0.35, 0)
    canvas[salt > 0] = tinted[salt > 0]
    outlines, _ = cv2.findContours(salt, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, TINT, 1)
    return np.asarray(canvas)


def _write_png(path: Path, pixels: np.ndarray, options: tuple[int, ...] = ()) -> None:
    success, encoded = cv2.imencode(".png", pixels, options)
    if not success:
        raise UserError(f"{path}: OpenCV cannot encode an image of shape {pixels.shape}; segment smaller images.")
    files.write_bytes(path, encoded.tobytes())

"""Pictures that people bring, and the masks that they get: found, read and written."""

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
KINDS = ("mask", "overlay", "rle")
TINT = (40, 120, 255)  # blue, green, red
ONE_BIT = (cv2.IMWRITE_PNG_BILEVEL, 1)  # black and white; needs no copy of the mask
MAX_OVERLAY_SIZE = 4096  # pixels; an overlay is there to be looked at

Write = Callable[["Picture", np.ndarray], None]


@dataclass(frozen=True)
class Picture:
    """A file to segment; its name without the suffix names what is written about it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def read(self) -> np.ndarray:
        """Gray pixels, (h, w) uint8; a memory map of a .npy file. UserError if it is no whole one, or of 16 bits."""
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such picture or folder; name one that is there.")
        if self.path.suffix.lower() == ".npy":
            advice = "bring gray pixels, height x width, scaled to 0..255"
            pixels = files.read_array(self.path, (None, None), advice=advice)
        else:
            pixels = self._decode()
        if not pixels.size:
            raise UserError(f"{self.path}: has no pixels; bring another picture.")
        return pixels

    def _decode(self) -> np.ndarray:
        try:
            pixels = None if _is_cut(self.path) else cv2.imread(str(self.path), cv2.IMREAD_ANYDEPTH)
        except OSError as problem:
            raise files.unreadable(self.path, problem) from None
        except cv2.error:  # more pixels than OpenCV takes
            pixels = None
        if pixels is None:
            raise UserError(
                f"{self.path}: not a picture that OpenCV reads, or not a whole one; bring it as PNG, or as a uint8 "
                ".npy array."
            )
        if pixels.dtype != np.uint8:
            raise UserError(
                f"{self.path}: its pixels are {pixels.dtype}, expected 8 bits; scale amplitudes to 0..255 as in the "
                "training tiles."
            )
        return np.asarray(pixels)


def _is_cut(path: Path) -> bool:
    """Whether a JPEG ends before its end marker: OpenCV makes up what is missing."""
    content = path.read_bytes() if path.suffix.lower() in (".jpg", ".jpeg") else b""
    return content.startswith(b"\xff\xd8") and b"\xff\xd9" not in content[-64:]


def find(inputs: list[Path], output: Path, kinds: list[str]) -> list[Picture]:
    """The pictures that `inputs` name, those of a folder in the order of their names.

    Raises UserError if a folder holds none, two would be written under one name, or a mask would replace its picture.
    """
    found = [
        Picture(path)
        for place in inputs
        for path in (_in_folder(place) if place.is_dir() else [place])
    ]  # fmt: skip
    by_name: dict[str, Path] = {}
    for picture in found:
        for name in _written(picture.name, kinds):
            other = by_name.setdefault(name, picture.path)
            if other is not picture.path:
                raise UserError(
                    f"{picture.path} and {other} would be written under the same name; segment them into two folders."
                )
        if picture.path.resolve().parent == output.resolve():
            raise UserError(f"--output: {output} is the folder of {picture.path.name}; name another one.")
    return found


def _written(name: str, kinds: list[str]) -> list[str]:
    """The names that a picture takes: its overlay's may be another picture's own."""
    return [*([name] if set(kinds) - {"overlay"} else []), *([f"{name}_overlay"] if "overlay" in kinds else [])]


def _in_folder(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: holds no picture ({', '.join(SUFFIXES)}); name another folder.")
    return paths


@contextmanager
def writers(output: Path, kinds: list[str]) -> Iterator[list[Write]]:
    """What writes a picture's (h, w) bool mask into the folder `output` in each of `kinds`: mask, overlay, rle."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UserError(f"--format: expected {', '.join(KINDS)}, found {unknown[0]!r}.")
    with ExitStack() as stack:
        write: dict[str, Write] = {
            "mask": lambda picture, mask: _png(output / f"{picture.name}.png", mask.view(np.uint8), ONE_BIT),
            "overlay": lambda picture, mask: _png(
                output / f"{picture.name}_overlay.png", overlay(picture.read(), mask)
            ),
        }
        if "rle" in kinds:
            table = stack.enter_context(files.atomic_write(output / "masks.csv"))
            stream = stack.enter_context(open(table, "w", encoding="utf-8", errors="surrogateescape", newline=""))
            rows = csv.writer(stream, lineterminator="\n")  # a picture may have a comma in its name
            rows.writerow(["id", "rle_mask"])
            write["rle"] = lambda picture, mask: rows.writerow([picture.name, *rle.encode(mask[None])])
        yield [write[kind] for kind in dict.fromkeys(kinds)]


def overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: the picture with salt tinted and outlined; scaled down to MAX_OVERLAY_SIZE pixels if larger."""
    scale = MAX_OVERLAY_SIZE / max(mask.shape)
    salt: np.ndarray = mask.view(np.uint8)
    if scale < 1:
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
        salt = cv2.resize(salt, size, interpolation=cv2.INTER_NEAREST)
    shown = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2BGR)
    tinted = cv2.addWeighted(shown, 0.65, np.full_like(shown, TINT), 0.35, 0)
    shown[salt > 0] = tinted[salt > 0]
    outlines, _ = cv2.findContours(salt, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outlines, -1, TINT, 1)
    return np.asarray(shown)


def _png(path: Path, pixels: np.ndarray, options: tuple[int, ...] = ()) -> None:
    done, coded = cv2.imencode(".png", pixels, options)
    if not done:
        raise UserError(f"{path}: OpenCV could not encode it ({pixels.shape}); segment smaller pictures.")
    files.write_bytes(path, coded.tobytes())

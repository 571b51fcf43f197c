"""`export`: all that is needed to segment pictures elsewhere, in one file without any training data.

A bundle is a zip, not compressed: `bundle.json` (the decision, how to predict, who votes how often) and each voter's
`model.pt`. Equal experiments give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tgs_salt import __version__, files
from tgs_salt.errors import UserError
from tgs_salt.learning.checkpoint import load_model
from tgs_salt.learning.network import TileNetwork
from tgs_salt.log import announce
from tgs_salt.settings import Predict, validate

FORMAT = 1
INDEX = "bundle.json"
STAMP = (2018, 7, 19, 0, 0, 0)  # one time for all members, or the bytes would change with the clock


@dataclass(frozen=True)
class Bundle:
    """Networks in eval mode with their votes, and what turns their probability bytes into masks of a tile."""

    networks: list[TileNetwork]
    votes: list[int]
    tile_size: int
    threshold: int
    min_area: int
    predict: Predict


def export(experiment: Path, predict: Predict, output: Path) -> None:
    """Write the voting models of a finished experiment and its decision into one file.

    Raises UserError if the experiment is not finished, or if its models are not of one tile size.
    """
    decision = files.read_mapping(experiment / "threshold.json", "threshold", "min_area")
    voters = files.read_mapping(experiment / "ensemble" / "weights.json", "weights", "folds")
    paths = {
        f"{model}/fold{fold}/model.pt": votes for model, votes in voters["weights"].items() for fold in voters["folds"]
    }
    sizes = {load_model(experiment / "models" / name, torch.device("cpu"))[1]["tile_size"] for name in paths}
    if len(sizes) != 1:
        raise UserError(f"{experiment}: its models are of tile sizes {sorted(sizes)}; train them on one survey.")
    index = {
        "format": FORMAT, "version": __version__, "tile_size": sizes.pop(),
        "threshold": decision["threshold"], "min_area": decision["min_area"], "predict": predict.model_dump(),
        "votes": paths,
    }  # fmt: skip
    with files.replacing(output) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX, STAMP), json.dumps(index, indent=2))
        for name in paths:
            with (
                open(experiment / "models" / name, "rb") as weights,
                archive.open(zipfile.ZipInfo(name, STAMP), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(weights, member, 1 << 20)
    announce(f"{output}: {len(paths)} networks, {output.stat().st_size / 1e6:,.1f} MB")


def load_bundle(path: Path, where: torch.device) -> Bundle:
    """The networks and the decision of a bundle. Raises UserError if it is missing, damaged or of another format."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            index = _index(path, archive)
            loaded = [load_model(Path(archive.extract(name, folder)), where) for name in index["votes"]]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `tgs-salt export` writes bundles.") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as problem:
        raise UserError(f"{path}: not a whole bundle ({problem}); write it again with `tgs-salt export`.") from None
    return Bundle(
        networks=[network for network, _ in loaded], votes=list(index["votes"].values()),
        tile_size=index["tile_size"], threshold=index["threshold"], min_area=index["min_area"],
        predict=validate(Predict, index["predict"], "predict"),
    )  # fmt: skip


def _index(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    index = json.loads(archive.read(INDEX))
    found = index.get("format") if isinstance(index, dict) else None
    if found != FORMAT:
        raise UserError(f"{path}: bundle format {found!r}, expected {FORMAT}; export it again.")
    return index

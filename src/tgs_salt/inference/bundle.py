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
from typing import Annotated, Any

import torch
from pydantic import Field

from tgs_salt import __version__, files
from tgs_salt.errors import UserError
from tgs_salt.log import log_and_echo
from tgs_salt.models.model_file import is_packed, load_model
from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.records import ThresholdDecision, Weights, Whole, checked, read_record
from tgs_salt.settings import MAX_TILE_SIZE, Predict, validate

FORMAT = 1
INDEX = "bundle.json"
AGAIN = "write it again with `tgs-salt export`"
# What a damaged zip, or a damaged index in it, makes Python raise.
BROKEN = (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError, RecursionError)
STAMP = (2018, 7, 19, 0, 0, 0)  # one time for all members, or the bytes would change with the clock


class BundleManifest(ThresholdDecision):
    """bundle.json: the decision, how to predict, and the votes of each model.pt."""

    tile_size: Annotated[int, Field(ge=1, le=MAX_TILE_SIZE)]
    votes: Annotated[dict[str, Whole], Field(min_length=1)]
    predict: dict[str, Any]


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
    decision = read_record(experiment / "threshold.json", ThresholdDecision)
    voters = read_record(experiment / "ensemble" / "weights.json", Weights)
    paths = {f"{model}/fold{fold}/model.pt": votes for model, votes in voters.weights.items() for fold in voters.folds}
    sizes = {load_model(experiment / "models" / name, torch.device("cpu"))[1]["tile_size"] for name in paths}
    if len(sizes) != 1:
        raise UserError(f"{experiment}: its models are of tile sizes {sorted(sizes)}; train them on one dataset.")
    index = {
        "format": FORMAT, "version": __version__, "tile_size": sizes.pop(),
        "threshold": decision.threshold, "min_area": decision.min_area, "predict": predict.model_dump(),
        "votes": paths,
    }  # fmt: skip
    with files.atomic_write(output) as tmp_path, zipfile.ZipFile(tmp_path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX, STAMP), json.dumps(index, indent=2))
        for name in paths:
            with (
                open(experiment / "models" / name, "rb") as weights,
                archive.open(zipfile.ZipInfo(name, STAMP), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(weights, member, 1 << 20)
    log_and_echo(f"{output}: {len(paths)} networks, {output.stat().st_size / 1e6:,.1f} MB")


def load_bundle(path: Path, device: torch.device) -> Bundle:
    """The networks and the decision of a bundle. Raises UserError if it is missing, damaged or of another format."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            if is_packed(archive):
                raise zipfile.BadZipFile("its members are compressed")
            index = _index(path, archive)
            loaded = [_network(path, archive, name, Path(folder), index.tile_size) for name in index.votes]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `tgs-salt export` writes bundles.") from None
    except BROKEN as problem:
        reason = " ".join(str(problem).split())[:100]
        raise UserError(f"{path}: not a whole bundle ({reason}); {AGAIN}.") from None
    predict = validate(Predict, index.predict, f"{path}: predict")
    networks = [network.to(device) for network in loaded]
    return Bundle(networks, list(index.votes.values()), index.tile_size, index.threshold, index.min_area, predict)


def _index(path: Path, archive: zipfile.ZipFile) -> BundleManifest:
    index = json.loads(archive.read(INDEX))
    if isinstance(index, dict) and index.get("format") != FORMAT:
        raise UserError(f"{path}: bundle format {index.get('format')!r}, expected {FORMAT}; export it again.")
    return checked(index, BundleManifest, path, AGAIN)


def _network(path: Path, archive: zipfile.ZipFile, name: str, folder: Path, tile_size: int) -> TileNetwork:
    """A voter of the bundle `path`; the messages about its model.pt begin with the bundle's path."""
    try:
        network, about = load_model(Path(archive.extract(name, folder)), torch.device("cpu"))
    except UserError as problem:
        raise UserError(str(problem).replace(str(folder), str(path), 1)) from None
    if about["tile_size"] != tile_size:
        raise UserError(f"{path}: {name} is for tiles of {about['tile_size']}, expected {tile_size}; {AGAIN}.")
    return network

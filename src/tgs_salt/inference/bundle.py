"""`export`: write all that is needed to segment images elsewhere into one file without training data.

A bundle is an uncompressed zip of `bundle.json` (threshold, minimum area, prediction settings, votes) and the
`model.pt` of each voter. Equal experiments give equal bytes.
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
from tgs_salt.layout import ExperimentPaths
from tgs_salt.log import log_and_echo
from tgs_salt.models.model_file import has_compressed_members, load_model
from tgs_salt.models.tile_model import TileModel
from tgs_salt.records import EnsembleWeights, NonNegativeInt, ThresholdDecision, read_record, validate_record
from tgs_salt.settings import MAX_TILE_SIZE, Predict, validate

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
EXPORT_HINT = "run `tgs-salt export` again"
# Exceptions that reading a damaged zip or a damaged manifest raises.
CORRUPT_ERRORS = (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError, RecursionError)
ZIP_TIME = (2018, 7, 19, 0, 0, 0)  # a constant, so that the bytes do not depend on the clock


class BundleManifest(ThresholdDecision):
    """bundle.json: threshold and minimum area, prediction settings, and the votes of each model.pt."""

    tile_size: Annotated[int, Field(ge=1, le=MAX_TILE_SIZE)]
    votes: Annotated[dict[str, NonNegativeInt], Field(min_length=1)]
    predict: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: models in eval mode with their votes, and the settings of prediction and threshold."""

    networks: list[TileModel]
    votes: list[int]
    tile_size: int
    threshold: int
    min_area: int
    predict: Predict


def export(experiment: Path, predict: Predict, output: Path) -> None:
    """Write the voting models of the finished `experiment` (its results folder) and its threshold to `output`.

    Raises UserError if the experiment is not finished, or if its models have different tile sizes.
    """
    paths = ExperimentPaths(experiment)
    decision = read_record(paths.threshold_json, ThresholdDecision)
    ensemble = read_record(paths.weights_json, EnsembleWeights)
    votes = {
        f"{model}/fold{fold}/model.pt": count for model, count in ensemble.weights.items() for fold in ensemble.folds
    }
    tile_sizes = {load_model(paths.models / name, torch.device("cpu"))[1]["tile_size"] for name in votes}
    if len(tile_sizes) != 1:
        raise UserError(f"{experiment}: its models have tile sizes {sorted(tile_sizes)}; train them on one dataset.")
    manifest = {
        "format": FORMAT_VERSION, "version": __version__, "tile_size": tile_sizes.pop(),
        "threshold": decision.threshold, "min_area": decision.min_area, "predict": predict.model_dump(),
        "votes": votes,
    }  # fmt: skip
    with files.atomic_write(output) as tmp_path, zipfile.ZipFile(tmp_path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST, ZIP_TIME), json.dumps(manifest, indent=2))
        for name in votes:
            with (
                open(paths.models / name, "rb") as source,
                archive.open(zipfile.ZipInfo(name, ZIP_TIME), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(source, member, 1 << 20)
    log_and_echo(f"{output}: {len(votes)} networks, {output.stat().st_size / 1e6:,.1f} MB")


def load_bundle(path: Path, device: torch.device) -> Bundle:
    """Load a bundle onto `device`. Raises UserError if it is missing, damaged or has another format."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            if has_compressed_members(archive):
                raise zipfile.BadZipFile("its members are compressed")
            manifest = _read_manifest(path, archive)
            loaded = [_load_member(path, archive, name, Path(folder), manifest.tile_size) for name in manifest.votes]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `tgs-salt export` writes bundles.") from None
    except CORRUPT_ERRORS as problem:
        reason = " ".join(str(problem).split())[:100]
        raise UserError(f"{path}: not a valid bundle ({reason}); {EXPORT_HINT}.") from None
    predict = validate(Predict, manifest.predict, f"{path}: predict")
    networks = [network.to(device) for network in loaded]
    votes = list(manifest.votes.values())
    return Bundle(networks, votes, manifest.tile_size, manifest.threshold, manifest.min_area, predict)


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> BundleManifest:
    manifest = json.loads(archive.read(MANIFEST))
    if isinstance(manifest, dict) and manifest.get("format") != FORMAT_VERSION:
        raise UserError(f"{path}: bundle format {manifest.get('format')!r}, expected {FORMAT_VERSION}; {EXPORT_HINT}.")
    return validate_record(manifest, BundleManifest, path, EXPORT_HINT)


def _load_member(path: Path, archive: zipfile.ZipFile, name: str, folder: Path, tile_size: int) -> TileModel:
    """Extract a model.pt of the bundle `path` into `folder` and load it; its messages start with the bundle's path."""
    try:
        network, metadata = load_model(Path(archive.extract(name, folder)), torch.device("cpu"))
    except UserError as problem:
        raise UserError(str(problem).replace(str(folder), str(path), 1)) from None
    if metadata["tile_size"] != tile_size:
        raise UserError(f"{path}: {name} is for tiles of {metadata['tile_size']}, expected {tile_size}; {EXPORT_HINT}.")
    return network

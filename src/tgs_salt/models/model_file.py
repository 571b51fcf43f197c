"""The file `model.pt`: weights with all that is needed to use them. Only tensors and plain values are unpickled."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tgs_salt import __version__, files
from tgs_salt.errors import UserError
from tgs_salt.log import logger
from tgs_salt.models.tile_model import TileModel, build_model
from tgs_salt.provenance import rule_digest
from tgs_salt.records import NonNegativeInt, Record, validate_record
from tgs_salt.settings import MAX_TILE_SIZE, Model, validate

FORMAT_VERSION = 1
# Increment when a code change alters training results: checkpoints of unfinished training runs become invalid.
TRAINING_VERSION = 6


class ModelMetadata(Record):
    """The keys of `model.pt` that describe its weights."""

    settings: dict[str, Any]
    tile_size: Annotated[int, Field(ge=1, le=MAX_TILE_SIZE)]
    fold: NonNegativeInt
    fold_hash: str


def save_model(
    path: Path, weights: dict[str, Tensor], settings: Model, tile_size: int, fold: int, fold_hash: str
) -> None:
    """Write `model.pt`: weights (on the CPU), settings, tile size, fold, fold hash, versions and training code."""
    content = {
        "format": FORMAT_VERSION,
        "settings": json.loads(settings.model_dump_json()),
        "tile_size": tile_size,
        "fold": fold,
        "fold_hash": fold_hash,
        "versions": {"tgs_salt": __version__, "torch": str(torch.__version__), "numpy": str(np.__version__)},
        "recipe": TRAINING_VERSION,
        "code": rule_digest("train"),
        "weights": {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
    }
    files.write_bytes(path, serialize(content))


def load_model(path: Path, device: torch.device) -> tuple[TileModel, dict[str, Any]]:
    """Return the model in `model.pt`, in eval mode on `device`, and the other keys of the file.

    Raises UserError if the file is missing, damaged, or has another format.
    """
    content = read_torch_file(path)
    if content is None:
        raise UserError(f"{path}: not a valid model file; {files.RECREATE_HINT}.")
    if content.get("format") != FORMAT_VERSION:
        raise UserError(f"{path}: format {content.get('format')!r}, expected {FORMAT_VERSION}; train this fold again.")
    try:
        metadata = validate_record(content, ModelMetadata, path, "train this fold again")
        settings = validate(Model, metadata.settings)
        network = build_model(settings, metadata.tile_size, pretrained=False)
        network.load_state_dict(content.pop("weights"))
    except (UserError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as problem:
        reason = " ".join(str(problem).split()).removeprefix(f"{path}: ")[:200].rstrip(".")
        raise UserError(f"{path}: its weights do not match its settings ({reason}); train this fold again.") from None
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise UserError(f"{path}: its weights contain NaN or infinite values; train this fold again.")
    content["settings"] = settings.model_dump(mode="json")  # includes defaults of keys newer than the file
    return network.to(device).eval(), content


def load_weights(path: Path, network: TileModel, fold_hash: str) -> None:
    """Load the weights of another model's `model.pt` into `network`.

    Raises UserError if the networks differ, or if the other model held out other tiles: it would have been trained
    on labels that this fold is validated on.
    """
    content = read_torch_file(path)
    if content is None or "weights" not in content:
        raise UserError(f"{path}: not a valid model file; {files.RECREATE_HINT}.")
    if content.get("fold_hash") != fold_hash:
        raise UserError(f"{path}: init_from needs a model that held out the same tiles; train both with one folds.csv.")
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, TypeError, AttributeError) as problem:
        reason = str(problem).splitlines()[1].strip() if "\n" in str(problem) else str(problem)
        raise UserError(f"{path}: init_from needs a model with the same network ({reason}).") from None


def has_compressed_members(archive: zipfile.ZipFile) -> bool:
    """Return whether a member is compressed. This package writes none; one could be a zip bomb."""
    return any(
        info.compress_type != zipfile.ZIP_STORED or info.file_size > info.compress_size for info in archive.infolist()
    )


def serialize(content: dict[str, Any]) -> bytes:
    """Return the bytes that `torch.save` writes into a buffer.

    Given a path, `torch.save` stores the path's name, and equal weights would give different files.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def read_torch_file(path: Path) -> dict[str, Any] | None:
    """Return the dict in a torch file, on the CPU, or None if the file is damaged or has other content.

    Raises UserError if the file is missing or unreadable.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch does not verify checksums: a flipped bit would change a weight.
            if has_compressed_members(archive) or archive.testzip() is not None:
                return None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train this model and fold first.") from None
    except OSError as problem:
        raise files.read_error(path, problem) from None
    except MemoryError:
        raise
    except Exception as problem:  # torch raises many types for a damaged file
        logger.debug(f"{path}: {problem!r}")
        return None
    return content if isinstance(content, dict) else None

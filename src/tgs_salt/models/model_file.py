"""Files of weights: `model.pt`, which explains itself. Only tensors and plain values are ever unpickled."""

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
from tgs_salt.models.tile_model import TileNetwork, build
from tgs_salt.provenance import rule_digest
from tgs_salt.records import Record, Whole, checked
from tgs_salt.settings import MAX_TILE_SIZE, Model, validate

FORMAT = 1
# Bump when a change of the training code changes its numbers: half-trained checkpoints of the old code are refused.
TRAINING_VERSION = 6


class ModelMetadata(Record):
    """What a `model.pt` says of its weights."""

    settings: dict[str, Any]
    tile_size: Annotated[int, Field(ge=1, le=MAX_TILE_SIZE)]
    fold: Whole
    fold_hash: str


def save_model(
    path: Path, weights: dict[str, Tensor], settings: Model, tile_size: int, fold: int, fold_hash: str
) -> None:
    """Write `model.pt`: weights (on the CPU), the model's settings, tile size, fold, fold hash and versions."""
    content = {
        "format": FORMAT,
        "settings": json.loads(settings.model_dump_json()),
        "tile_size": tile_size,
        "fold": fold,
        "fold_hash": fold_hash,
        "versions": {"tgs_salt": __version__, "torch": str(torch.__version__), "numpy": str(np.__version__)},
        "recipe": TRAINING_VERSION,
        "code": rule_digest("train"),
        "weights": {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
    }
    files.write_bytes(path, to_bytes(content))


def load_model(path: Path, device: torch.device) -> tuple[TileNetwork, dict[str, Any]]:
    """The network that `model.pt` holds, ready to predict on `device`, and the rest of the file.

    Raises UserError if the file is missing, damaged, or of another format.
    """
    content = read_torch(path)
    if content is None:
        raise UserError(f"{path}: not a whole model file; delete it and run snakemake again.")
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: format {content.get('format')!r}, expected {FORMAT}; train this fold again.")
    try:
        about = checked(content, ModelMetadata, path, "train this fold again")
        settings = validate(Model, about.settings)
        network = build(settings, about.tile_size, fetch=False)
        network.load_state_dict(content.pop("weights"))
    except (UserError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as problem:
        reason = " ".join(str(problem).split()).removeprefix(f"{path}: ")[:200].rstrip(".")
        raise UserError(f"{path}: its weights and settings do not fit ({reason}); train this fold again.") from None
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise UserError(f"{path}: some of its weights are no numbers; train this fold again.")
    content["settings"] = settings.model_dump(mode="json")  # with the defaults of keys that came later
    return network.to(device).eval(), content


def load_weights(path: Path, network: TileNetwork, fold_hash: str) -> None:
    """Start `network` from the weights of another model's `model.pt`.

    Raises UserError if they are of another network, or if they were trained with another fold held out: they would
    have seen the labels that this fold is judged by.
    """
    content = read_torch(path)
    if content is None or "weights" not in content:
        raise UserError(f"{path}: not a whole model file; delete it and run snakemake again.")
    if content.get("fold_hash") != fold_hash:
        raise UserError(f"{path}: init_from needs a model that held out the same fold; this one held out other tiles.")
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, TypeError, AttributeError) as problem:
        reason = str(problem).splitlines()[1].strip() if "\n" in str(problem) else str(problem)
        raise UserError(f"{path}: init_from needs a model with the same network ({reason})") from None


def is_packed(archive: zipfile.ZipFile) -> bool:
    """Whether a member is compressed: we write none, and a small one may unpack to more than the memory there is."""
    listed = archive.infolist()
    return any(one.compress_type != zipfile.ZIP_STORED or one.file_size > one.compress_size for one in listed)


def to_bytes(content: dict[str, Any]) -> bytes:
    """Into memory first: torch writes a path's name into the file, which would make equal weights unequal files."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def read_torch(path: Path) -> dict[str, Any] | None:
    """The mapping in a torch file, on the CPU, or None if damaged or no such mapping."""
    try:
        with zipfile.ZipFile(path) as whole:
            # torch does not look at the checksums: a flipped bit would become another weight.
            if is_packed(whole) or whole.testzip() is not None:
                return None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train this model and fold first.") from None
    except OSError as problem:
        raise files.unreadable(path, problem) from None
    except MemoryError:
        raise
    except Exception as problem:  # torch raises many kinds for a damaged file
        logger.debug(f"{path}: {problem!r}")
        return None
    return content if isinstance(content, dict) else None

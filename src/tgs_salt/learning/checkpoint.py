"""Files of weights: `model.pt`, which explains itself, and the resume checkpoint of a training that is under way."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from tgs_salt import __version__, files
from tgs_salt.errors import UserError
from tgs_salt.learning.network import TileNetwork, build
from tgs_salt.log import logger
from tgs_salt.settings import Model, validate

FORMAT = 1
# Bump when a change of the training code changes its numbers: half-trained checkpoints of the old code are refused.
RECIPE = 2


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
        "recipe": RECIPE,
        "weights": {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
    }
    files.write_bytes(path, _to_bytes(content))


def load_model(path: Path, device: torch.device) -> tuple[TileNetwork, dict[str, Any]]:
    """The network that `model.pt` holds, ready to predict on `device`, and the rest of the file.

    Raises UserError if the file is missing, damaged, or of another format.
    """
    content = _read(path)
    if content is None:
        raise UserError(f"{path}: not a whole model file; delete it and run snakemake again.")
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: format {content.get('format')!r}, expected {FORMAT}; train this fold again.")
    settings = validate(Model, content["settings"])
    network = build(settings, content["tile_size"], fetch=False)
    network.load_state_dict(content.pop("weights"))
    return network.to(device).eval(), content


def load_weights(path: Path, network: TileNetwork, fold_hash: str) -> None:
    """Start `network` from the weights of another model's `model.pt`.

    Raises UserError if they are of another network, or if they were trained with another fold held out: they would
    have seen the labels that this fold is judged by.
    """
    content = _read(path)
    if content is None or "weights" not in content:
        raise UserError(f"{path}: not a whole model file; delete it and run snakemake again.")
    if content.get("fold_hash") != fold_hash:
        raise UserError(f"{path}: init_from needs a model that held out the same fold; this one held out other tiles.")
    try:
        network.load_state_dict(content["weights"])
    except RuntimeError as problem:
        reason = str(problem).splitlines()[1].strip() if "\n" in str(problem) else str(problem)
        raise UserError(f"{path}: init_from needs a model with the same network ({reason})") from None


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    files.write_bytes(path, _to_bytes(state))


def load_checkpoint(path: Path, fingerprint: dict[str, str]) -> dict[str, Any] | None:
    """The state to resume from, or None to start clean: no checkpoint, a damaged one, or one of another training."""
    if not path.exists():
        return None
    state = _read(path)
    if state is None:
        logger.warning(f"{path} is damaged; starting from the first epoch")
        return None
    differs = [name for name, value in fingerprint.items() if state.get("fingerprint", {}).get(name) != value]
    if differs:
        logger.warning(f"{path} is of another training ({', '.join(differs)} changed); starting from the first epoch")
        return None
    return state


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a fold's folder while it is trained; UserError says who holds it already."""
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "holder.txt"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise UserError(
            f"{folder.parent}: {who} is training this fold; wait for it, or stop it, and run the same command again."
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        lock.release()


def _to_bytes(content: dict[str, Any]) -> bytes:
    """Into memory first: torch writes a path's name into the file, which would make equal weights unequal files."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _read(path: Path) -> dict[str, Any] | None:
    """The mapping in a torch file, on the CPU, or None if damaged; only tensors and plain values are unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train this model and fold first.") from None
    except OSError as problem:
        raise UserError(
            f"{path}: cannot be read ({problem.strerror}); mend that and run the same command again."
        ) from None
    except MemoryError:
        raise
    except Exception as problem:  # torch raises many kinds for a damaged file
        logger.debug(f"{path}: {problem!r}")
        return None
    return content if isinstance(content, dict) else None

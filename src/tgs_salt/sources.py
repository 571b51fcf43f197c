"""Which code made a result: digests of the package's own sources, the same wherever the checkout lies.

Snakemake compares the digest of a rule's code as a parameter, so that changed code makes its results again. Training
has none: it would cost a night. `model.pt` and `timing.json` carry it, and `report.older` tells where it has changed.
"""

from __future__ import annotations

from pathlib import Path

from tgs_salt import files

PACKAGE = Path(__file__).parent

TABLES = ("survey/tables.py", "survey/tiles.py", "survey/folds.py")
PARTS = ("unet", "encoder_weights", "heads", "convolutions", "article", "dropout")
NETWORK = tuple(f"learning/{name}.py" for name in ("network", *PARTS, "precision", "checkpoint"))
LOOP = ("train", "data", "augment", "average", "history", "losses", "optimise", "validate", "predict")
TRAINING = (*(f"learning/{name}.py" for name in LOOP), *NETWORK, "kernels/metric.py", "kernels/jit.py")
DECISION = ("decision", "kernels", "files.py", *TABLES)
MADE_BY: dict[str, tuple[str, ...]] = {
    "train": TRAINING,
    "predict": ("learning/predict.py", "learning/engine.py", "decision/gather.py", *NETWORK, "files.py", *TABLES),
    "ensemble": DECISION,
    "threshold": DECISION,
    "submission": ("submission/table.py", "kernels", "files.py", "survey/tables.py", "survey/tiles.py"),
    "report": ("report", "submission", *DECISION, *TRAINING),  # it tells which folds older code has trained
    "export": ("learning/bundle.py", *NETWORK, "files.py"),
}
"""By rule, the modules and rooms that its bytes come from. How a command speaks, stops and reads its settings (a rule
has these as parameters) is not among them."""


def code_of(rule: str) -> str:
    """The digest of a rule's code as it is now."""
    return code_digest(*MADE_BY[rule])


def code_digest(*parts: str, package: Path = PACKAGE) -> str:
    """A digest of modules and rooms of `package`, such as "decision" or "files.py"; comments and blank lines aside."""
    found = [path for part in parts for path in _sources(package / part)]
    return files.digest(*(f"{path.relative_to(package).as_posix()}\n{_code(path)}" for path in found))[:16]


def _sources(place: Path) -> list[Path]:
    """A module, or those of a room with the templates of its pages."""
    return sorted([*place.rglob("*.py"), *place.rglob("*.j2")]) if place.is_dir() else [place]


def _code(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))

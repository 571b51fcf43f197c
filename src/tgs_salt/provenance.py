"""Which code made a result: digests of the package's own sources, the same wherever the checkout lies.

Snakemake compares the digest of a rule's code as a parameter, so that changed code makes its results again. Training
has none: it would cost a night. `model.pt` and `timing.json` carry it, and `report.older` tells where it has changed.
"""

from __future__ import annotations

from pathlib import Path

from tgs_salt import files

PACKAGE = Path(__file__).parent

TABLES = ("data/csv_tables.py", "data/tiles.py", "data/folds.py")
NETWORK = (
    *(f"models/{name}.py" for name in ("tile_model", "unet", "encoder_weights", "heads", "cpu_speedups")),
    *(f"models/{name}.py" for name in ("article_unet", "dropout", "model_file")),
    "compute/amp.py",
)
LOOP = ("fit", "fold_data", "augmentation", "weight_averaging", "history", "losses", "optim", "evaluate")
TRAINING = (
    *(f"training/{name}.py" for name in LOOP), "inference/predict.py", *NETWORK, "kernels/iou_score.py", "kernels/jit.py"
)  # fmt: skip
DECISION = (
    *(f"postprocessing/{name}.py" for name in ("ensemble", "ensemble_selection", "threshold", "threshold_search")),
    "kernels",
    "files.py",
    *TABLES,
)
RULE_SOURCES: dict[str, tuple[str, ...]] = {
    "train": TRAINING,
    "predict": (
        *(f"inference/{name}.py" for name in ("predict", "backends", "merge_shards")), *NETWORK, "files.py", *TABLES
    ),
    "ensemble": DECISION,
    "threshold": DECISION,
    "submission": ("postprocessing/submission.py", "kernels", "files.py", "data/csv_tables.py", "data/tiles.py"),
    "report": ("report", "evaluation", "kaggle/submit.py", "postprocessing/submission.py", *DECISION, *TRAINING),  # it lists the folds that older code has trained
    "export": ("inference/bundle.py", *NETWORK, "files.py"),
}  # fmt: skip
"""By rule, the modules and rooms that its bytes come from. How a command speaks, stops and reads its settings (a rule
has these as parameters) is not among them."""


def rule_digest(rule: str) -> str:
    """The digest of a rule's code as it is now."""
    return code_digest(*RULE_SOURCES[rule])


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

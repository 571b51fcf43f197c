"""Digests of the source code behind each rule's outputs, independent of where the checkout is.

Snakemake gets the digest of a rule as a parameter, so that a code change reruns the rule. Training has no such
parameter, because retraining takes hours: `model.pt` and `timing.json` store the digest, and the report lists models
that were trained by an older version.
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
    *(f"training/{name}.py" for name in LOOP),
    "inference/predict.py",
    *NETWORK,
    "kernels/iou_score.py",
    "kernels/jit.py",
)
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
    # TRAINING, because the report lists models that were trained by an older version.
    "report": (
        "report", "evaluation", "layout.py", "kaggle/submit.py", "postprocessing/submission.py", *DECISION, *TRAINING
    ),
    "export": ("inference/bundle.py", "layout.py", *NETWORK, "files.py"),
}  # fmt: skip
"""Modules and packages, by rule, that determine the rule's output bytes.

Logging, signal handling and settings parsing are left out; settings are parameters of the rules.
"""


def rule_digest(rule: str) -> str:
    """Return the digest of the current code of `rule`, 16 hexadecimal digits."""
    return code_digest(*RULE_SOURCES[rule])


def code_digest(*sources: str, package: Path = PACKAGE) -> str:
    """Return a digest, 16 hexadecimal digits, of modules and packages such as "files.py" or "kernels".

    Comment lines and blank lines do not count. `sources` are relative to `package`.
    """
    paths = [path for source in sources for path in _source_files(package / source)]
    return files.digest(*(f"{path.relative_to(package).as_posix()}\n{_code(path)}" for path in paths))[:16]


def _source_files(path: Path) -> list[Path]:
    """Return the modules and page templates in a package, or `path` if it is a module."""
    return sorted([*path.rglob("*.py"), *path.rglob("*.j2")]) if path.is_dir() else [path]


def _code(path: Path) -> str:
    """Return the text of a template, or a module's text without comment lines and blank lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))

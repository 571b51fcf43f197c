"""Which code made a result: a digest of the package's own sources, the same wherever the checkout lies."""

from __future__ import annotations

from pathlib import Path

from tgs_salt import files

PACKAGE = Path(__file__).parent
LEARNING = ("learning", "kernels/metric.py")
"""What the bytes of a `model.pt` and of its predictions come from."""


def code_digest(*parts: str, package: Path = PACKAGE) -> str:
    """A digest of modules and rooms of `package`, such as "decision" or "files.py"; comments and blank lines aside."""
    found = [path for part in parts for path in _modules(package / part)]
    return files.digest(*(f"{path.relative_to(package).as_posix()}\n{_code(path)}" for path in found))[:16]


def _modules(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _code(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))

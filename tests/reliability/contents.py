"""The digests of all files in a folder, to compare two runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Files that contain times.
VARYING = (".log", "timing.json", "report.html")


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in `folder` by its relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def results(folder: Path) -> dict[str, str]:
    """Return the digests of the files in data/ and results/ that must be equal in every run."""
    digests = {
        f"{name}/{path}": digest for name in ("data", "results") for path, digest in file_digests(folder / name).items()
    }
    return {path: digest for path, digest in digests.items() if not path.endswith(VARYING)}

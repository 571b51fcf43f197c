"""What lies in a folder, so that two runs can be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Times of clocks, and what holds some of them.
VARYING = (".log", "timing.json", "report.html")


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder`, by its path and digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def results(folder: Path) -> dict[str, str]:
    """What runs of Snakemake in `folder` have made, and what has to be the same in each of them."""
    found = {
        f"{place}/{name}": seen for place in ("data", "results") for name, seen in contents(folder / place).items()
    }
    return {name: seen for name, seen in found.items() if not name.endswith(VARYING)}

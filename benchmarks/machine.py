"""What the numbers were measured on, in a line."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Processor, cores, load before the start, and versions."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    busy = os.getloadavg()[1]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, load {busy:.1f} before the start; "
        f"Python {platform.python_version()}, torch {version('torch')}."
    )

"""A description of the machine that a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine(*packages: str) -> str:
    """Return processor, cores, load average, system, and versions of Python and `packages` (default: torch)."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    load = f", load average {os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages or ("torch",))]
    return f"{processor}, {os.cpu_count()} cores{load}; {platform.system()}, {', '.join(versions)}."

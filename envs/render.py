"""Render envs/tgs-salt.yaml with the pins of requirements.lock: `python envs/render.py` (part of `make lock`)."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = HERE / "tgs-salt.yaml"


def render(lock: str) -> str:
    """The conda environment for the requirements in `lock` (pip's format with hashes, which conda cannot take)."""
    pins = [match[0].strip() for match in re.finditer(r"^[A-Za-z0-9._-]+==[^\\\n]+", lock, re.MULTILINE)]
    # json's quotes are YAML's: markers hold quotes and semicolons.
    lines = "\n".join(f'      - "{pin}"' for pin in pins)
    return (
        "# Rendered from requirements.lock by envs/render.py; do not edit.\n"
        "# Used by `snakemake --software-deployment-method conda`, ignored otherwise.\n"
        "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python=3.12\n  - pip\n  - pip:\n"
        f"{lines}\n"
    )


if __name__ == "__main__":
    ENVIRONMENT.write_text(render((HERE.parent / "requirements.lock").read_text()))

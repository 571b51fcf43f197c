"""Render the conda environment and the container recipes from requirements.lock (part of `make lock`).

python envs/render.py
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
NOTICE = "# Rendered from requirements.lock by envs/render.py; do not edit."
# Gigabytes that torch's CPU build does not need.
CUDA = ("nvidia-", "cuda-", "triton")


def pins_of(lock: str) -> list[str]:
    """Return the pinned requirements of `lock` with their markers, without hashes (conda does not accept them)."""
    return [match[0].strip() for match in re.finditer(r"^[A-Za-z0-9._-]+==[^\\\n]+", lock, re.MULTILINE)]


def conda(pins: list[str]) -> str:
    # Markers contain quotes and semicolons; JSON's quoting is valid YAML.
    lines = "\n".join(f'      - "{pin}"' for pin in pins)
    return (
        f"{NOTICE}\n"
        "# Used by `snakemake --software-deployment-method conda`, ignored otherwise.\n"
        "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python=3.12\n  - pip\n  - pip:\n"
        f"{lines}\n"
    )


def container(pins: list[str], backend: str) -> str:
    """Return a recipe; `backend` is cpu or cuda. PyPI's torch for Linux includes CUDA; the host provides the driver."""
    if backend == "cpu":
        pins = [pin for pin in pins if not pin.startswith(CUDA)]
    lines = "\n".join(pins)
    use = f"docker run {'' if backend == 'cpu' else '--gpus all '}-v $PWD:/work tgs-salt:{backend}"
    return f"""# syntax=docker/dockerfile:1
{NOTICE}
#   docker build -f envs/Dockerfile.{backend} -t tgs-salt:{backend} .
#   {use} snakemake --cores all --resources gpu={int(backend != "cpu")}
FROM python:3.12-slim
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir uv
COPY <<EOF /tmp/requirements.txt
{lines}
EOF
RUN uv pip install --system --no-cache {"--torch-backend cpu " if backend == "cpu" else ""}-r /tmp/requirements.txt
# Snakemake plugins that pods need, such as snakemake-storage-plugin-s3: --build-arg EXTRA=...
ARG EXTRA=""
RUN if [ -n "$EXTRA" ]; then uv pip install --system --no-cache $EXTRA; fi
COPY pyproject.toml README.md LICENSE /opt/tgs-salt/
COPY src /opt/tgs-salt/src
RUN uv pip install --system --no-cache --no-deps /opt/tgs-salt
WORKDIR /work
"""


def rendered(lock: str) -> dict[str, str]:
    """Return the content of each rendered file by its name."""
    pins = pins_of(lock)
    return {
        "tgs-salt.yaml": conda(pins),
        "Dockerfile.cpu": container(pins, "cpu"),
        "Dockerfile.cuda": container(pins, "cuda"),
    }


if __name__ == "__main__":
    for name, content in rendered((HERE.parent / "requirements.lock").read_text()).items():
        (HERE / name).write_text(content)

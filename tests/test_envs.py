"""The files in envs/ match what render.py generates from requirements.lock, and contain every pinned version."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("render", ROOT / "envs/render.py")
assert SPEC is not None and SPEC.loader is not None
render = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(render)

LOCK = (ROOT / "requirements.lock").read_text()
PINNED = {line.split(" \\")[0] for line in LOCK.splitlines() if re.match(r"[a-z]", line)}


@pytest.mark.parametrize("name", ["tgs-salt.yaml", "Dockerfile.cpu", "Dockerfile.cuda"])
def test_rendered_files_are_current(name: str) -> None:
    assert (ROOT / "envs" / name).read_text() == render.rendered(LOCK)[name], "make lock, or python envs/render.py"


def test_conda_environment_has_every_pin() -> None:
    environment = yaml.safe_load((ROOT / "envs/tgs-salt.yaml").read_text())
    assert set(environment["dependencies"][-1]["pip"]) == PINNED


@pytest.mark.parametrize(("backend", "cuda"), [("cpu", False), ("cuda", True)])
def test_containers_have_every_pin_and_cuda_if_requested(backend: str, cuda: bool) -> None:
    recipe = (ROOT / f"envs/Dockerfile.{backend}").read_text()
    (pins,) = re.findall(r"^COPY <<EOF /tmp/requirements.txt\n(.*?)\nEOF$", recipe, re.MULTILINE | re.DOTALL)
    names = {Requirement(pin).name for pin in pins.splitlines()}
    assert {"torch", "snakemake", "numba", "kaggle"} <= names
    assert any(name.startswith("nvidia-") for name in names) == cuda
    assert ("--torch-backend cpu" in recipe) != cuda
    missing = {Requirement(pin).name for pin in PINNED} - names
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in missing)
    for sources in re.findall(r"^COPY ((?!<<).*) \S+$", recipe, re.MULTILINE):
        assert all((ROOT / path).exists() for path in sources.split())

"""Nothing that somebody hands over is unpickled: no call in the sources could do it, and files that try do nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from helpers.corruption import Harm, pickled, torch_file
from helpers.kaggle_user import User

from tgs_salt.log import logger
from tgs_salt.models.model_file import read_torch
from tgs_salt.signals import StopRequest
from tgs_salt.training.checkpoints import CheckpointManager

ROOT = Path(__file__).parents[2]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PANDAS = {"read_pickle", "read_hdf"}


def sources() -> dict[str, str]:
    """Python of the project by its path: the package, benchmarks, rendering of environments, rules and notebooks."""
    found = {
        path: path.read_text() for folder in ("src", "benchmarks", "envs") for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        # Lines for a shell are no Python.
        found[path] = "\n".join("pass" if line.startswith(("!", "%")) else line for line in code.splitlines())
    # Of the functions in the rules' files everything is Python but the directives.
    found[ROOT / "workflow/rules/common.smk"] = (ROOT / "workflow/rules/common.smk").read_text()
    return {str(path.relative_to(ROOT)): text for path, text in found.items()}


def offences(text: str) -> list[str]:
    """Calls and imports by which a file could be unpickled."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found += [f"import {name}" for name in names if name.partition(".")[0] in MODULES | PANDAS]
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            found.append(ast.unparse(node))
        if called.rpartition(".")[2] in PANDAS or given.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
        if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and ast.unparse(node.args[-1]) != "_Once":
            found.append(ast.unparse(node))
    return found


def test_no_source_can_unpickle_a_file() -> None:
    read = sources()
    assert {"src/tgs_salt/models/model_file.py", "workflow/rules/common.smk", "notebooks/kaggle.ipynb"} <= set(read)
    assert sum(text.count("torch.load(") for text in read.values()) >= 3
    assert {path: bad for path, text in read.items() if (bad := offences(text))} == {}


@pytest.mark.parametrize(
    "path", ["Snakefile", *(f"workflow/rules/{path.name}" for path in (ROOT / "workflow/rules").glob("*"))]
)
def test_no_rule_can_unpickle_a_file(path: str) -> None:
    """Rules are no Python that could be parsed; none of these words is in them."""
    text = (ROOT / path).read_text()
    assert [word for word in (*MODULES, *PANDAS, "torch.load", "allow_pickle") if word in text] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "torch.load(path)", "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)", "pd.read_pickle(path)", "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
    ],
)  # fmt: skip
def test_what_would_be_found(code: str) -> None:
    assert offences(code)


def test_the_harm_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else none of these tests would show anything."""
    monkeypatch.chdir(tmp_path)
    function, arguments = Harm().__reduce__()
    function(*arguments)
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("inner", [pickled(), torch_file(pickled())], ids=["pickle", "torch"])
def test_a_checkpoint_with_code_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, inner: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logger, "propagate", True)  # a command in this process may have turned it off
    (tmp_path / "checkpoint.pt").write_bytes(inner)
    assert read_torch(tmp_path / "checkpoint.pt") is None
    assert CheckpointManager(tmp_path, {}, 10, StopRequest()).load() is None
    assert "checkpoint.pt is damaged; starting from the first epoch" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("inner", [pickled(), torch_file(pickled())], ids=["pickle", "torch"])
def test_encoder_weights_with_code(place: Path, user: User, inner: bytes) -> None:
    Path("mine.pt").write_bytes(inner)
    settings = '{"model":{"encoder_weights":"mine.pt","encoder":"resnet18","epochs":1,"threads":1}}'
    files = ("images", "data/train_images.npy"), ("masks", "data/train_masks.npy"), ("tiles", "data/tiles.csv")
    named = [word for name, path in (*files, ("folds", "folds.csv")) for word in (f"--{name}", path)]
    ended = user.types(
        "train", "--settings", settings, "--model", "a", "--fold", "0", *named, "--output", "out/model.pt"
    )
    assert ended.code == 1
    assert ended.error == "models.a.encoder_weights: mine.pt is not a torch file of tensors (UnpicklingError)."
    assert not Path("harm").exists() and not Path("out/model.pt").exists()

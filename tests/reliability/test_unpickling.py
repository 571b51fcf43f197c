"""No input file can run code: the sources contain no call that unpickles one, and malicious files are rejected."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from helpers.corruption import Exploit, malicious_pickle, torch_file
from helpers.kaggle_user import User

from tgs_salt.log import logger
from tgs_salt.models.model_file import read_torch_file
from tgs_salt.signals import StopRequest
from tgs_salt.training.checkpoints import CheckpointManager

ROOT = Path(__file__).parents[2]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_PANDAS = {"read_pickle", "read_hdf"}


def read_sources() -> dict[str, str]:
    """Return the Python code of the package, benchmarks, environments, rules and notebooks, by path."""
    sources = {
        path: path.read_text() for folder in ("src", "benchmarks", "envs") for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        # Shell lines are not Python.
        sources[path] = "\n".join("pass" if line.startswith(("!", "%")) else line for line in code.splitlines())
    # This file consists of plain Python only; the other .smk files contain rules, which ast cannot parse.
    sources[ROOT / "workflow/rules/common.smk"] = (ROOT / "workflow/rules/common.smk").read_text()
    return {str(path.relative_to(ROOT)): text for path, text in sources.items()}


def unsafe_code(text: str) -> list[str]:
    """Return the imports and calls that could unpickle a file."""
    unsafe = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            unsafe += [f"import {name}" for name in names if name.partition(".")[0] in UNSAFE_MODULES | UNSAFE_PANDAS]
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if function == "torch.load" and keywords.get("weights_only") != "True":
            unsafe.append(ast.unparse(node))
        if function.rpartition(".")[2] in UNSAFE_PANDAS or keywords.get("allow_pickle", "False") != "False":
            unsafe.append(ast.unparse(node))
        yaml_load = function in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
        if yaml_load and ast.unparse(node.args[-1]) != "UniqueKeyLoader":  # a subclass of yaml.SafeLoader
            unsafe.append(ast.unparse(node))
    return unsafe


def test_sources_contain_no_unsafe_code() -> None:
    sources = read_sources()
    assert {"src/tgs_salt/models/model_file.py", "workflow/rules/common.smk", "notebooks/kaggle.ipynb"} <= set(sources)
    assert sum(text.count("torch.load(") for text in sources.values()) >= 3
    assert {path: unsafe for path, text in sources.items() if (unsafe := unsafe_code(text))} == {}


@pytest.mark.parametrize(
    "path", ["Snakefile", *(f"workflow/rules/{path.name}" for path in (ROOT / "workflow/rules").glob("*"))]
)
def test_rules_contain_no_unsafe_names(path: str) -> None:
    text = (ROOT / path).read_text()
    unsafe = (*UNSAFE_MODULES, *UNSAFE_PANDAS, "torch.load", "allow_pickle")
    assert [name for name in unsafe if name in text] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "torch.load(path)", "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)", "pd.read_pickle(path)", "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
    ],
)  # fmt: skip
def test_unsafe_code_is_detected(code: str) -> None:
    assert unsafe_code(code)


def test_exploit_works_when_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without this, the tests below would prove nothing.
    monkeypatch.chdir(tmp_path)
    function, arguments = Exploit().__reduce__()
    function(*arguments)
    assert (tmp_path / "executed").exists()


MALICIOUS_FILES = pytest.mark.parametrize(
    "content", [malicious_pickle(), torch_file(malicious_pickle())], ids=["pickle", "torch"]
)


@MALICIOUS_FILES
def test_malicious_checkpoint_is_skipped_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logger, "propagate", True)  # commands of other tests turn it off
    (tmp_path / "checkpoint.pt").write_bytes(content)
    assert read_torch_file(tmp_path / "checkpoint.pt") is None
    assert CheckpointManager(tmp_path, {}, 10, StopRequest()).load() is None
    assert "checkpoint.pt is damaged; starting from the first epoch" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@MALICIOUS_FILES
def test_malicious_encoder_weights_are_rejected(workdir: Path, user: User, content: bytes) -> None:
    Path("mine.pt").write_bytes(content)
    settings = '{"model":{"encoder_weights":"mine.pt","encoder":"resnet18","epochs":1,"threads":1}}'
    files = ("images", "data/train_images.npy"), ("masks", "data/train_masks.npy"), ("tiles", "data/tiles.csv")
    inputs = [word for name, path in (*files, ("folds", "folds.csv")) for word in (f"--{name}", path)]
    result = user.run(
        "train", "--settings", settings, "--model", "a", "--fold", "0", *inputs, "--output", "out/model.pt"
    )
    assert result.code == 1
    assert result.error == "models.a.encoder_weights: mine.pt is not a torch file of tensors (UnpicklingError)."
    assert not Path("executed").exists() and not Path("out/model.pt").exists()

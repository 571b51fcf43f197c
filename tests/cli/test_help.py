"""Help texts are complete and short, and texts in the repository name only existing commands, options and settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tgs_salt.cli import app
from tgs_salt.settings import Settings

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [
    *DOCS,
    ROOT / "Snakefile",
    ROOT / "config.yaml",
    *sorted((ROOT / "notebooks").rglob("*.ipynb")),
    *sorted(path for suffix in ("*.py", "*.j2") for path in (ROOT / "src").rglob(suffix)),
    *sorted(path for suffix in ("*.smk", "*.rst", "*.yaml") for path in (ROOT / "workflow").rglob(suffix)),
]
SHELL_COMMAND = re.compile(r"\b(?:tgs-salt|tgs_salt) +(?!import\b)([a-z][a-z-]*)((?:[^\n`\"#|;<]|<[a-z]+>)*)")
SUBPROCESS_COMMAND = re.compile(r"(?:\"tgs_salt\", |_run_command\()\"([a-z-]+)\"([^)]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
INLINE_CODE = re.compile(r"`([^`\n]+)`")
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONFIG_OPTION = re.compile(r"\"(\w+)=(\{[^\"]*\})\"")
FILE_SUFFIXES = {"csv", "html", "json", "lock", "npy", "pt", "py", "smk", "yaml", "zip"}


def options(command: str) -> set[str]:
    return {"--help", *(option for parameter in COMMANDS[command].params for option in parameter.opts)}


def command_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the command and the rest of each `tgs-salt COMMAND ...` and `python -m tgs_salt COMMAND ...` in a text."""
    text = re.sub(r"\\\n\s*", " ", text)  # shell lines
    text = re.sub(r"\"\n\s*f?\"", "", text)  # string literals
    for pattern in (SHELL_COMMAND, SUBPROCESS_COMMAND):
        for match in pattern.finditer(text):
            yield match[1], match[2]


def unknown_names(text: str) -> list[str]:
    problems = []
    for command, rest in command_lines(text):
        if command not in COMMANDS:
            problems.append(command)
        else:
            problems += [f"{command} {option}" for option in OPTION.findall(rest) if option not in options(command)]
    return problems


def unknown_keys(config: Any, model: Any = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the keys of a (partial) configuration that the settings do not have."""
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key not in model.model_fields:
            yield f"{prefix}{key}"
            continue
        annotation = model.model_fields[key].annotation
        if key == "models" and isinstance(value, dict):
            for name, keys in value.items():
                yield from unknown_keys(keys, annotation.__args__[1], f"models.{name}.")
        elif hasattr(annotation, "model_fields"):
            yield from unknown_keys(value, annotation, f"{prefix}{key}.")


def nested(dotted: str) -> dict[str, Any] | None:
    """Return {"folds": {"seed": None}} for "folds.seed", or None if this is not the name of a settings key."""
    keys = dotted.split(".")
    if keys[0] not in Settings.model_fields or keys[-1] in FILE_SUFFIXES or len(keys) < 2:
        return None
    config: Any = None
    for key in reversed(keys):
        config = {key: config}
    return config


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_argument_has_help(command: str) -> None:
    undocumented = [p.name for p in COMMANDS[command].params if p.name != "help" and not getattr(p, "help", None)]
    assert undocumented == []


def test_summaries_are_not_cut_off() -> None:
    page = CliRunner().invoke(app, ["--help"], terminal_width=80, prog_name="tgs-salt").output
    lines = page.partition("Commands:\n")[2].strip().splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert [line for line in lines if line.endswith("...") or len(line.split()) < 2] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_mentioned_commands_and_options_exist(path: Path) -> None:
    assert unknown_names(path.read_text()) == []


def test_unknown_commands_and_options_are_found() -> None:
    text = "run `tgs-salt look x`, or\ntgs-salt status x \\\n  --wach # wait\n"
    text += '"python -m tgs_salt predict --splt"\n" --shard 0/2"'
    assert unknown_names(text) == ["look", "status --wach", "predict --splt"]
    assert unknown_names('run([python, "-m", "tgs_salt", "status", folder] + ["--same", options])') == ["status --same"]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_mentioned_settings_exist(path: Path) -> None:
    text = path.read_text()
    names = [re.match(r"[\w.]*", code)[0] for code in INLINE_CODE.findall(text)]  # type: ignore[index]
    configs = [nested(re.sub(r"^models\.[A-Z]+\.", "models.name.", name)) for name in names]
    configs += [{key: yaml.safe_load(value)} for key, value in CONFIG_OPTION.findall(text)]
    configs += [yaml.safe_load(block) for block in YAML_BLOCK.findall(text)]
    assert [key for config in configs for key in unknown_keys(config)] == []


def test_unknown_settings_are_found() -> None:
    config = {"survey": {}, "folds": {"count": 3}, "models": {"a": {"lr": 1, "augment": {"flip": 1}}}}
    assert list(unknown_keys(config)) == ["survey", "folds.count", "models.a.lr", "models.a.augment.flip"]
    assert list(unknown_keys(nested("folds.seed"))) == [] and nested("folds.csv") is None

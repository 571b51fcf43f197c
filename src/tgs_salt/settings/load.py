"""From a mapping (a YAML file, Snakemake's config, a JSON literal) to checked settings, or one clear sentence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tgs_salt.errors import UserError
from tgs_salt.settings.schema import Settings
from tgs_salt.settings.types import ConfigModel

S = TypeVar("S", bound=BaseModel)
MAX_VALUES = 100_000
MAX_SHOWN = 200  # characters of what is quoted in a message
NAME_IN_WORDS = "letters, digits, '_', '-' and '.', beginning with a letter or digit"


def load(config: Mapping[str, Any]) -> Settings:
    """Check a whole configuration and fill in the defaults.

    Raises UserError with the full dotted name of the first bad key, what is accepted, and the nearest good key.
    """
    _count_values(config)
    config = dict(config)
    if isinstance(config.get("models"), Mapping):
        models = {str(name): keys for name, keys in config["models"].items()}
        config["models"] = {name: _inherit(name, models) for name in models}
    return validate(Settings, config)


def load_files(*paths: Path) -> Settings:
    """Load YAML files, later ones over earlier ones, as Snakemake's --configfile does."""
    config: dict[str, Any] = {}
    for path in paths:
        _merge(config, read_yaml(path))
    return load(config)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of one configuration file. UserError if it is not YAML, or has a key twice."""
    try:
        keys = yaml.load(path.read_text(), _Once) or {}
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror}); name a configuration file.") from None
    # ValueError: not UTF-8, or a date such as 2020-13-45
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise UserError(f"{path}: not YAML: {' '.join(str(problem).split())[:MAX_SHOWN]}") from None
    if not isinstance(keys, dict):
        raise UserError(f"{path}: expected keys such as `name:` and `models:` at the top.")
    _count_values(keys)
    return keys


def section(text: str, name: str, kind: type[S]) -> S:
    """Read one section of a JSON literal that holds some, as rules pass it: `section(text, "folds", Folds)`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UserError(f"--settings: not JSON ({problem}).") from None
    if not isinstance(data, dict):
        raise UserError("--settings: expected a JSON object of sections.")
    if name not in data:
        raise UserError(f"--settings: no section {name!r}, found {', '.join(data) or 'none'}.")
    return validate(kind, data[name], prefix=name)


def validate(kind: type[S], data: Any, prefix: str = "") -> S:
    """Make `kind` from `data`; UserError with one sentence about the first thing that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as problem:
        # An unknown key explains a missing one, so it goes first.
        errors = sorted(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
        raise UserError(_sentence(kind, errors[0], prefix)) from None


def json_schema() -> dict[str, Any]:
    """The schema by which editors complete and check config.yaml."""
    schema = Settings.model_json_schema()
    # An overlay (--configfile) names only what it changes.
    schema.pop("required", None)
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "TGS salt experiment"}


class _Once(yaml.SafeLoader):
    """YAML in which a key stands once: the later of two would take the place of the other without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge") else key
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _count_values(config: Any) -> None:
    """UserError if there are more values than a person writes: YAML's aliases make a billion of a few lines."""
    left, waiting = MAX_VALUES, [config]
    while waiting:
        value = waiting.pop()
        left -= 1
        if left < 0:
            raise UserError(f"configuration: more than {MAX_VALUES:,} values; take out aliases (*) within aliases.")
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _inherit(name: str, models: Mapping[str, Any], path: tuple[str, ...] = ()) -> Any:
    """The keys of a model over those of the model that it is `like`."""
    own = models[name] if models[name] is not None else {}
    if not isinstance(own, Mapping) or own.get("extends") in (None, "null", "None", "~"):
        return own
    source = own["extends"]
    if source not in list(models):
        raise UserError(f"models.{name}.extends: there is no model {source!r}; models are {', '.join(models)}.")
    if name in path:
        raise UserError(f"models.{name}.extends: {' -> '.join((*path, name))} is a circle.")
    inherited = _inherit(source, models, (*path, name))
    return {**inherited, **own} if isinstance(inherited, Mapping) else own


def _sentence(kind: type[BaseModel], error: ErrorDetails, prefix: str) -> str:
    keys = [str(key) for key in error["loc"]]
    if error["type"] == "invalid_key":
        keys[-1] = str(error["input"])
    elif error["type"] != "extra_forbidden":
        keys = [key for parent, key in zip([prefix, *keys], keys, strict=False) if not _is_branch(parent, key)]
    dotted = ".".join([prefix, *keys] if prefix else keys)
    if error["type"] == "invalid_key":
        return f"{dotted}: expected the name of a key, found {_short(error['input'])}; quote it, or take it out."
    if error["type"] == "extra_forbidden":
        return _unknown_key(kind, keys, dotted)
    if error["type"] == "missing":
        return f"{dotted}: this key is missing; add it to the configuration."
    if error["loc"][-1:] == ("[key]",):
        return f"{dotted}: expected a name of {NAME_IN_WORDS}, found {_short(error['input'])}."
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        # A check across keys names them, within their section.
        return f"{dotted}{'.' if dotted else ''}{error['ctx']['error']}."
    detail = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    accepted = detail or _accepted(kind, keys)
    return f"{dotted}: {accepted or error['msg']}, found {_short(error['input'])}."


def _short(value: Any) -> str:
    """`value` as it is written, of a long one the beginning."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _is_branch(parent: str, key: str) -> bool:
    """Whether part of an error's location is a branch of a union (int, literal['search'], ...) rather than a key."""
    if key.startswith("dict["):
        return True
    named = parent == "models" or parent.startswith("dict[")  # the keys of these are free
    return not named and (
        key in ("int", "str", "float", "[key]") or key.startswith(("literal[", "function-", "constrained-"))
    )


def _unknown_key(kind: type[BaseModel], keys: list[str], dotted: str) -> str:
    section = _section_at(kind, keys[:-1])
    good = list(section.model_fields) if section else []
    near = difflib.get_close_matches(keys[-1], good, n=1, cutoff=0.5)
    parent = dotted.rpartition(".")[0]
    if near:
        return f"{dotted}: unknown key, did you mean {'.'.join(filter(None, [parent, near[0]]))}?"
    return f"{dotted}: unknown key; {parent or 'the top level'} accepts {', '.join(good)}."


def _section_at(kind: type[BaseModel], keys: list[str]) -> type[BaseModel] | None:
    """The section that `keys` lead to; a mapping such as `models` swallows the name that follows."""
    section: type[BaseModel] | None = kind
    for key in keys:
        field = section.model_fields.get(key) if section else None
        if field is None:
            continue
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, ConfigModel)), None)
    return section


def _accepted(kind: type[BaseModel], keys: list[str]) -> str:
    """What a key accepts, in words, read off its JSON schema."""
    schema: dict[str, Any] = kind.model_json_schema()
    node: dict[str, Any] = schema
    for key in keys:
        node = _resolve(node, schema)
        if key in node.get("properties", {}):
            node = node["properties"][key]
        elif free := [b for b in (node, *node.get("anyOf", ())) if isinstance(b.get("additionalProperties"), dict)]:
            node = free[0]["additionalProperties"]
        elif "patternProperties" in node:
            node = next(iter(node["patternProperties"].values()))
        elif "items" in node or any("items" in branch for branch in node.get("anyOf", ())):
            node = node.get("items") or next(branch["items"] for branch in node["anyOf"] if "items" in branch)
    words = _words(_resolve(node, schema))
    return f"expected {words}" if words else ""


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _words(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(filter(None, map(_words, node["anyOf"])))
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(map(str, node["enum"])) if "enum" in node else str(node["const"])
    kinds = {
        "integer": "a whole number", "number": "a number", "string": "a name or text", "null": "null",
        "boolean": "true or false", "object": "a section of keys", "array": "a list",
    }  # fmt: skip
    words = kinds.get(node.get("type", ""), "")
    for key, phrase in (
        ("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"),
        ("exclusiveMaximum", "below"), ("multipleOf", "a multiple of"),
    ):  # fmt: skip
        if key in node:
            words += f", {phrase} {node[key]:g}"
    if "pattern" in node:
        words = NAME_IN_WORDS
    return words

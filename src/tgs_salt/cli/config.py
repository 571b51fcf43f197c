"""Command `config`: the effective settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import app


@app.command()
def config(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Configuration files (default: config.yaml); later files override earlier ones."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of config.yaml instead.")] = False,
) -> None:
    """Print the effective settings.

    The output is valid YAML with all defaults filled in.
    """
    import yaml

    from tgs_salt.settings import json_schema, load_files

    if schema:
        print(json.dumps(json_schema(), indent=2))
        return
    print(yaml.safe_dump(load_files(*(paths or [Path("config.yaml")])).model_dump(), sort_keys=False), end="")

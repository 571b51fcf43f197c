"""Commands about the settings and the program itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import app


@app.command()
def config(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="configuration files, later ones over earlier ones")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of config.yaml instead")] = False,
) -> None:
    """Print the effective settings with all defaults (config.yaml, or the files given)."""
    import yaml

    from tgs_salt.settings import json_schema, load_files

    if schema:
        print(json.dumps(json_schema(), indent=2))
        return
    print(yaml.safe_dump(load_files(*(paths or [Path("config.yaml")])).model_dump(), sort_keys=False), end="")

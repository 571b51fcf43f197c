"""What all commands share: the program, how it ends, and options that many of them have."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from tgs_salt import __version__, files, log, signals
from tgs_salt.errors import UserError
from tgs_salt.settings import Runtime, section

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="From a seismic dataset to a Kaggle submission. `snakemake` runs these commands in order.",
)  # fmt: skip

Json = Annotated[str, typer.Option("--settings", help="sections of the settings, as a JSON object")]
Gpus = Annotated[str, typer.Option(help="0: compute on the CPU; 1: on one GPU; auto: on the GPU a scheduler gave")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads")]


def main() -> None:
    """Run a command. The last line says how it ended: a UserError with code 1, a signal with 128 and its number,
    anything else, after its traceback, with 2."""
    signals.install_handlers()
    try:
        app()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
    except signals.Interrupted as stop:
        print(f"error: {stop}", file=sys.stderr)
        raise SystemExit(stop.code) from None
    except BrokenPipeError:
        raise SystemExit(130) from None
    except MemoryError:
        print("error: out of memory; run fewer jobs at once (--cores), or on a machine with more.", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as problem:
        if isinstance(problem, OSError) and (lack := files.disk_full_error(problem)):
            print(f"error: {lack}", file=sys.stderr)
            raise SystemExit(1) from None
        traceback.print_exc()
        print(
            f"error: {type(problem).__name__}: {problem} (a bug in tgs-salt {__version__}; the lines above tell where)",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


def runtime() -> Runtime:
    """Settings that must never cause a rerun reach a job by its environment, not by its parameters."""
    return section(os.environ.get("TGS_SALT_RUNTIME", '{"runtime": {}}'), "runtime", Runtime)


def resolve_gpus(gpus: str) -> str:
    """`--gpus` as Snakemake grants it, or auto where Snakemake knows of none (runtime.gpu_allocation)."""
    return "auto" if runtime().gpu_allocation == "auto" else gpus


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _set_up(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    log.set_up(runtime().log_level)

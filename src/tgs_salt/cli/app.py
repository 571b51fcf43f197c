"""The typer application: entry point, exit codes and options that several commands share."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from tgs_salt import __version__, files, log, signals
from tgs_salt.errors import UserError
from tgs_salt.settings import Runtime, parse_section

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Salt segmentation: from a seismic dataset to a Kaggle submission. Snakemake runs these commands in order.",
)  # fmt: skip

SettingsJson = Annotated[
    str, typer.Option("--settings", help="Sections of the settings that the command uses, as a JSON object.")
]
Gpus = Annotated[str, typer.Option(help="0: use the CPU; 1: use one GPU; auto: use a GPU assigned by the scheduler.")]
Threads = Annotated[int, typer.Option(min=1, help="Number of CPU threads.")]
Tiles = Annotated[Path, typer.Option(help="Table of tiles (data/tiles.csv).")]
FoldsCsv = Annotated[Path, typer.Option("--folds", help="Table of folds (folds.csv).")]
Masks = Annotated[Path, typer.Option(help="Masks of the labeled tiles (data/train_masks.npy).")]
ExperimentDir = Annotated[Path, typer.Argument(help="Results folder of the experiment, such as results/demo.")]


def main() -> None:
    """Run a command and exit.

    Exit codes are 0 for success, 1 for a UserError or exhausted memory or disk, 2 for wrong usage or a bug, and
    128 + N for signal N. The last line on stderr gives the cause.
    """
    signals.install_handlers()
    try:
        app()
    except UserError as error:
        raise _exit(1, str(error)) from None
    except signals.Interrupted as interrupt:
        raise _exit(interrupt.code, str(interrupt)) from None
    except BrokenPipeError:
        raise SystemExit(130) from None
    except MemoryError:
        raise _exit(1, "out of memory; run fewer jobs at once (--cores) or use a machine with more.") from None
    except Exception as error:
        if isinstance(error, OSError) and (disk_full := files.disk_full_error(error)):
            raise _exit(1, str(disk_full)) from None
        traceback.print_exc()
        name = type(error).__name__
        raise _exit(2, f"{name}: {error} (a bug in tgs-salt {__version__}; see the traceback above)") from None


def _exit(code: int, message: str) -> SystemExit:
    """Print `message` as the last line of the log: one line, whatever line breaks an exception's text has."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return SystemExit(code)


def runtime() -> Runtime:
    """Return the runtime settings, which jobs read from the environment: a parameter would trigger reruns."""
    return parse_section(os.environ.get("TGS_SALT_RUNTIME", '{"runtime": {}}'), "runtime", Runtime)


def resolve_gpus(gpus: str) -> str:
    """Return `--gpus` as given, or auto with runtime.gpu_allocation: auto, where Snakemake allocates no GPUs."""
    return "auto" if runtime().gpu_allocation == "auto" else gpus


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _configure_logging(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    log.configure(runtime().log_level)

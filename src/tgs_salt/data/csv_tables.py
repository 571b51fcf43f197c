"""csv files, read strictly: pandas takes a longer row for an index, and renames a column that is there twice."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any

import pandas as pd


def read_csv(source: Path | str | IO[bytes], **options: Any) -> pd.DataFrame:
    """The table in a csv file, UTF-8 with or without a byte order mark; empty fields stay empty texts.

    `options` go to pandas. Raises ValueError, with the reason in a few words, for what is no such table, and OSError
    for a file that cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(source, keep_default_na=False, index_col=False, **options)
    except pd.errors.ParserWarning:
        raise ValueError("a row is longer than the header") from None
    except OverflowError:
        raise ValueError("a number is too large") from None
    except ValueError as problem:
        raise ValueError(" ".join(str(problem).split())[:200]) from None
    twice = [name for name in table.columns if f"{name}.1" in table.columns]
    if twice:
        raise ValueError(f"column {str(twice[0])[:40]!r} is there twice")
    return table

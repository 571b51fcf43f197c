"""Strict reading of csv files.

By default, pandas uses the first column of overlong rows as an index and renames duplicate columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any

import pandas as pd


def read_csv(source: Path | str | IO[bytes], **options: Any) -> pd.DataFrame:
    """Read a UTF-8 csv file, with or without a byte order mark; empty fields stay empty strings.

    Args:
        source: Path or binary stream.
        **options: Passed on to `pandas.read_csv`.

    Raises:
        ValueError: The content is not a valid table; the message gives a short reason.
        OSError: The file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(source, keep_default_na=False, index_col=False, **options)
    except pd.errors.ParserWarning:
        raise ValueError("a row is longer than the header") from None
    except OverflowError:
        raise ValueError("a number is too large") from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    duplicates = [name for name in table.columns if f"{name}.1" in table.columns]
    if duplicates:
        raise ValueError(f"column {str(duplicates[0])[:40]!r} appears twice")
    return table

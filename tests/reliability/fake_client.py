"""A fake Kaggle client that runs in the crashed process, so that its writes count as disk operations.

The list of submissions, which Kaggle would keep, is in a file outside the crashed folder.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tgs_salt.kaggle import client, download, submit

NOON = datetime(2018, 7, 19, 12)


def install(dataset: Path, submissions_file: Path) -> None:
    """Replace the client of `tgs_salt`: it serves `dataset`, stores submissions and never waits."""

    def call(*arguments: str, **_: Any) -> str:
        return COMMANDS[arguments[1]](dataset, submissions_file, *arguments[2:])

    client.call, client.log_credentials = call, lambda: None
    submit.time = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: 0.0)
    download.datetime = SimpleNamespace(now=lambda zone: NOON)  # for equal manifests


def make_archive(dataset: Path) -> bytes:
    """Return the files of a dataset as one zip, always with the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(dataset.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, (2018, 7, 19, 0, 0, 0)), path.read_bytes())
    return buffer.getvalue()


def _download(dataset: Path, _submissions_file: Path, slug: str, _option: str, folder: str) -> str:
    content = make_archive(dataset)
    marker = Path(folder) / f"{slug}.zip.kaggle-partial"
    marker.write_text(json.dumps({"size": len(content)}))
    with open(Path(folder) / f"{slug}.zip", "wb") as stream:
        for start in range(0, len(content), 1 << 16):
            stream.write(content[start : start + (1 << 16)])
    marker.unlink()
    return ""


def read_submissions(submissions_file: Path) -> list[dict[str, str]]:
    return json.loads(submissions_file.read_text()) if submissions_file.exists() else []


def _list(_dataset: Path, submissions_file: Path, *_: str) -> str:
    return json.dumps(read_submissions(submissions_file)) if submissions_file.exists() else "No submissions found"


def _limits(_dataset: Path, _submissions_file: Path, *_: str) -> str:
    return json.dumps({"numAllowedNow": 5})


def _submit(
    _dataset: Path, submissions_file: Path, _slug: str, _file: str, _path: str, _option: str, message: str
) -> str:
    submissions = read_submissions(submissions_file)
    submissions.append({
        "ref": "1000", "status": "COMPLETE", "description": message, "publicScore": "0.87", "privateScore": "0.88",
        "date": "2018-07-19",
    })  # fmt: skip
    submissions_file.write_text(json.dumps(submissions))
    return "Successfully submitted"


COMMANDS: dict[str, Callable[..., str]] = {
    "download": _download, "submissions": _list, "submission-limits": _limits, "submit": _submit,
}  # fmt: skip

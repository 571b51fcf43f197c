"""Kaggle's client as the crash harness has it: in this process, so that its writes are moments too, and quick.

What Kaggle itself knows, its list of submissions, lies in a file that no crash takes back.
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


def stand_in(dataset: Path, listed: Path) -> None:
    """Make `tgs_salt` ask this client, which hands out `dataset` and keeps submissions in `listed`; no waiting."""

    def call(*arguments: str, **_: Any) -> str:
        return ANSWERS[arguments[1]](dataset, listed, *arguments[2:])

    client.call, client.log_credentials = call, lambda: None
    submit.time = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: 0.0)
    download.datetime = SimpleNamespace(now=lambda zone: NOON)  # of the manifest


def archive(dataset: Path) -> bytes:
    """The files of a dataset as one zip, the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for path in sorted(dataset.iterdir()):
            opened.writestr(zipfile.ZipInfo(path.name, (2018, 7, 19, 0, 0, 0)), path.read_bytes())
    return buffer.getvalue()


def _download(dataset: Path, _listed: Path, slug: str, _option: str, folder: str) -> str:
    content = archive(dataset)
    marker = Path(folder) / f"{slug}.zip.kaggle-partial"
    marker.write_text(json.dumps({"size": len(content)}))
    with open(Path(folder) / f"{slug}.zip", "wb") as stream:
        for first in range(0, len(content), 1 << 16):
            stream.write(content[first : first + (1 << 16)])
    marker.unlink()
    return ""


def submissions(listed: Path) -> list[dict[str, str]]:
    return json.loads(listed.read_text()) if listed.exists() else []


def _list(_dataset: Path, listed: Path, *_: str) -> str:
    return json.dumps(submissions(listed)) if listed.exists() else "No submissions found"


def _limits(_dataset: Path, _listed: Path, *_: str) -> str:
    return json.dumps({"numAllowedNow": 5})


def _submit(_dataset: Path, listed: Path, _slug: str, _file: str, _path: str, _option: str, message: str) -> str:
    sent = submissions(listed)
    sent.append({
        "ref": "1000", "status": "COMPLETE", "description": message, "publicScore": "0.87", "privateScore": "0.88",
        "date": "2018-07-19",
    })  # fmt: skip
    listed.write_text(json.dumps(sent))
    return "Successfully submitted"


ANSWERS: dict[str, Callable[..., str]] = {
    "download": _download, "submissions": _list, "submission-limits": _limits, "submit": _submit,
}  # fmt: skip

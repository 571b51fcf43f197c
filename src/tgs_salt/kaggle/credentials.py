"""Where Kaggle's client finds its credentials: which place it uses, what is wrong with one, and what never to show.

The client tells none of this. It ignores a broken file without a word, and it says the same for credentials that
are missing and that are wrong. Values are read here only to keep them out of messages.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLACES = (
    "KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json (in $KAGGLE_CONFIG_DIR, "
    "~/.kaggle or ~/.config/kaggle) and ~/.kaggle/credentials.json"
)
_NEW = "create a token at https://www.kaggle.com/settings/api"


@dataclass(frozen=True)
class Place:
    """A place that holds credentials, as a person calls it."""

    name: str
    secrets: tuple[str, ...]


def found() -> list[Place]:
    """The places that hold credentials, in the client's order; the first is used."""
    places = [*_tokens(), *_legacy_key(), *_sign_in()]
    return [Place(name, values) for name, secrets in places if (values := tuple(filter(None, secrets)))]


def explained() -> str:
    """Which place is used, in words."""
    places = [place.name for place in found()]
    if not places:
        return f"no Kaggle credentials in {PLACES}"
    others = f" (not used: {', '.join(places[1:])})" if len(places) > 1 else ""
    return f"Kaggle credentials from {places[0]}{others}"


def refused() -> str:
    """What to do when Kaggle lets nobody in: the sentence tells missing credentials from wrong ones."""
    places = [place.name for place in found()]
    flaws = f" ({'; '.join(_flaws())})" if _flaws() else ""
    if not places:
        return f"No Kaggle credentials found in {PLACES}{flaws}: {_NEW} and put it into one of them."
    first = " (the first one is used)" if len(places) > 1 else ""
    return f"Kaggle does not accept the credentials in {' or '.join(places)}{first}{flaws}: {_NEW} and replace them."


def warnings() -> list[str]:
    """What its owner should put right, each with what to do: files that others can read or that are ignored."""
    said = [f"{flaw}; the client ignores it without a word" for flaw in _flaws()]
    if os.name != "posix":
        return said
    for path in _files():
        with suppress(OSError):
            if stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH):
                said.append(f"others on this machine can read the key in {path}: chmod 600 {shlex.quote(str(path))}")
    return said


def redact(text: str) -> str:
    """`text` without anything that would let its reader in: headers, signed links, passwords of a proxy, keys."""
    text = re.sub(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?)((basic|bearer)\s+)?[^\s'\",}]+", r"\1***", text)
    text = re.sub(r"(?i)\b((?:x-goog-)?(?:signature|credential)|upload_id)=[^&\s'\"]+", r"\1=***", text)
    text = re.sub(r"//[^/\s@]+@", "//***@", text)
    values = [value for place in found() for value in place.secrets if len(value) > 3]
    users = [os.environ.get("KAGGLE_USERNAME", ""), *_strings(_key_file(), "username")]
    pairs = [base64.b64encode(f"{user}:{value}".encode()).decode() for user in users for value in values]
    for secret in sorted(values + pairs, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _tokens() -> list[tuple[str, list[str]]]:
    variable, notebook = os.environ.get("KAGGLE_API_TOKEN", ""), os.environ.get("KAGGLE_API_V1_TOKEN", "")
    # The variable holds a token, or the path of a file that holds one.
    in_file = _read(Path(variable)) if variable else ""
    return [
        ("the notebook's KAGGLE_API_V1_TOKEN", [_read(Path(notebook)) if notebook else ""]),
        ("KAGGLE_API_TOKEN", [in_file or variable]),
        ("~/.kaggle/access_token", [_read(_home() / "access_token") or _read(_home() / "access_token.txt")]),
    ]


def _legacy_key() -> list[tuple[str, list[str]]]:
    """A name and a key: the client takes each from its variable, else from kaggle.json, and so may mix two people."""
    file = _key_file()
    name, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    file_name, file_key = (next(iter(_strings(file, wanted)), "") for wanted in ("username", "key"))
    if name and key:
        return [("KAGGLE_USERNAME with KAGGLE_KEY", [key]), (str(file), [file_key if file_name else ""])]
    if name and file_key:
        return [(f"KAGGLE_USERNAME with the key of {file}", [file_key])]
    if key and file_name:
        return [(f"KAGGLE_KEY with the username of {file}", [key])]
    return [(str(file), [file_key if file_name else ""])]


def _sign_in() -> list[tuple[str, list[str]]]:
    values = _strings(_home() / "credentials.json", "refresh_token", "access_token")
    return [("~/.kaggle/credentials.json", values)]


def _flaws() -> list[str]:
    """Halves and broken files, which look like credentials to their owner and not to the client."""
    said = []
    for path in (_key_file(), _home() / "credentials.json"):
        if (text := _read(path)) and not _is_object(text):
            said.append(f"{path} is not JSON")
    file_name, file_key = _strings(_key_file(), "username"), _strings(_key_file(), "key")
    if os.environ.get("KAGGLE_USERNAME") and not (os.environ.get("KAGGLE_KEY") or file_key):
        said.append("KAGGLE_USERNAME is set without KAGGLE_KEY")
    if os.environ.get("KAGGLE_KEY") and not (os.environ.get("KAGGLE_USERNAME") or file_name):
        said.append("KAGGLE_KEY is set without KAGGLE_USERNAME")
    return said


def _files() -> list[Path]:
    files = [_home() / "access_token", _home() / "access_token.txt", _key_file(), _home() / "credentials.json"]
    if variable := os.environ.get("KAGGLE_API_TOKEN"):
        files.append(Path(variable))
    return files


def _home() -> Path:
    return Path.home() / ".kaggle"


def _key_file() -> Path:
    elsewhere = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    return Path(os.environ.get("KAGGLE_CONFIG_DIR") or (_home() if _home().is_dir() else elsewhere)) / "kaggle.json"


def _read(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""


def _is_object(text: str) -> bool:
    with suppress(ValueError):
        return isinstance(json.loads(text), dict)
    return False


def _strings(path: Path, *keys: str) -> list[str]:
    text = _read(path)
    if not _is_object(text):
        return []
    return [str(value) for value in map(json.loads(text).get, keys) if value]

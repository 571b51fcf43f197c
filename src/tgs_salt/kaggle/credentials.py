"""Find the credentials that Kaggle's client will use, explain problems with them, and redact secrets.

The client silently ignores a broken file, and reports missing and wrong credentials with the same error.
Secrets are read here only to remove them from messages.
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

SOURCES = (
    "KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json (in $KAGGLE_CONFIG_DIR, "
    "~/.kaggle or ~/.config/kaggle) and ~/.kaggle/credentials.json"
)
_CREATE_TOKEN = "create a token at https://www.kaggle.com/settings/api"


@dataclass(frozen=True)
class CredentialSource:
    """A variable or file that contains credentials, with its name for messages."""

    name: str
    secrets: tuple[str, ...]


def find_credentials() -> list[CredentialSource]:
    """Return the sources that contain credentials, in the client's order of precedence; the first one is used."""
    candidates = [*_tokens(), *_api_key(), *_oauth()]
    return [CredentialSource(name, values) for name, secrets in candidates if (values := tuple(filter(None, secrets)))]


def describe_credentials() -> str:
    """Return a log line that names the source in use."""
    names = [source.name for source in find_credentials()]
    if not names:
        return f"no Kaggle credentials in {SOURCES}"
    unused = f" (not used: {', '.join(names[1:])})" if len(names) > 1 else ""
    return f"Kaggle credentials from {names[0]}{unused}"


def describe_rejection() -> str:
    """Return the error message for a failed authentication; it distinguishes missing from wrong credentials."""
    names = [source.name for source in find_credentials()]
    problems = f" ({'; '.join(_problems())})" if _problems() else ""
    if not names:
        return f"No Kaggle credentials found in {SOURCES}{problems}: {_CREATE_TOKEN} and save it in one of them."
    first = " (the first one is used)" if len(names) > 1 else ""
    return f"Kaggle rejects the credentials in {' or '.join(names)}{first}{problems}: {_CREATE_TOKEN} and replace them."


def warnings() -> list[str]:
    """Return a warning for each file that the client ignores or that other users can read."""
    messages = [f"{problem}; the client silently ignores it" for problem in _problems()]
    if os.name != "posix":
        return messages
    for path in _files():
        with suppress(OSError):
            if stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH):
                messages.append(f"other users can read the key in {path}; run: chmod 600 {shlex.quote(str(path))}")
    return messages


def redact(text: str) -> str:
    """Return `text` without secrets: authorization headers, signed links, proxy passwords, tokens and keys."""
    text = re.sub(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?)((basic|bearer)\s+)?[^\s'\",}]+", r"\1***", text)
    text = re.sub(r"(?i)\b((?:x-goog-)?(?:signature|credential)|upload_id)=[^&\s'\"]+", r"\1=***", text)
    text = re.sub(r"//[^/\s@]+@", "//***@", text)
    values = [value for source in find_credentials() for value in source.secrets if len(value) > 3]
    users = [os.environ.get("KAGGLE_USERNAME", ""), *_read_keys(_key_file(), "username")]
    pairs = [base64.b64encode(f"{user}:{value}".encode()).decode() for user in users for value in values]
    for secret in sorted(values + pairs, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _tokens() -> list[tuple[str, list[str]]]:
    """Return the sources of an API token, each with its secrets."""
    variable, notebook = os.environ.get("KAGGLE_API_TOKEN", ""), os.environ.get("KAGGLE_API_V1_TOKEN", "")
    # The variable contains a token, or the path of a file with one.
    in_file = _read_text(Path(variable)) if variable else ""
    access_token = _read_text(_kaggle_dir() / "access_token") or _read_text(_kaggle_dir() / "access_token.txt")
    return [
        ("the notebook's KAGGLE_API_V1_TOKEN", [_read_text(Path(notebook)) if notebook else ""]),
        ("KAGGLE_API_TOKEN", [in_file or variable]),
        ("~/.kaggle/access_token", [access_token]),
    ]


def _api_key() -> list[tuple[str, list[str]]]:
    """Return the sources of a username and key.

    The client takes each from its variable, else from kaggle.json, so it can mix two accounts.
    """
    file = _key_file()
    username, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    file_username, file_key = (next(iter(_read_keys(file, name)), "") for name in ("username", "key"))
    if username and key:
        return [("KAGGLE_USERNAME with KAGGLE_KEY", [key]), (str(file), [file_key if file_username else ""])]
    if username and file_key:
        return [(f"KAGGLE_USERNAME with the key of {file}", [file_key])]
    if key and file_username:
        return [(f"KAGGLE_KEY with the username of {file}", [key])]
    return [(str(file), [file_key if file_username else ""])]


def _oauth() -> list[tuple[str, list[str]]]:
    """Return the source that `kaggle auth login` writes."""
    values = _read_keys(_kaggle_dir() / "credentials.json", "refresh_token", "access_token")
    return [("~/.kaggle/credentials.json", values)]


def _problems() -> list[str]:
    """Return a description of each broken file and incomplete pair, which the client ignores."""
    messages = []
    for path in (_key_file(), _kaggle_dir() / "credentials.json"):
        if (text := _read_text(path)) and not _is_json_object(text):
            messages.append(f"{path} is not valid JSON")
    file_username, file_key = _read_keys(_key_file(), "username"), _read_keys(_key_file(), "key")
    if os.environ.get("KAGGLE_USERNAME") and not (os.environ.get("KAGGLE_KEY") or file_key):
        messages.append("KAGGLE_USERNAME is set without KAGGLE_KEY")
    if os.environ.get("KAGGLE_KEY") and not (os.environ.get("KAGGLE_USERNAME") or file_username):
        messages.append("KAGGLE_KEY is set without KAGGLE_USERNAME")
    return messages


def _files() -> list[Path]:
    """Return the paths of all files that may contain credentials."""
    folder = _kaggle_dir()
    paths = [folder / "access_token", folder / "access_token.txt", _key_file(), folder / "credentials.json"]
    if variable := os.environ.get("KAGGLE_API_TOKEN"):
        paths.append(Path(variable))
    return paths


def _kaggle_dir() -> Path:
    return Path.home() / ".kaggle"


def _key_file() -> Path:
    """Return the path of kaggle.json, as the client resolves it."""
    config_dir = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    default_dir = _kaggle_dir() if _kaggle_dir().is_dir() else config_dir
    return Path(os.environ.get("KAGGLE_CONFIG_DIR") or default_dir) / "kaggle.json"


def _read_text(path: Path) -> str:
    """Return the stripped text of a file, empty if it cannot be read."""
    with suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""


def _is_json_object(text: str) -> bool:
    with suppress(ValueError):
        return isinstance(json.loads(text), dict)
    return False


def _read_keys(path: Path, *keys: str) -> list[str]:
    """Return the nonempty values of `keys` in a JSON file, as strings; none if the file is not a JSON object."""
    text = _read_text(path)
    if not _is_json_object(text):
        return []
    return [str(value) for value in map(json.loads(text).get, keys) if value]

"""Credentials, with the real client and a fake server: which are used, warnings, error messages and redaction."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.kaggle_server import FOREVER, KEY, TOKEN, KaggleServer
from helpers.kaggle_user import COMPLETE, NO_FILES, User, download_archive, files_in_folder

from tgs_salt.kaggle import credentials

BUSY = (503, "Service Unavailable")


def no_credentials(home: Path) -> dict[str, str]:
    return {}


def wrong_key(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": "not-the-key"}


def username_only(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice"}


def key_only(home: Path) -> dict[str, str]:
    return {"KAGGLE_KEY": KEY}


def key_file(home: Path, key: str = KEY, folder: str = ".kaggle") -> dict[str, str]:
    write(home / folder / "kaggle.json", json.dumps({"username": "alice", "key": key}))
    return {}


def wrong_key_file(home: Path) -> dict[str, str]:
    return key_file(home, "not-the-key")


def broken_key_file(home: Path) -> dict[str, str]:
    write(home / ".kaggle" / "kaggle.json", f"{{'username': 'alice', 'key': '{KEY}'}}")
    return {}


def key_file_in_config(home: Path) -> dict[str, str]:
    return key_file(home, folder=".config/kaggle")


def key_file_in_custom_dir(home: Path) -> dict[str, str]:
    key_file(home, folder="keys")
    return {"KAGGLE_CONFIG_DIR": str(home / "keys")}


def username_of_other_account(home: Path) -> dict[str, str]:
    key_file(home)
    return {"KAGGLE_USERNAME": "bob"}


def token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": TOKEN}


def token_in_custom_file(home: Path) -> dict[str, str]:
    write(home / "secret.txt", TOKEN)
    return {"KAGGLE_API_TOKEN": str(home / "secret.txt")}


def token_file(home: Path, token: str = TOKEN) -> dict[str, str]:
    write(home / ".kaggle" / "access_token", f"{token}\n")
    return {}


def wrong_token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": "not-the-key"}


def wrong_token_before_valid_key(home: Path) -> dict[str, str]:
    key_file(home)
    return token_file(home, "not-the-key")


def oauth(home: Path) -> dict[str, str]:
    expiration = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    content = {"refresh_token": "not-the-key", "access_token": TOKEN, "access_token_expiration": expiration}
    write(home / ".kaggle" / "credentials.json", json.dumps({**content, "username": "alice", "scopes": []}))
    return {}


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)


MISSING, WRONG = "No Kaggle credentials found in ", "Kaggle rejects the credentials in "
CASES: list[tuple[Callable[[Path], dict[str, str]], int, str]] = [
    (no_credentials, 1, f"{MISSING}KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY"),
    (username_only, 1, "~/.kaggle/credentials.json (KAGGLE_USERNAME is set without KAGGLE_KEY): create a token"),
    (key_only, 1, "~/.kaggle/credentials.json (KAGGLE_KEY is set without KAGGLE_USERNAME): create a token"),
    (broken_key_file, 1, "/.kaggle/kaggle.json is not valid JSON): create a token"),
    (wrong_key, 1, f"{WRONG}KAGGLE_USERNAME with KAGGLE_KEY: create a token"),
    (wrong_key_file, 1, "/.kaggle/kaggle.json: create a token"),
    (username_of_other_account, 1, f"{WRONG}KAGGLE_USERNAME with the key of "),
    (wrong_token, 1, f"{WRONG}KAGGLE_API_TOKEN: create a token"),
    (wrong_token_before_valid_key, 1, "/.kaggle/kaggle.json (the first one is used): create a token"),
    (key_file, 0, "/.kaggle/kaggle.json"),
    (key_file_in_config, 0, "/.config/kaggle/kaggle.json"),
    (key_file_in_custom_dir, 0, "/keys/kaggle.json"),
    (token, 0, "KAGGLE_API_TOKEN"),
    (token_in_custom_file, 0, "KAGGLE_API_TOKEN"),
    (token_file, 0, "~/.kaggle/access_token"),
    (oauth, 0, "~/.kaggle/credentials.json"),
]


SIMILAR = (key_only, wrong_key_file, username_of_other_account, wrong_token, key_file_in_config, token_in_custom_file)


@pytest.mark.parametrize(
    ("set_up", "code", "message"),
    [pytest.param(*row, id=row[0].__name__, marks=[pytest.mark.slow] if row[0] in SIMILAR else []) for row in CASES],
)
def test_credentials(
    server: KaggleServer, user: User, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    set_up: Callable[[Path], dict[str, str]], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    for name, value in set_up(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    result = download_archive(user, archive)
    assert result.code == code, result.output
    if code == 0:
        (used,) = [line for line in result.output.splitlines() if "Kaggle credentials from" in line]
        assert used.endswith(message)
        assert files_in_folder(archive) == COMPLETE
    else:
        assert message in result.error
        assert f"download all files in a browser and save the zip as {archive}" in result.error
        assert files_in_folder(archive) == NO_FILES


@pytest.mark.parametrize(
    ("faults", "code", "message", "delays"),
    [
        ([(401, "Unauthenticated"), FOREVER], 1, f"{WRONG}KAGGLE_API_TOKEN", []),
        ([BUSY, BUSY], 0, "server failed", [5]),  # the client sends it twice
    ],
)
def test_token_introspection_failure(
    server: KaggleServer, user: User, archive: Path, monkeypatch: pytest.MonkeyPatch,
    faults: list[Any], code: int, message: str, delays: list[float],
) -> None:  # fmt: skip
    """The client prints a traceback; the user must not see it."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.faults["IntrospectToken"] = list(faults)
    result = download_archive(user, archive)
    assert (result.code, result.delays) == (code, delays), result.output
    assert message in result.output


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_warning_about_readable_key_files(server: KaggleServer, user: User, archive: Path, tmp_path: Path) -> None:
    for write_credentials in (key_file, token_file, oauth):
        write_credentials(tmp_path / "home")
    assert credentials.warnings() == []
    folder = tmp_path / "home" / ".kaggle"
    for name in ("kaggle.json", "access_token", "credentials.json"):
        (folder / name).chmod(0o640)
    result = download_archive(user, archive)
    assert result.code == 0, result.output
    for name in ("kaggle.json", "access_token", "credentials.json"):
        warning = f"warning: other users can read the key in {folder / name}; run: chmod 600 {folder / name}"
        assert warning in result.output


def test_redact_removes_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "alice")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("tokentokentoken\n")
    redacted = credentials.redact(
        f"Authorization: Basic YWxpY2U6aw==\n{{'Authorization': 'Bearer abc.def'}} key {KEY}, tokentokentoken "
        "https://x/a.zip?Signature=s1&Expires=2&X-Goog-Signature=s2 https://y?upload_id=s3 the end"
    )
    for secret in ("YWxpY2U6aw", "abc.def", KEY, "tokentokentoken", "s1", "s2", "s3"):
        assert secret not in redacted
    assert "Expires=2" in redacted
    assert redacted.endswith("the end")

"""Credentials, with the real client against Kaggle on loopback: which are used, what is said of them, what is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.kaggle_server import FOREVER, KEY, TOKEN, KaggleServer
from helpers.kaggle_user import NOTHING, WHOLE, User, fetch, on_disk

from tgs_salt.kaggle import credentials

BUSY = (503, "Service Unavailable")


def nobody(home: Path) -> dict[str, str]:
    return {}


def wrong_key(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": "not-the-key"}


def name_alone(home: Path) -> dict[str, str]:
    return {"KAGGLE_USERNAME": "alice"}


def key_alone(home: Path) -> dict[str, str]:
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


def key_file_elsewhere(home: Path) -> dict[str, str]:
    key_file(home, folder="keys")
    return {"KAGGLE_CONFIG_DIR": str(home / "keys")}


def name_of_another(home: Path) -> dict[str, str]:
    key_file(home)
    return {"KAGGLE_USERNAME": "bob"}


def token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": TOKEN}


def token_in_a_named_file(home: Path) -> dict[str, str]:
    write(home / "secret.txt", TOKEN)
    return {"KAGGLE_API_TOKEN": str(home / "secret.txt")}


def token_file(home: Path, token: str = TOKEN) -> dict[str, str]:
    write(home / ".kaggle" / "access_token", f"{token}\n")
    return {}


def wrong_token(home: Path) -> dict[str, str]:
    return {"KAGGLE_API_TOKEN": "not-the-key"}


def wrong_token_before_a_good_key(home: Path) -> dict[str, str]:
    key_file(home)
    return token_file(home, "not-the-key")


def signed_in(home: Path) -> dict[str, str]:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    content = {"refresh_token": "not-the-key", "access_token": TOKEN, "access_token_expiration": until}
    write(home / ".kaggle" / "credentials.json", json.dumps({**content, "username": "alice", "scopes": []}))
    return {}


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)


MISSING, WRONG = "No Kaggle credentials found in ", "Kaggle does not accept the credentials in "
WHO: list[tuple[Callable[[Path], dict[str, str]], int, str]] = [
    (nobody, 1, f"{MISSING}KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json"),
    (name_alone, 1, "~/.kaggle/credentials.json (KAGGLE_USERNAME is set without KAGGLE_KEY): create a token"),
    (key_alone, 1, "~/.kaggle/credentials.json (KAGGLE_KEY is set without KAGGLE_USERNAME): create a token"),
    (broken_key_file, 1, "/.kaggle/kaggle.json is not JSON): create a token"),
    (wrong_key, 1, f"{WRONG}KAGGLE_USERNAME with KAGGLE_KEY: create a token"),
    (wrong_key_file, 1, "/.kaggle/kaggle.json: create a token"),
    (name_of_another, 1, f"{WRONG}KAGGLE_USERNAME with the key of "),
    (wrong_token, 1, f"{WRONG}KAGGLE_API_TOKEN: create a token"),
    (wrong_token_before_a_good_key, 1, "/.kaggle/kaggle.json (the first one is used): create a token"),
    (key_file, 0, "/.kaggle/kaggle.json"),
    (key_file_in_config, 0, "/.config/kaggle/kaggle.json"),
    (key_file_elsewhere, 0, "/keys/kaggle.json"),
    (token, 0, "KAGGLE_API_TOKEN"),
    (token_in_a_named_file, 0, "KAGGLE_API_TOKEN"),
    (token_file, 0, "~/.kaggle/access_token"),
    (signed_in, 0, "~/.kaggle/credentials.json"),
]


LIKE_ANOTHER = (key_alone, wrong_key_file, name_of_another, wrong_token, key_file_in_config, token_in_a_named_file)


@pytest.mark.parametrize(
    ("place", "code", "says"),
    [pytest.param(*row, id=row[0].__name__, marks=[pytest.mark.slow] if row[0] in LIKE_ANOTHER else []) for row in WHO],
)
def test_who_may(
    server: KaggleServer, user: User, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    place: Callable[[Path], dict[str, str]], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    for name, value in place(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    ended = fetch(user, archive)
    assert ended.code == code, ended.said
    if code == 0:
        (used,) = [line for line in ended.said.splitlines() if "Kaggle credentials from" in line]
        assert used.endswith(says)
        assert on_disk(archive) == WHOLE
    else:
        assert says in ended.error
        assert f"download all in a browser and save it as {archive}" in ended.error
        assert on_disk(archive) == NOTHING


@pytest.mark.parametrize(
    ("answers", "code", "says", "waited"),
    [
        ([(401, "Unauthenticated"), FOREVER], 1, f"{WRONG}KAGGLE_API_TOKEN", []),
        ([BUSY, BUSY], 0, "server failed", [5]),  # it asks twice
    ],
)
def test_a_token_that_cannot_be_looked_at(
    server: KaggleServer, user: User, archive: Path, monkeypatch: pytest.MonkeyPatch,
    answers: list[Any], code: int, says: str, waited: list[float],
) -> None:  # fmt: skip
    """The client ends with a traceback here; a user does not see it."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.faults["IntrospectToken"] = list(answers)
    ended = fetch(user, archive)
    assert (ended.code, ended.waited) == (code, waited), ended.said
    assert says in ended.said


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read(server: KaggleServer, user: User, archive: Path, tmp_path: Path) -> None:
    for put in (key_file, token_file, signed_in):
        put(tmp_path / "home")
    assert credentials.warnings() == []
    folder = tmp_path / "home" / ".kaggle"
    for name in ("kaggle.json", "access_token", "credentials.json"):
        (folder / name).chmod(0o640)
    ended = fetch(user, archive)
    assert ended.code == 0, ended.said
    for name in ("kaggle.json", "access_token", "credentials.json"):
        warning = f"warning: others on this machine can read the key in {folder / name}: chmod 600 {folder / name}"
        assert warning in ended.said


def test_nothing_secret_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "alice")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("tokentokentoken\n")
    said = credentials.redact(
        f"Authorization: Basic YWxpY2U6aw==\n{{'Authorization': 'Bearer abc.def'}} key {KEY}, tokentokentoken "
        "https://x/a.zip?Signature=s1&Expires=2&X-Goog-Signature=s2 https://y?upload_id=s3 the end"
    )
    for secret in ("YWxpY2U6aw", "abc.def", KEY, "tokentokentoken", "s1", "s2", "s3"):
        assert secret not in said
    assert "Expires=2" in said
    assert said.endswith("the end")

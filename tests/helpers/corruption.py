"""Corruptions of files for tables of bad inputs.

Each function returns a function without arguments that corrupts `path`, relative to the working directory.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.datasets import read_zip, rewrite_zip

Corruption = Callable[[], object]


def write(path: str, content: bytes | str) -> Corruption:
    """Replace the whole content."""
    return lambda: Path(path).write_bytes(content.encode() if isinstance(content, str) else content)


def substitute(path: str, pattern: str, replacement: str, count: int = 1) -> Corruption:
    """Replace the first `count` matches of a multi-line regular expression, or all of them if `count` is 0."""

    def corrupt() -> None:
        old = Path(path).read_bytes().decode()
        new, matches = re.subn(pattern, lambda match: match.expand(replacement), old, count=count, flags=re.MULTILINE)
        assert matches, f"{path}: no match for {pattern}"
        Path(path).write_bytes(new.encode())

    return corrupt


def truncate(path: str, fraction: float = 0.5) -> Corruption:
    """Keep the first `fraction` of the bytes."""
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[: int(Path(path).stat().st_size * fraction)])


def set_json(path: str, **changes: Any) -> Corruption:
    """Set keys of a JSON object; the value ... removes a key."""

    def corrupt() -> None:
        merged = {**json.loads(Path(path).read_text()), **changes}
        Path(path).write_text(json.dumps({key: value for key, value in merged.items() if value is not ...}))

    return corrupt


def edit_array(path: str, edit: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    """Replace the array of a .npy file by `edit(array)`."""
    return lambda: np.save(path, edit(np.load(path)), allow_pickle=False)


def set_npy_header(path: str, header: str) -> Corruption:
    """Replace the header of a .npy file; the data stay the same."""

    def corrupt() -> None:
        old = Path(path).read_bytes()
        data = old[10 + struct.unpack("<H", old[8:10])[0] :]
        encoded = (header + "\n").encode()
        Path(path).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + data)

    return corrupt


def edit_member(path: str, pattern: str, edit: Callable[[bytes], bytes]) -> Corruption:
    """Replace the content of the first zip member whose name matches `pattern` by `edit(content)`."""

    def corrupt() -> None:
        members = read_zip(Path(path))
        name = next(name for name in sorted(members) if re.search(pattern, name))
        rewrite_zip(Path(path), {name: edit(members[name])})

    return corrupt


def add_member(path: str, name: str, content: bytes = b"text", method: int = zipfile.ZIP_STORED) -> Corruption:
    """Append a member to a zip."""

    def corrupt() -> None:
        with zipfile.ZipFile(path, "a", method) as archive:
            archive.writestr(name, content)

    return corrupt


def set_zip_flag(path: str, bit: int) -> Corruption:
    """Set a flag of the last member in the central directory of a zip."""

    def corrupt() -> None:
        content = bytearray(Path(path).read_bytes())
        content[content.rindex(b"PK\x01\x02") + 8] |= bit
        Path(path).write_bytes(bytes(content))

    return corrupt


class Exploit:
    """Creates the file `executed` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('executed', 'w').close()",)


def malicious_pickle() -> bytes:
    """Return a pickle that runs code when it is loaded, in the protocol that torch writes."""
    return pickle.dumps(Exploit(), protocol=2)


def torch_file(pickle_bytes: bytes) -> bytes:
    """Return a file in the layout of torch.save around the given pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (("data.pkl", pickle_bytes), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()

"""Ways to spoil a file, for tables of bad inputs: each gives what spoils it, in the working folder, when called."""

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

Spoil = Callable[[], object]


def content(path: str, new: bytes | str) -> Spoil:
    """Other bytes altogether."""
    return lambda: Path(path).write_bytes(new.encode() if isinstance(new, str) else new)


def text(path: str, pattern: str, new: str, count: int = 1) -> Spoil:
    """The first matches of a pattern (lines end and begin at ^ and $) replaced; 0: all."""

    def spoil() -> None:
        old = Path(path).read_bytes().decode()
        changed, times = re.subn(pattern, lambda found: found.expand(new), old, count=count, flags=re.MULTILINE)
        assert times, f"{path} has no {pattern}"
        Path(path).write_bytes(changed.encode())

    return spoil


def cut(path: str, share: float = 0.5) -> Spoil:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[: int(Path(path).stat().st_size * share)])


def record(path: str, **changes: Any) -> Spoil:
    """Keys of a JSON object set to other values; ... takes a key out."""

    def spoil() -> None:
        merged = {**json.loads(Path(path).read_text()), **changes}
        Path(path).write_text(json.dumps({key: value for key, value in merged.items() if value is not ...}))

    return spoil


def array(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return lambda: np.save(path, change(np.load(path)), allow_pickle=False)


def header(path: str, text: str) -> Spoil:
    """The header of a .npy file with another text."""

    def spoil() -> None:
        old = Path(path).read_bytes()
        data = old[10 + struct.unpack("<H", old[8:10])[0] :]
        coded = (text + "\n").encode()
        Path(path).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(coded)) + coded + data)

    return spoil


def member(path: str, pattern: str, change: Callable[[bytes], bytes]) -> Spoil:
    """The first member of a zip whose name matches, changed."""

    def spoil() -> None:
        members = read_zip(Path(path))
        name = next(name for name in sorted(members) if re.search(pattern, name))
        rewrite_zip(Path(path), {name: change(members[name])})

    return spoil


def more(path: str, name: str, inside: bytes = b"harm", method: int = zipfile.ZIP_STORED) -> Spoil:
    """A zip with one more member."""

    def spoil() -> None:
        with zipfile.ZipFile(path, "a", method) as archive:
            archive.writestr(name, inside)

    return spoil


def flags(path: str, bit: int) -> Spoil:
    """A flag set for the last member of a zip, where its list says it."""

    def spoil() -> None:
        changed = bytearray(Path(path).read_bytes())
        changed[changed.rindex(b"PK\x01\x02") + 8] |= bit
        Path(path).write_bytes(bytes(changed))

    return spoil


class Harm:
    """Leaves a file behind if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('harm', 'w').close()",)


def pickled() -> bytes:
    return pickle.dumps(Harm(), protocol=2)  # torch's own


def torch_file(inner: bytes) -> bytes:
    """A file as torch writes them, around pickled bytes of somebody else."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, inside in (("data.pkl", inner), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", inside)
    return stream.getvalue()

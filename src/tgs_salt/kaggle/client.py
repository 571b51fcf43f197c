"""Run the official Kaggle client as a subprocess, and translate its failures.

The client is never imported: importing it authenticates, prints to stdout and may wait for the network forever.
Its exit code is unreliable and its errors are cryptic, so callers check the files that it leaves,
and each known failure is translated into one sentence.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from tgs_salt.errors import UserError
from tgs_salt.kaggle import credentials
from tgs_salt.log import log_and_echo, logger

T = TypeVar("T")

RETRY_DELAYS = (5.0, 20.0, 60.0, 180.0)
"""Seconds between attempts after a transient error.

The client does not retry API calls, and it hides the Retry-After header of a rate limit.
"""

_PASSED_VARIABLES = frozenset({
    "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "KAGGLE_API_ENVIRONMENT",
    "KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_DATA_PROXY_URL", "KAGGLE_API_V1_TOKEN",
})  # fmt: skip
_VERBOSE_VARIABLES = ("VERBOSE", "VERBOSE_OUTPUT")  # they make the client print its Authorization header


class TransientError(UserError):
    """An error that a retry may fix: a rate limit, a server error, a broken connection, or no response."""


class CorruptDownload(TransientError):
    """The client wrote foreign bytes into the file, for example an error page; the file must not be resumed."""


class AccessDenied(UserError):
    """Kaggle rejects the credentials, or the account has not accepted the competition's rules."""


_FAILURES: tuple[tuple[str, type[UserError], str], ...] = (
    (r"No space left on device", UserError, "The disk is full: free some space and run the same command again."),
    (r"(ModuleNotFoundError|ImportError): [^\n]*", UserError,
     "The kaggle client cannot start ({match}): reinstall this project's requirements."),
    (r"does not match expected size", CorruptDownload, "The download was incomplete."),
    (r"4\d\d Client Error[^\n]*Signature", TransientError, "The download link was rejected or has expired."),
    (r"accept this competition|accept the rules|must accept", AccessDenied,
     "You have not accepted the rules of '{slug}': accept them at "
     "https://www.kaggle.com/competitions/{slug}/rules and run the same command again."),
    (r"Permission '|404 Client Error|Could not find competition|[Nn]ot [Ff]ound", UserError,
     "Kaggle has no competition '{slug}' that your account can access: check the name, "
     "and join the competition at https://www.kaggle.com/competitions/{slug} ."),
    (r"429 Client Error|[Tt]oo ?[Mm]any ?[Rr]equests", TransientError, "Kaggle's rate limit was reached."),
    (r"5\d\d Server Error(: [A-Za-z ]+?)?(?= for url|$)|[Ii]nternal [Ee]rror|[Ii]nternal [Ss]erver|"
     r"[Uu]navailable|[Bb]ad [Gg]ateway|try again later", TransientError, "Kaggle's server failed ({match})."),
    (r"ConnectionError|Connection (aborted|refused|reset|broken)|Max retries exceeded|RemoteDisconnected|"
     r"ProtocolError|ChunkedEncodingError|ProxyError|SSLError|[Tt]imed out|Failed to resolve|prematurely",
     TransientError, "The connection to Kaggle failed ({match})."),
    (r"Expecting value: line", UserError,
     "The response is a web page, not Kaggle's API: if this network has a login page, log in and try again."),
)  # fmt: skip


def check_slug(competition: str) -> None:
    """Check that `competition` is a valid slug: it becomes a folder name and a command-line argument.

    Raises:
        UserError: It is not.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", competition):
        raise UserError(
            f"'{competition}' is not a competition slug: use the last part of the competition's URL, "
            "such as tgs-salt-identification-challenge."
        )


def log_credentials() -> None:
    """Log which credentials will be used, and warnings about their files; sends no request."""
    logger.info(credentials.describe_credentials())
    for warning in credentials.warnings():
        log_and_echo(f"warning: {warning}")


def version() -> str | None:
    """Return the version of the client installed in this environment, without running it."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("kaggle")
    return None


def call(*arguments: str, competition: str, timeout: float, watch: Callable[[], None] | None = None) -> str:
    """Run `kaggle -W ARGUMENTS` and return its stdout.

    Args:
        *arguments: Arguments of the client.
        competition: Slug for error messages.
        timeout: Seconds after which the client and its children are killed.
        watch: Called several times a second while the client runs; may raise to stop it.

    Raises:
        AccessDenied: Invalid credentials, or rules that are not accepted.
        TransientError: A retry may help; also after `timeout`.
        UserError: Any other failure.
    """
    code, out, err = _run([_client_path(), "-W", *arguments], timeout, watch)
    if code != 0:
        raise _translate_failure(out, err, competition)
    return out


def retry(action: Callable[[], T], delays: Sequence[float] = RETRY_DELAYS) -> T:
    """Return the result of `action`; on a TransientError, call it again after each of `delays` seconds.

    Raises:
        TransientError: The last attempt failed too.
    """
    for delay in delays:
        try:
            return action()
        except TransientError as problem:
            logger.warning(f"{problem} Retrying in {delay:g} s.")
            time.sleep(delay)
    return action()


def extract_json(text: str) -> Any:
    """Return the first JSON object or array that starts a line of `text`, or None; the client may print notes first."""
    for start in re.finditer(r"^[\[{]", text, re.MULTILINE):
        with suppress(ValueError):
            return json.JSONDecoder().raw_decode(text, start.start())[0]
    return None


def error_description(competition: str, ref: int | str, timeout: float = 60) -> str:
    """Return why Kaggle could not score submission `ref`, or an empty string.

    The client's commands do not show the reason, its library does; so the library is called in a separate process.
    """
    program = (
        "import sys; from kaggle import api\n"
        "for entry in api.competition_submissions(sys.argv[1], page_size=200) or []:\n"
        "    if str(entry.ref) == sys.argv[2]: print('reason:', entry.error_description or '')"
    )
    with suppress(UserError):
        # -P: a file kaggle.py in the working folder is not the client.
        _, out, _ = _run([sys.executable, "-P", "-c", program, competition, str(ref)], timeout)
        if match := re.search(r"^reason: (.+)$", out, re.MULTILINE):
            return credentials.redact(match[1].strip())
    return ""


def _client_path() -> str:
    """Return the client of this environment, even if it is not activated; else the one on PATH."""
    path = shutil.which("kaggle", path=str(Path(sys.executable).parent)) or shutil.which("kaggle")
    if path is None:
        raise UserError("The kaggle client is not installed: reinstall this project's requirements.")
    return path


def _environment() -> dict[str, str]:
    """Return this environment without unintended settings of the client, which reads any variable KAGGLE_X as one."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    variables |= {name: os.environ[name] for name in _PASSED_VARIABLES if os.environ.get(name)}
    for name in _VERBOSE_VARIABLES:
        variables.pop(name, None)
    return variables | {"PYTHONUTF8": "1"}


def _run(command: list[str], timeout: float, watch: Callable[[], None] | None = None) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `command`.

    Raises:
        TransientError: It did not end within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        with _kill_on_exit(process):
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise TransientError(f"Kaggle did not respond within {timeout:g} s.")
                if watch is not None:
                    watch()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        return process.returncode, _read_text(out), _read_text(err)


@contextmanager
def _kill_on_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the client's process group when the context ends.

    The client runs in its own session, so neither Ctrl-C nor a scheduler's SIGTERM reaches it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)
        if process.poll() is None:
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()


def _read_text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _translate_failure(out: str, err: str, competition: str) -> UserError:
    """Return the error for a failed call, from the client's stdout and stderr."""
    text = f"{err}\n{out}"
    introspection = "_introspect_token" in err and re.search(r"\b401\b|[Uu]nauth", err)
    if introspection or re.search(r"Authentication required to call|401 Client Error", text):
        return AccessDenied(credentials.describe_rejection())
    for pattern, error_type, message in _FAILURES:
        if match := re.search(pattern, text):
            return error_type(message.format(slug=competition, match=credentials.redact(match[0])))
    lines = [line.strip() for line in re.split(r"[\r\n]+", f"{out}\n{err}") if line.strip() and "%|" not in line]
    if not lines:
        return UserError("The kaggle client failed without a message.")
    return UserError(f"The kaggle client failed: {credentials.redact(lines[-1])}")

"""What the settings take from the machine: keys, addresses, the mode.

No Django here, so that a mistake can be told before anything is loaded.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import os
import secrets
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psutil

WEAK_KEY_LENGTH = 50  # Django's own check wants 50 characters, 5 of them different


class Mode(enum.StrEnum):
    """What this process is for; `VPSPANEL_ENV` says it."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Misconfigured(Exception):
    """The environment asks for something that is not safe; the text says what to set."""


def read_or_create_key(path: Path, size: int) -> str:
    """The key in `path`, made at the first call: `size` random bytes, URL-safe base64, mode 0600.

    Several processes may start at once: one of them makes the key and all
    return that one, because `link` never replaces a file.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(size)).decode())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_text().strip()


def signing_key(var_dir: Path, mode: Mode) -> str:
    """The key that signs sessions: `SECRET_KEY`, else the one kept in `var_dir`.

    In production it is not made up in passing: a second machine or a lost
    directory would sign everybody out without a word.
    """
    key = os.environ.get("SECRET_KEY", "")
    path = var_dir / "secret_key"
    if key or mode is not Mode.PRODUCTION:
        return key or read_or_create_key(path, 48)
    if not path.exists():
        raise Misconfigured(
            "No key to sign sessions with: set SECRET_KEY, or write one to "
            f"{path} (python3 -c 'import secrets; print(secrets.token_urlsafe(50))')."
        )
    return path.read_text().strip()


def sealing_keys(var_dir: Path, mode: Mode) -> list[str]:
    """The keys that seal stored secrets: the first seals, all of them open.

    `SEAL_KEYS` holds them with commas between, newest first; else the one in
    `var_dir`, which is made at the first start except in production.
    """
    keys = [key.strip() for key in os.environ.get("SEAL_KEYS", "").split(",") if key.strip()]
    path = var_dir / "seal_key"
    if not keys and mode is Mode.PRODUCTION and not path.exists():
        raise Misconfigured(
            "No key to seal stored secrets with: set SEAL_KEYS, or write one to "
            f"{path} (python3 -c 'import base64, os; "
            "print(base64.urlsafe_b64encode(os.urandom(32)).decode())')."
        )
    keys = keys or [read_or_create_key(path, 32)]
    for key in keys:
        try:
            size = len(base64.urlsafe_b64decode(key))
        except ValueError:
            size = 0
        if size != 32:
            raise Misconfigured("A sealing key must be 32 bytes in URL-safe base64.")
    return keys


def refuse_unsafe_production(*, debug: bool, hosts: list[str], key: str, mail: str) -> None:
    """Raise Misconfigured with all that is wrong, so that one start tells it all."""
    wrong = []
    if debug:
        wrong.append("DEBUG is on: it shows source and settings to every visitor. Unset DEBUG.")
    if not hosts or "*" in hosts:
        wrong.append("ALLOWED_HOSTS must name the host names that this site answers to.")
    if len(key) < WEAK_KEY_LENGTH or len(set(key)) < 5 or key.startswith("django-insecure-"):
        wrong.append(f"SECRET_KEY is weak: use at least {WEAK_KEY_LENGTH} random characters.")
    if not mail or mail.startswith("consolemail"):
        wrong.append(
            "EMAIL_URL must name a mail server: without one the links that confirm addresses and "
            "set passwords reach nobody but the log."
        )
    if wrong:
        raise Misconfigured("Not started, VPSPANEL_ENV=production:\n- " + "\n- ".join(wrong))


def origins_of(*urls: str) -> list[str]:
    """The origins of those that name one, as a page's policy wants them; a path is this site."""
    parts = [urlsplit(url) for url in urls]
    return [f"{part.scheme}://{part.netloc}" for part in parts if part.netloc]


def machine_hosts() -> list[str]:
    """The names and addresses under which a browser may reach this very machine."""
    found = {"localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()}
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family is socket.AF_INET:
                found.add(address.address)
            elif address.family is socket.AF_INET6:
                found.add(f"[{address.address.partition('%')[0]}]")
    return sorted(found)

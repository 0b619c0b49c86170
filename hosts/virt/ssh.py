"""How this panel comes to hosts over SSH: one key, and host keys that staff confirmed.

`use` says once per process where both lie. Whoever opens a connection reads
the files again, so that a key that is confirmed or withdrawn counts from then
on. An address that names its own `keyfile=` or `command=` goes its own way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncssh

from hosts.virt.errors import HostUnreachable

CONNECT_WITHIN = 8.0
DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class Home:
    """The directory with the panel's key pair, the known host keys and the command for libvirt."""

    directory: Path

    @property
    def key(self) -> Path:
        """The private key."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys that staff confirmed, and no others."""
        return self.directory / "known_hosts"

    @property
    def command(self) -> Path:
        """What libvirt runs in place of `ssh`: nobody's own configuration has a say in it."""
        return self.directory / "ssh"

    def prepare(self) -> None:
        """Make what is missing. Several processes may do this at once."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.key.exists():
            with contextlib.suppress(FileExistsError):
                self._make_key()
        if not self.known_hosts.exists():
            self.trust(())
        command = _command(self)
        if not self.command.exists() or self.command.read_text() != command:
            _write(self.command, command, mode=0o700)

    def public_key(self) -> str:
        """The line for `authorized_keys` on a host."""
        self.prepare()
        return asyncssh.read_private_key(str(self.key)).export_public_key().decode().strip()

    def trust(self, lines: Iterable[str]) -> None:
        """Replace the known host keys; whoever reads meanwhile finds the old or the new file."""
        text = "".join(f"{line}\n" for line in sorted(lines))
        if not self.known_hosts.exists() or self.known_hosts.read_text() != text:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self.known_hosts, text, mode=0o600)

    def _make_key(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519", comment="vpspanel")
        draft = _draft(self.directory, key.export_private_key().decode(), mode=0o600)
        try:
            self.key.hardlink_to(draft)  # never replaces one that another process just made
        finally:
            draft.unlink()


def _command(home: Home) -> str:
    options = (
        f'UserKnownHostsFile="{home.known_hosts}"',
        "GlobalKnownHostsFile=none",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        f'IdentityFile="{home.key}"',
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        f"ConnectTimeout={CONNECT_WITHIN:g}",
        "ServerAliveInterval=3",
        "ServerAliveCountMax=3",
    )
    words = ["exec", "ssh", "-F", "none", *(f"-o{option}" for option in options)]
    return f'#!/bin/sh\n{shlex.join(words)} "$@"\n'


def _draft(directory: Path, text: str, *, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(dir=directory)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).chmod(mode)
    return Path(name)


def _write(path: Path, text: str, *, mode: int) -> None:
    _draft(path.parent, text, mode=mode).replace(path)


@dataclass(slots=True)
class _Here:
    home: Home | None = None


_here = _Here()


def use(directory: Path) -> None:
    """From now on this process comes to hosts with what lies there. Makes nothing yet."""
    _here.home = Home(directory)


def home() -> Home | None:
    """What `use` said; None in a process that knows no panel."""
    return _here.home


# --- addresses ----------------------------------------------------------------------


def is_ssh(uri: str) -> bool:
    """Whether libvirt is spoken to through SSH, by any of its ways to do that."""
    return urlsplit(uri).scheme.partition("+")[2] in ("ssh", "libssh", "libssh2")


def uses_home(uri: str) -> bool:
    """Whether the panel's own key and known host keys count for this address."""
    own = parse_qs(urlsplit(uri).query)
    return urlsplit(uri).scheme.endswith("+ssh") and not {"keyfile", "command"} & set(own)


def place_of(uri: str) -> str:
    """How known_hosts names the machine: "10.0.0.7", or "[10.0.0.7]:2222" off the usual port.

    Raises `ValueError` if the address names none.
    """
    parts = urlsplit(uri)
    if not parts.hostname:
        raise ValueError(f"{uri!r} names no host")
    if parts.port in (None, DEFAULT_PORT):
        return parts.hostname
    return f"[{parts.hostname}]:{parts.port}"


# --- host keys ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostKey:
    """What a machine shows when it is asked who it is."""

    public_key: str  # "ssh-ed25519 AAAA…"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: "SHA256:…"."""
        return str(asyncssh.import_public_key(self.public_key).get_fingerprint())


def ask_host_key(uri: str) -> HostKey:
    """The key that answers at this address now. Proves nothing: staff compare its fingerprint.

    Raises `HostUnreachable`, `ValueError`.
    """
    place_of(uri)
    parts = urlsplit(uri)
    return asyncio.run(_ask_host_key(parts.hostname or "", parts.port or DEFAULT_PORT))


async def _ask_host_key(host: str, port: int) -> HostKey:
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            key = await asyncssh.get_server_host_key(host, port, config=None)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        said = str(error) or f"no answer within {CONNECT_WITHIN:g} s"
        raise HostUnreachable(f"{host} port {port}: {said}") from error
    if key is None:
        raise HostUnreachable(f"{host} port {port}: no host key was shown")
    algorithm, data, *_ = key.export_public_key().decode().split()
    return HostKey(f"{algorithm} {data}")

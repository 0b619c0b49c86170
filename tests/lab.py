"""A lab for a test session: several real KVM hosts on this machine, each reached over SSH.

`make lab` starts the same (deploy/lab). The hosts and their bridge end with the
session, also when tests fail or the session is interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts.virt import ssh
from tests.kvm import KvmHost
from vpspanel.servers.lab import read_env

SCRIPT = Path(__file__).parents[1] / "deploy" / "lab"
HOSTS = 3


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host of the lab: how the panel reaches it, and a hand inside it."""

    name: str
    uri: str
    address: str
    fingerprint: str
    link: str  # the panel's end of its cable
    kvm: KvmHost

    def cut_off(self) -> None:
        """Pull its cable."""
        subprocess.run(["ip", "link", "set", self.link, "down"], check=True)

    def reconnect(self) -> None:
        """Plug it in again."""
        subprocess.run(["ip", "link", "set", self.link, "up"], check=True)

    def new_host_key(self) -> None:
        """From now on it shows another SSH host key, as another machine at its address would."""
        key = self.kvm.dir / "etc" / "ssh" / "host_key"
        for file in (key, key.with_suffix(".pub")):
            file.unlink()
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.restart_sshd()

    def restart_sshd(self) -> None:
        """It reads its keys again; connections that are open stay open."""
        pid = (self.kvm.dir / "run" / "sshd.pid").read_text().strip()
        self.kvm.exec("kill", "-HUP", pid)


@dataclass(frozen=True, slots=True)
class Lab:
    """All hosts, and the network that they share."""

    directory: Path
    network: str
    gateway: str
    network6: str
    gateway6: str
    hosts: tuple[LabHost, ...]


def start_lab(count: int, public_key: str) -> Lab:
    """That many hosts, which let in who holds the key."""
    directory = Path(tempfile.mkdtemp(prefix="vpslab-", dir="/tmp"))
    key = directory / "key.pub"
    key.write_text(public_key + "\n")
    _run("start", str(directory), str(key), str(count), owner=True)
    env = read_env(directory / "env")
    hosts = tuple(_host(directory / f"kvm{number}") for number in range(1, count + 1))
    return Lab(directory, env["NETWORK"], env["GATEWAY"], env["NETWORK6"], env["GATEWAY6"], hosts)


def stop_lab(lab: Lab) -> None:
    """End it and remove its directory."""
    _run("stop", str(lab.directory))
    shutil.rmtree(lab.directory, ignore_errors=True)


def _host(directory: Path) -> LabHost:
    env = read_env(directory / "env")
    return LabHost(
        env["NAME"],
        env["SSH_URI"],
        env["ADDRESS"],
        env["FINGERPRINT"],
        env["LINK"],
        KvmHost(directory),
    )


def _run(*arguments: str, owner: bool = False) -> None:
    environment = {**os.environ, "OWNER": str(os.getpid())} if owner else dict(os.environ)
    done = subprocess.run(
        [SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts for all tests of the session; each test leaves them as it found them."""
    home = ssh.home()
    assert home is not None
    made = start_lab(HOSTS, home.public_key())
    try:
        yield made
    finally:
        stop_lab(made)

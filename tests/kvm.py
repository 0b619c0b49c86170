"""A private KVM host for a test session: real QEMU guests, in namespaces of their own.

Import the fixture where it is needed (`from tests.kvm import kvm_host`) or name
this module as a plugin. The host and everything in it ends with the session,
also when tests fail or the session is interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import libvirt
import pytest

SCRIPT = Path(__file__).parents[1] / "deploy" / "libvirt-host"


class KvmHost:
    """One private host. Paths under `dir` are the same inside and outside."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.uri = f"qemu:///system?socket={directory}/libvirt-sock"

    def start(self) -> None:
        """Start it, or do nothing if it runs."""
        self._script("private", str(self.dir))

    def stop(self) -> None:
        """End it with all its guests and remove its directory."""
        self._script("stop", str(self.dir))
        shutil.rmtree(self.dir)

    def new_pool(self) -> Path:
        """An empty directory for a pool, which guests can reach (pytest's own they cannot)."""
        path = self.dir / "pool" / uuid4().hex[:8]
        path.mkdir(mode=0o711)
        return path

    # --- inside -------------------------------------------------------------

    def exec(self, *command: str, check: bool = True) -> str:
        """What `command` prints when run inside the host: its network, its processes.

        Raises `CalledProcessError` unless `check` is False.
        """
        ran = subprocess.run(
            self.line_inside(*command),
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return ran.stdout

    def line_inside(self, *command: str) -> list[str]:
        """The command line that runs `command` inside, for those who run it themselves."""
        return [str(SCRIPT), "exec", str(self.dir), *command]

    def libvirtd_pid(self) -> int:
        """Its number inside."""
        return int((self.dir / "run" / "libvirtd.pid").read_text())

    def signal_libvirtd(self, number: signal.Signals) -> None:
        """Send libvirtd a signal (SIGSTOP, SIGCONT …)."""
        self.exec("kill", f"-{int(number)}", str(self.libvirtd_pid()))

    def kill_libvirtd(self) -> None:
        """SIGKILL it; returns when the process is gone. Guests go on."""
        pid = str(self.libvirtd_pid())
        self.exec("kill", "-9", pid)
        while self.exec("ps", "-o", "stat=", "-p", pid, check=False).strip()[:1] not in ("", "Z"):
            time.sleep(0.02)

    def restart_libvirtd(self) -> None:
        """Start it again after it was killed; returns when it answers."""
        self._script("restart-libvirtd", str(self.dir))

    def qemu_pids(self) -> dict[str, int]:
        """Domain name -> number inside of its QEMU, of the guests that have one."""
        found = {}
        for file in (self.dir / "run" / "qemu").glob("*.pid"):
            pid = file.read_text()
            if self.exec("ps", "-o", "comm=", "-p", pid, check=False).startswith("qemu-system"):
                found[file.stem] = int(pid)
        return found

    def vnet_of(self, uuid: UUID) -> str:
        """The guest's first tap device on the host."""
        connection = libvirt.open(self.uri)
        try:
            described = connection.lookupByUUID(uuid.bytes).XMLDesc(0)
        finally:
            connection.close()
        return "vnet" + str(described).split("<target dev='vnet", 1)[1].split("'", 1)[0]

    @staticmethod
    def _script(*arguments: str) -> None:
        done = subprocess.run(
            [SCRIPT, *arguments],
            env={**os.environ, "OWNER": str(os.getpid())},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def new_host() -> KvmHost:
    """A host that runs, in a short directory (a UNIX socket's path has 107 characters)."""
    host = KvmHost(Path(tempfile.mkdtemp(prefix="vps-", dir="/tmp")))
    try:
        host.start()
    except BaseException:
        host.stop()
        raise
    return host


@pytest.fixture(scope="session")
def kvm_host() -> Iterator[KvmHost]:
    """One private host for all tests of the session; each cleans up after itself."""
    if os.geteuid() != 0:
        pytest.fail("A private KVM host needs root")
    host = new_host()
    try:
        yield host
    finally:
        host.stop()

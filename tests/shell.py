"""Root's shell in a real guest, over SSH from the host that it runs on."""

from __future__ import annotations

import time
from pathlib import Path

from tests.kvm import KvmHost

ANSWERS_WITHIN = 120.0
OPTIONS = (
    *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"),
    *("ConnectTimeout=5", "LogLevel=ERROR"),
)


def ssh_line(key: Path) -> list[str]:
    """The beginning of a command line; who is called and what it is to do come after it."""
    return ["ssh", "-i", str(key), *(f"-o{option}" for option in OPTIONS)]


class Shell:
    """Root's shell at an address."""

    def __init__(self, host: KvmHost, key: Path, address: str) -> None:
        self._host = host
        self._line = [*ssh_line(key), f"root@{address}"]

    def run(self, command: str) -> str:
        """What the command prints; it must succeed."""
        return self._host.exec(*self._line, command).strip()

    def says(self) -> str:
        """How the system is called; empty if it does not answer."""
        return self._host.exec(*self._line, "hostname", check=False).strip()

    def wait_for(self, hostname: str) -> None:
        """Until the system that is called so answers."""
        until = time.monotonic() + ANSWERS_WITHIN
        while self.says() != hostname:
            assert time.monotonic() < until, f"{hostname} does not answer"
            time.sleep(0.5)

"""The levels of tests, and what each needs of the machine.

`make test` promises a table that says which levels ran; where all of them can
run (Debian, root) a level that did not is a failure, not a footnote.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PURE, FAKE = "pure", "fake driver"
LEVELS = (
    PURE,
    FAKE,
    "libvirt test driver",
    "real QEMU",
    "lab hosts",
    "PostgreSQL",
    "Redis",
    "API clients",
    "browser",
)
OF_MARKER = {
    "fake": FAKE,
    "libvirt": "libvirt test driver",
    "qemu": "real QEMU",
    "kvm": "real QEMU",
    "lab": "lab hosts",
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "both_databases": FAKE,  # and in the run on PostgreSQL once more
    "clients": "API clients",
    "browser": "browser",
}
# Where deploy/setup puts the oldest client that is promised to work, beside the newest.
OLDEST_CLIENT = Path(sys.prefix) / "share" / "hcloud-oldest"
# Where it puts Ansible with one collection: all of them are larger than everything else here.
ANSIBLE = Path(sys.prefix) / "share" / "ansible"
# Who uses one of these needs its level, marked or not.
MARKER_OF_FIXTURE = {
    "kvm_host": "qemu",
    "lab": "lab",
    "page": "browser",
    "browser": "browser",
}
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup", "live_server", "client"}


def marks_of(markers: Iterable[str], fixtures: Iterable[str]) -> set[str]:
    """A test's markers, with those that its fixtures imply."""
    implied = {MARKER_OF_FIXTURE[name] for name in fixtures if name in MARKER_OF_FIXTURE}
    return set(markers) | implied


def levels_of(markers: Iterable[str], fixtures: Iterable[str]) -> set[str]:
    """The levels of a test. Without a level's marker it is `fake driver` if it uses the
    database (the panel's tests run on simulated hosts), else `pure`.
    """
    marked = set(markers)
    found = {OF_MARKER[name] for name in marked if name in OF_MARKER}
    if found:
        return found
    return {FAKE if "django_db" in marked or DATABASE_FIXTURES & set(fixtures) else PURE}


def missing(marker: str) -> str:
    """Why this machine cannot run tests with that marker; empty if it can."""
    if marker in ("libvirt", "qemu", "kvm", "lab") and not importlib.util.find_spec("libvirt"):
        return "libvirt's Python module is not installed"
    if marker in ("qemu", "kvm"):
        return _missing_for_guests()
    if marker == "lab":
        return _missing_for_guests() or _missing_for_lab()
    if marker == "postgres":
        port = int(os.environ.get("POSTGRES_PORT", "5432"))
        return "" if _listens(port) else f"no PostgreSQL listens on port {port}"
    if marker == "redis":
        return "" if _listens(6379) else "no Redis listens on port 6379"
    if marker == "clients":
        return _missing_for_clients()
    if marker == "browser":
        found = any(shutil.which(name) for name in ("chromium", "chromium-browser"))
        return "" if found else "Chromium is not installed"
    return ""


def _missing_for_clients() -> str:
    if not importlib.util.find_spec("hcloud"):
        return "hcloud's Python client is not installed"
    if not OLDEST_CLIENT.is_dir():
        return "the oldest Python client is not installed: deploy/setup dev"
    if not ANSIBLE.is_dir():
        return "Ansible is not installed: deploy/setup dev"
    return "" if shutil.which("hcloud") else "hcloud-cli is not installed"


def _missing_for_guests() -> str:
    if os.geteuid() != 0:
        return "private hosts need root"
    for tool in ("libvirtd", "qemu-system-x86_64", "qemu-img"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return ""


def _missing_for_lab() -> str:
    return "" if Path("/usr/sbin/sshd").exists() else "openssh-server is not installed"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def all_levels_expected() -> bool:
    """Whether nothing excuses a missing level here: Debian, and root to install with."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists()


@dataclass
class Tally:
    """What became of the tests of each level, over one or more runs of pytest."""

    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    not_run: dict[str, str] = field(default_factory=dict)  # level -> why

    def add_to(self, file: Path) -> None:
        """Add this to what earlier runs wrote there; two may end at once."""
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._add_to(file)

    def _add_to(self, file: Path) -> None:
        if file.exists():
            before = Tally.read(file)
            self.passed.update(before.passed)
            self.failed.update(before.failed)
            self.not_run = {**before.not_run, **self.not_run}
        # A reason of one run is void if another run did it.
        self.not_run = {k: v for k, v in self.not_run.items() if not self.passed[k]}
        file.write_text(
            json.dumps(
                {"passed": self.passed, "failed": self.failed, "not_run": self.not_run}, indent=1
            )
        )

    @staticmethod
    def read(file: Path) -> Tally:
        """What was written there."""
        data = json.loads(file.read_text())
        return Tally(Counter(data["passed"]), Counter(data["failed"]), data["not_run"])

    def lines(self) -> list[str]:
        """The table, one line per level."""
        table = []
        for level in LEVELS:
            said = f"{self.passed[level]} passed"
            if self.failed[level]:
                said += f", {self.failed[level]} FAILED"
            if reason := self.not_run.get(level):
                said = f"not run: {reason}" if not self.passed[level] else f"{said}; {reason}"
            elif not self.passed[level] and not self.failed[level]:
                said = "not run: none was selected"
            table.append(f"{level + ':':<22}{said}")
        return table

    def levels_without_a_test(self) -> list[str]:
        """The levels of which nothing ran."""
        return [level for level in LEVELS if not self.passed[level] and not self.failed[level]]


def main(file: str, *options: str) -> int:
    """Print the table of a whole `make test`; 1 if a level that must run did not.

    `--some`: only some tests were asked for, so nothing is missing.
    """
    tally = Tally.read(Path(file))
    print("\n".join(tally.lines()))
    if "--some" in options or not all_levels_expected():
        return 0
    without = tally.levels_without_a_test()
    if without:
        print(
            f"FAILED: on Debian as root every level must run; these did not: {', '.join(without)}"
        )
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

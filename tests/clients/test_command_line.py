"""Debian's `hcloud`, unmodified, against a whole panel."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.test_keys import ED25519
from tests.clients.conftest import new_token
from tests.clients.shown import Asked
from tests.e2e.whole_panel import WholePanel

pytestmark = [pytest.mark.clients, pytest.mark.fake, pytest.mark.slow]


CLIENT = "hcloud CLI"


class CommandLine:
    """`hcloud` of somebody who has set nothing but address and token."""

    def __init__(self, panel: WholePanel, home: Path):
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HCLOUD_ENDPOINT": f"{panel.origin}/api/v1",
            "HCLOUD_TOKEN": new_token(panel, home.name),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What became of it."""
        return subprocess.run(
            ["hcloud", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def says(self, *arguments: str) -> str:
        """What it prints. Fails if it fails."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.says(*arguments, "-o", "json"))

    def fails(self, *arguments: str) -> str:
        """What it complains about. Fails if it works."""
        done = self.run(*arguments)
        assert done.returncode != 0, (arguments, done.stdout)
        return done.stderr


@pytest.fixture
def cli(panel: WholePanel, tmp_path: Path) -> CommandLine:
    return CommandLine(panel, tmp_path)


def test_looking_around(cli: CommandLine, asked: Asked) -> None:
    assert "local" in cli.says("location", "list")
    assert "nano" in cli.says("server-type", "list")
    assert "1" in cli.says("server-type", "describe", "nano")
    assert "tiny" in cli.says("image", "list")
    assert "local-dc1" in cli.says("datacenter", "list")
    for nothing in ("volume", "network", "firewall", "floating-ip", "load-balancer", "iso"):
        cli.says(nothing, "list")
    assert "not found" in cli.fails("server", "describe", "missing")
    asked.expect(CLIENT)


def test_the_life_of_a_server(cli: CommandLine, asked: Asked, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text(ED25519)
    life_of_a_server(cli, key)
    asked.expect(CLIENT)


class Guests:
    """What a story looks at inside its guests: nothing, for they are simulated."""

    def see(self, address: str, hostname: str, command: str, expected: str) -> None:
        """The system that is called so answers there, and the command prints what is expected."""


def life_of_a_server(cli: CommandLine, key: Path, guests: Guests | None = None) -> None:
    """From the key to the end, in three parts."""
    guests = guests or Guests()
    _is_ordered_and_switched(cli, key, guests)
    _is_protected_rebuilt_and_rescued(cli, guests)
    _changes_its_plan_and_is_copied(cli, guests)
    cli.says("ssh-key", "delete", "cli")
    assert "cli" not in cli.says("server", "list")


def _is_ordered_and_switched(cli: CommandLine, key: Path, guests: Guests) -> None:
    cli.says("ssh-key", "create", "--name=cli", f"--public-key-from-file={key}")
    assert "cli" in cli.says("ssh-key", "list")
    user_data = key.with_name("user-data")
    user_data.write_text("#cloud-config\nruncmd:\n- echo hello > /root/told\n")
    said = cli.says(
        *("server", "create", "--name=cli", "--type=nano", "--image=tiny"),
        *("--ssh-key=cli", "--label=env=test", "--location=local"),
        f"--user-data-from-file={user_data}",
    )
    assert "IPv4: 10." in said
    shown = cli.json("server", "describe", "cli")
    assert (shown["status"], shown["labels"]) == ("running", {"env": "test"})
    assert "running" in cli.says("server", "list", "--selector=env=test")
    assert "cli" not in cli.says("server", "list", "--selector=env!=test")
    assert "10." in cli.says("primary-ip", "list")
    address = cli.says("server", "ip", "cli").strip()
    assert address.startswith("10.")
    told = "until [ -e /root/told ]; do sleep 1; done; cat /root/told"
    guests.see(address, "cli", told, "hello")
    for verb, status in (
        ("poweroff", "off"),
        ("poweron", "running"),
        ("reset", "running"),
        ("shutdown", "off"),
        ("poweron", "running"),
        ("reboot", "running"),
    ):
        if verb == "shutdown":  # which only a system that is up hears
            guests.see(address, "cli", "cat /root/told", "hello")
        cli.says("server", verb, "cli")
        wait_for_status(cli, "cli", status)


def wait_for_status(cli: CommandLine, name: str, status: str) -> None:
    """The action of a shutdown ends when the guest was asked, not when it is off."""
    until = time.monotonic() + 60
    while (seen := cli.json("server", "describe", name)["status"]) != status:
        assert time.monotonic() < until, f"{name} is {seen}, not {status}"
        time.sleep(0.5)


def _is_protected_rebuilt_and_rescued(cli: CommandLine, guests: Guests) -> None:
    cli.says("server", "enable-protection", "cli", "delete", "rebuild")
    assert "protected" in cli.fails("server", "delete", "cli")
    cli.says("server", "disable-protection", "cli", "delete", "rebuild")
    cli.says("server", "rebuild", "cli", "--image=tiny")
    address = cli.says("server", "ip", "cli").strip()
    guests.see(address, "cli", "echo kept > /root/marker; sync; cat /root/marker", "kept")
    cli.says("server", "enable-rescue", "cli", "--ssh-key=cli")
    cli.says("server", "disable-rescue", "cli")
    cli.says("server", "enable-rescue", "cli", "--ssh-key=cli")
    cli.says("server", "reset", "cli")
    guests.see(address, "rescue", "mount /dev/vdb1 /mnt; cat /mnt/root/marker", "kept")
    cli.says("server", "reset", "cli")
    guests.see(address, "cli", "cat /root/marker", "kept")
    assert "/ws/console/" in cli.says("server", "request-console", "cli", "-o", "json")
    # Not as a graph: this client crashes on one whose values are all the same.
    measured = cli.json("server", "metrics", "cli", "--type=cpu")["metrics"]
    assert measured["time_series"].keys() == {"cpu"}
    assert "Password" in cli.says("server", "reset-password", "cli")


def _changes_its_plan_and_is_copied(cli: CommandLine, guests: Guests) -> None:
    cli.says("server", "update", "cli", "--name=two")
    cli.says("server", "add-label", "two", "tier=web")
    assert cli.json("server", "describe", "two")["labels"] == {"env": "test", "tier": "web"}
    cli.says("server", "remove-label", "two", "tier")
    cli.says("server", "poweroff", "two")
    for plan in ("micro", "nano"):
        cli.says("server", "change-type", "two", plan, "--keep-disk")
        assert cli.json("server", "describe", "two")["server_type"]["name"] == plan
    cli.says("server", "create-image", "two", "--type=snapshot", "--description=by-hand")
    (image,) = cli.json("image", "list", "--type=snapshot")
    assert image["description"] == "by-hand"
    copied = (f"--image={image['id']}", "--type=nano", "--ssh-key=cli", "--location=local")
    cli.says("server", "create", "--name=copy", *copied)
    guests.see(cli.says("server", "ip", "copy").strip(), "copy", "cat /root/marker", "kept")
    assert "does not offer" in cli.fails("server", "enable-backup", "two")
    for name in ("copy", "two"):
        cli.says("server", "delete", name)
    cli.says("image", "delete", str(image["id"]))

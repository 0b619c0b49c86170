"""Debian's `hcloud`, unmodified, against a whole panel."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.test_keys import ED25519
from tests.clients.conftest import new_token
from tests.e2e.whole_panel import WholePanel

pytestmark = [pytest.mark.clients, pytest.mark.fake, pytest.mark.slow]


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


def test_looking_around(cli: CommandLine) -> None:
    assert "local" in cli.says("location", "list")
    assert "nano" in cli.says("server-type", "list")
    assert "1" in cli.says("server-type", "describe", "nano")
    assert "tiny" in cli.says("image", "list")
    assert "local-dc1" in cli.says("datacenter", "list")
    for nothing in ("volume", "network", "firewall", "floating-ip", "load-balancer", "iso"):
        cli.says(nothing, "list")
    assert "not found" in cli.fails("server", "describe", "missing")


def test_the_life_of_a_server(cli: CommandLine, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text(ED25519)
    cli.says("ssh-key", "create", "--name=cli", f"--public-key-from-file={key}")
    assert "cli" in cli.says("ssh-key", "list")
    said = cli.says(
        *("server", "create", "--name=cli", "--type=nano", "--image=tiny"),
        *("--ssh-key=cli", "--label=env=test", "--location=local"),
    )
    assert "IPv4: 10." in said
    shown = cli.json("server", "describe", "cli")
    assert (shown["status"], shown["labels"]) == ("running", {"env": "test"})
    assert "running" in cli.says("server", "list", "--selector=env=test")
    assert "cli" not in cli.says("server", "list", "--selector=env!=test")
    assert cli.says("server", "ip", "cli").startswith("10.")
    for verb, status in (
        ("poweroff", "off"),
        ("poweron", "running"),
        ("reset", "running"),
        ("shutdown", "off"),
        ("poweron", "running"),
        ("reboot", "running"),
    ):
        cli.says("server", verb, "cli")
        if verb != "shutdown":  # its action ends when it was asked
            assert cli.json("server", "describe", "cli")["status"] == status, verb
    cli.says("server", "enable-protection", "cli", "delete", "rebuild")
    assert "protected" in cli.fails("server", "delete", "cli")
    cli.says("server", "disable-protection", "cli", "delete", "rebuild")
    cli.says("server", "rebuild", "cli", "--image=tiny")
    assert "Password" in cli.says("server", "reset-password", "cli")
    cli.says("server", "update", "cli", "--name=two")
    cli.says("server", "add-label", "two", "tier=web")
    assert cli.json("server", "describe", "two")["labels"] == {"env": "test", "tier": "web"}
    cli.says("server", "remove-label", "two", "tier")
    assert "does not offer" in cli.fails("server", "enable-backup", "two")
    cli.says("server", "delete", "two")
    cli.says("ssh-key", "delete", "cli")
    assert "cli" not in cli.says("server", "list")

"""Ansible's collection hetzner.hcloud, unmodified, against a whole panel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.test_keys import ED25519
from tests.clients.conftest import new_token
from tests.clients.shown import Asked
from tests.e2e.whole_panel import WholePanel
from tests.levels import ANSIBLE

pytestmark = [pytest.mark.clients, pytest.mark.fake, pytest.mark.slow]

HERE = Path(__file__).parent


class Ansible:
    """Somebody who has set nothing but address and token."""

    def __init__(self, panel: WholePanel, home: Path):
        self._home = home
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ANSIBLE),
            "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_INVENTORY_ENABLED": "hetzner.hcloud.hcloud",
            "LC_ALL": "C.UTF-8",
            "HCLOUD_ENDPOINT": f"{panel.origin}/api/v1",
            "HCLOUD_TOKEN": new_token(panel, "ansible"),
        }

    def play(self, playbook: str) -> None:
        """Run it. Fails if a task does."""
        variables = {"public_key": ED25519, "ansible_python_interpreter": sys.executable}
        self._run("playbook", str(HERE / playbook), "-e", json.dumps(variables))

    def inventory(self) -> Any:
        """The hosts that the collection finds."""
        source = self._home / "hcloud.yml"
        source.write_text("plugin: hetzner.hcloud.hcloud\nhostvars_prefix: hcloud_\n")
        said = self._run("inventory", "-i", str(source), "--list")
        # Text from outside is marked, lest it be taken for a template.
        return json.loads(said, object_hook=lambda one: one.get("__ansible_unsafe", one))

    def _run(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ansible", command, *arguments],
            env=self._environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


def test_the_life_of_a_server(panel: WholePanel, asked: Asked, tmp_path: Path) -> None:
    ansible = Ansible(panel, tmp_path)
    ansible.play("playbook.yml")
    known = ansible.inventory()["_meta"]["hostvars"]
    assert list(known) == ["ansible"]
    assert known["ansible"]["ansible_host"].startswith("10.")
    assert known["ansible"]["hcloud_labels"] == {"made-by": "ansible"}
    ansible.play("farewell.yml")
    assert "ansible" not in ansible.inventory()["_meta"]["hostvars"]
    asked.expect("Ansible")

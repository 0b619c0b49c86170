"""hcloud's Python client, unmodified, newest and oldest, against a whole panel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.test_keys import ED25519
from tests.clients.conftest import new_token
from tests.clients.shown import Asked
from tests.e2e.whole_panel import WholePanel
from tests.levels import OLDEST_CLIENT

pytestmark = [pytest.mark.clients, pytest.mark.fake, pytest.mark.slow]

VERSIONS = {"newest": "2.27.0", "oldest": "1.35.0"}


def tour(panel: WholePanel, version: str, *, key: str, ssh: Sequence[str] = ()) -> dict[str, Any]:
    """What the client saw; also inside its guests, if `ssh` says how they are reached."""
    environment = dict(os.environ)
    if version == "oldest":
        environment["PYTHONPATH"] = str(OLDEST_CLIENT)
    script = Path(__file__).with_name("tour.py")
    endpoint = f"{panel.origin}/api/v1"
    done = subprocess.run(
        [sys.executable, str(script), endpoint, new_token(panel, version), "tiny", key, *ssh],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{panel.log.read_text()[-4000:]}"
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen.pop("version") == VERSIONS[version]
    return seen


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tour(panel: WholePanel, asked: Asked, version: str) -> None:
    seen = tour(panel, version, key=ED25519)
    address = seen.pop("address")
    assert address.startswith("10.")
    expected_location = "local" if version == "newest" else ""
    assert seen == {
        "plan": [1, 0.125, 1, "0.002000"],
        "no such thing": [None, None, None],
        "by id": [True, "nano"],
        "key": ["tour-key", {"made": "by-tour"}, ["tour-key"]],
        "made": ["initializing", None, []],
        "twice": "uniqueness_error",
        "server": ["running", "nano", "tiny", expected_location, {"env": "test"}, True, True],
        "addresses": ["ipv4", "ipv6"],
        "selected": ["tour"],
        "not selected": [],
        "power": ["off", "running", "running", "off", "off", "running"],
        "protected": ["protected", "protected"],
        "rebuilt": ["tour-two", "running", "tiny", {}],
        "commands": [
            "change_protection",
            "create_server",
            "rebuild_server",
            "reset_server",
            "start_server",
            "stop_server",
        ],
        "password": 20,
        "group": [True],
        "console": "ws/console/direct/",
        "metrics": [
            "cpu",
            "network.0.bandwidth.in",
            "network.0.bandwidth.out",
            "network.0.pps.in",
            "network.0.pps.out",
        ],
        "rescue": [True, False],
        "type while it runs": "server_not_stopped",
        "types": ["micro", "nano"],
        "own address": [
            {"made": "by-tour"},
            "protected",
            "server_has_ipv4",
            True,
            None,
        ],
        "snapshot": ["snapshot", "available", "tour", {"made": "by-tour"}],
        "kept": ["kept", {}, "protected"],
        "actions": [
            ["change_protection"],
            "change_protection",
            "assign_primary_ip",
            "create_server",
        ],
        "copy": "running",
        "absent": [0, 0, 0, 0, 0, 0],
        "unsupported": ["unsupported_error"] * 3,
        "gone": [True, "not_found"],
        "keys": 0,
    }
    asked.expect("hcloud-python " + VERSIONS[version].rpartition(".")[0])

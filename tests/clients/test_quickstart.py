"""docs/quickstart.md does what it says: its curl and its Python, copied from the page and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.accounts.test_keys import ED25519
from tests.clients.conftest import new_token, simulated_panel
from tests.e2e.whole_panel import WholePanel

pytestmark = [pytest.mark.clients, pytest.mark.fake, pytest.mark.slow]


@pytest.fixture
def fresh_panel(tmp_path: Path) -> Iterator[WholePanel]:
    """One in which the first server is number 1, as on the page."""
    with simulated_panel(tmp_path) as panel:
        yield panel


def block(title: str) -> str:
    """The code below that title."""
    page = (settings.BASE_DIR / "docs" / "quickstart.md").read_text()
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines)).strip()


class Reader:
    """Somebody who has set address and token, and has a key."""

    def __init__(self, panel: WholePanel, home: Path):
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_ed25519.pub").write_text(ED25519 + "\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PANEL": panel.origin,
            "TOKEN": new_token(panel, "reader"),
        }

    def runs(self, *command: str) -> str:
        """What it prints. Fails if it fails."""
        done = subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
        return done.stdout

    def servers(self) -> Any:
        """Those that there are."""
        request = urllib.request.Request(  # noqa: S310 - our own
            f"{self._environment['PANEL']}/api/v1/servers",
            headers={"Authorization": f"Bearer {self._environment['TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["servers"]


def answers_in(output: str) -> list[Any]:
    """The JSON that was printed, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while output := output.strip():
        answer, end = decoder.raw_decode(output)
        found.append(answer)
        output = output[end:]
    return found


def test_the_page_does_what_it_says(fresh_panel: WholePanel, tmp_path: Path) -> None:
    reader = Reader(fresh_panel, tmp_path)
    answers = answers_in(reader.runs("bash", "-euc", block("curl")))
    types, key, ordered, built, listed, rebooting, rebooted, deleted = answers
    assert "nano" in [plan["name"] for plan in types["server_types"]]
    assert key["ssh_key"]["name"] == "laptop"
    assert (ordered["server"]["name"], ordered["server"]["id"]) == ("web", 1)
    assert built["action"]["id"] == ordered["action"]["id"]
    assert built["action"]["status"] == "success"
    assert [server["status"] for server in listed["servers"]] == ["running"]
    assert rebooting["action"]["command"] == "reboot_server"
    assert rebooted["action"]["id"] == rebooting["action"]["id"]
    assert rebooted["action"]["status"] == "success"
    assert deleted["action"]["command"] == "delete_server"
    until = time.monotonic() + 60
    while reader.servers():
        assert time.monotonic() < until
        time.sleep(0.2)
    said = reader.runs(sys.executable, "-c", block("Python"))
    assert re.fullmatch(r"10\.[\d.]+\n", said)
    assert reader.servers() == []

"""The whole panel as `manage.py serve` runs it: web, worker and monitor, with files of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import migrated

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 60.0


@dataclass
class WholePanel:
    """A panel that runs, and what its demo made."""

    origin: str
    environment: dict[str, str]
    log: Path
    demo: dict[str, Any]

    def manage(self, *arguments: str) -> str:
        """What a management command prints. Fails if it fails."""
        return manage(self.environment, *arguments)

    def login(self) -> tuple[str, str]:
        """Mail address and password of the demo customer."""
        return self.demo["customer"]["email"], self.demo["customer"]["password"]


def manage(environment: dict[str, str], *arguments: str) -> str:
    """What a management command prints. Fails if it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def whole_panel(
    directory: Path,
    *,
    uri: str,
    pool: Path,
    images: Path,
    images_wanted: tuple[str, ...] = (),
    driver: str = "libvirt",
    added: Mapping[str, str] | None = None,
) -> Iterator[WholePanel]:
    """Make a database and the demo there, serve; stop it at the end. `added` is environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "vpspanel.settings",
        "VPSPANEL_VAR": str(directory / "var"),
        "VPSPANEL_ENV": "development",
        "VPSPANEL_IMAGES": str(images),
        "VPSPANEL_DRIVER": driver,
        "PORT": str(port),
        **(added or {}),
    }
    environment.pop("DATABASE_URL", None)
    migrated.copy_to(directory / "var" / "db.sqlite3")
    demo = json.loads(manage(environment, "demo", "--json", "--uri", uri, "--pool-path", str(pool)))
    for image in images_wanted:
        manage(environment, "image_build", image)
    log = directory / "panel.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    panel = WholePanel(f"http://127.0.0.1:{port}", environment, log, demo)
    try:
        _wait_until_ready(panel, process)
        yield panel
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait_until_ready(panel: WholePanel, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_WITHIN
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{panel.origin}/healthz", timeout=2)  # noqa: S310 - our own
            return
        assert process.poll() is None, panel.log.read_text()
        assert time.monotonic() < until, panel.log.read_text()
        time.sleep(0.2)

"""What `make run` says on machines that are not ready. Nothing is installed here."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from django.conf import settings


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH in front: an ordinary user without sudo, and a Debian without packages."""
    folder = tmp_path / "bin"
    folder.mkdir()
    answers = {
        "id": "echo 1000",
        "sudo": "exit 1",
        "dpkg-query": "exit 1",
        "apt-get": "echo called >&2; exit 99",
    }
    for name, body in answers.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def _setup(path: Path, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["deploy/setup", "run"],
        cwd=settings.BASE_DIR,
        env={
            "PATH": f"{path}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "VPSPANEL_VAR": str(tmp_path / "var"),
            "PORT": "1",
            **env,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_root_and_sudo_it_names_the_command_and_changes_nothing(
    bare: Path, tmp_path: Path
) -> None:
    done = _setup(bare, tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    command = next(line for line in lines if "apt-get install" in line)
    for package in ("libvirt-dev", "libvirt-daemon-system", "qemu-system-x86", "pkg-config", "gcc"):
        assert f" {package}" in command
    assert command.startswith("  apt-get update && apt-get install -y --no-install-recommends ")
    assert "make run DRIVER=fake" in done.stderr
    assert "called" not in done.stderr
    assert not (tmp_path / "var").exists()


def test_a_port_in_use_is_said_before_anything_is_done(bare: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = _setup(bare, tmp_path, PORT=str(port))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert f"make run PORT={port + 1}" in done.stderr
    assert "apt-get" not in done.stderr


def test_an_unknown_driver_is_refused(bare: Path, tmp_path: Path) -> None:
    done = _setup(bare, tmp_path, DRIVER="xen")
    assert done.returncode == 1
    assert "DRIVER=xen: use libvirt" in done.stderr


def test_apt_get_that_fails_is_shown_with_the_way_out(bare: Path, tmp_path: Path) -> None:
    (bare / "id").write_text("#!/bin/sh\necho 0\n")
    done = _setup(bare, tmp_path)
    assert done.returncode == 1
    assert "called" in done.stderr
    assert "apt-get failed, see above. Without QEMU: make run DRIVER=fake" in done.stderr

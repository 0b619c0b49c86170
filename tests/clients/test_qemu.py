"""hcloud's own clients order, use and delete servers that truly run, and are let in over SSH."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.clients.conftest import expect_agreement
from tests.clients.test_command_line import CommandLine, Guests, life_of_a_server
from tests.clients.test_python import VERSIONS, tour
from tests.e2e.whole_panel import WholePanel, whole_panel
from tests.kvm import KvmHost, kvm_host
from tests.shell import Shell, ssh_line

__all__ = ["kvm_host"]

pytestmark = [pytest.mark.clients, pytest.mark.kvm, pytest.mark.slow]


@pytest.fixture(scope="module")
def real_panel(kvm_host: KvmHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePanel]:
    """A panel whose only host is the private one."""
    images = Path(os.environ.get("VPSPANEL_IMAGES", settings.BASE_DIR / "var" / "images"))
    with whole_panel(
        tmp_path_factory.mktemp("panel"),
        uri=kvm_host.uri,
        pool=kvm_host.new_pool(),
        images=images,
    ) as panel:
        yield panel
        expect_agreement(panel)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; the public one is beside it."""
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tour_of_real_guests(
    real_panel: WholePanel, kvm_host: KvmHost, key: Path, version: str
) -> None:
    public = key.with_suffix(".pub").read_text().strip()
    ssh = kvm_host.line_inside(*ssh_line(key))
    seen = tour(real_panel, version, key=public, ssh=ssh)
    # As ordered, told by its user data; rebuilt; in the rescue system; back; the snapshot's copy.
    assert seen["inside"] == ["hello", "1", "kept", "kept", "kept"]
    assert seen["power"] == ["off", "running", "running", "off", "off", "running"]
    assert seen["rebuilt"] == ["tour-two", "running", "tiny", {}]
    assert (seen["rescue"], seen["types"]) == ([True, False], ["micro", "nano"])
    assert seen["snapshot"][:2] == ["snapshot", "available"]
    assert seen["copy"] == "running"
    assert seen["gone"] == [True, "not_found"]


class RealGuests(Guests):
    """Looks inside, over SSH."""

    def __init__(self, host: KvmHost, key: Path) -> None:
        self._host, self._key = host, key

    def see(self, address: str, hostname: str, command: str, expected: str) -> None:
        """The same, truly."""
        shell = Shell(self._host, self._key, address)
        shell.wait_for(hostname)
        assert shell.run(command) == expected


def test_the_command_line_and_real_guests(
    real_panel: WholePanel, kvm_host: KvmHost, key: Path, tmp_path: Path
) -> None:
    cli = CommandLine(real_panel, tmp_path)
    life_of_a_server(cli, key.with_suffix(".pub"), RealGuests(kvm_host, key))

"""A whole panel for clients, on a simulated host or on real QEMU."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.noting import NOTES_IN
from tests.clients.shown import Asked
from tests.e2e.whole_panel import WholePanel, whole_panel


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePanel]:
    """A simulated panel for all tests of clients."""
    with simulated_panel(tmp_path_factory.mktemp("panel")) as panel:
        yield panel


@contextlib.contextmanager
def simulated_panel(directory: Path) -> Iterator[WholePanel]:
    """Web, worker and monitor on a simulated host. At the end records and host agree."""
    uri = f"fake:///simulated?cpus=8&memory_mib=16384&disk_gib=200&dir={directory}/host"
    notes = directory / "notes"
    notes.touch()
    with whole_panel(
        directory,
        uri=uri,
        pool=directory / "pool",
        images=directory / "images",
        driver="fake",
        added={"DJANGO_SETTINGS_MODULE": "tests.clients.settings", NOTES_IN: str(notes)},
    ) as panel:
        yield panel
        expect_agreement(panel)


@pytest.fixture
def asked(panel: WholePanel, request: pytest.FixtureRequest) -> Asked:
    """What this test's clients ask of the panel."""
    notes = Path(panel.environment[NOTES_IN])
    return Asked(request.node.nodeid, notes, len(notes.read_text()))


def expect_agreement(panel: WholePanel) -> None:
    """Records and host agree; what a deleted snapshot left on the host is news, not a fault."""
    findings = json.loads(panel.manage("audit", "--json"))["findings"]
    assert [finding for finding in findings if finding["code"] != "image_unused"] == []


def new_token(panel: WholePanel, name: str) -> str:
    """A token of the demo customer, as a script gets one."""
    return panel.manage("token_create", panel.login()[0], "--write", f"--name={name}").strip()

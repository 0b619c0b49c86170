"""A whole panel for clients, on a simulated host or on real QEMU."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.whole_panel import WholePanel, whole_panel


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePanel]:
    """Web, worker and monitor on a simulated host. At the end records and host agree."""
    directory = tmp_path_factory.mktemp("panel")
    uri = f"fake:///simulated?cpus=8&memory_mib=16384&disk_gib=200&dir={directory}/host"
    with whole_panel(
        directory, uri=uri, pool=directory / "pool", images=directory / "images", driver="fake"
    ) as panel:
        yield panel
        assert json.loads(panel.manage("audit", "--json"))["findings"] == []


def new_token(panel: WholePanel, name: str) -> str:
    """A token of the demo customer, as a script gets one."""
    return panel.manage("token_create", panel.login()[0], "--write", f"--name={name}").strip()

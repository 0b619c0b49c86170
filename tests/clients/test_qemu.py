"""hcloud's Python client orders, uses and deletes a server that truly runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.accounts.test_keys import ED25519
from tests.clients.test_python import tour
from tests.e2e.whole_panel import WholePanel, whole_panel
from tests.kvm import KvmHost, kvm_host

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
        assert json.loads(panel.manage("audit", "--json"))["findings"] == []


def test_a_tour_of_real_guests(real_panel: WholePanel, kvm_host: KvmHost) -> None:
    seen = tour(real_panel, "newest", key=ED25519)
    assert seen["power"] == ["off", "running", "running", "off", "off", "running"]
    assert seen["rebuilt"] == ["tour-two", "running", "tiny", {}]
    assert seen["gone"] == [True, "not_found"]

"""The host that a test of the driver contract runs on, new for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.hosts.contract import ContractHost
from tests.hosts.contract_fake import FakeHost

try:
    from tests.hosts.contract_libvirt import QemuHost, TestDriverHost
except ModuleNotFoundError as error:  # without libvirt, its tests are skipped and say so
    if error.name != "libvirt":
        raise


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContractHost]:
    """A host of the kind that `on_hosts_with` asked for, with nothing left on it afterwards."""
    kind = request.param
    made: ContractHost
    if kind == "fake":
        made = FakeHost(f"fake:///contract-{uuid4().hex[:8]}?shutdown_s=0.2")
    elif kind == "fake-file":
        made = FakeHost(f"fake:///contract?dir={tmp_path}&shutdown_s=0.2")
    elif kind == "libvirt-test":
        made = TestDriverHost(str(tmp_path))
    else:
        made = QemuHost(request.getfixturevalue("kvm_host"))
    yield made
    made.dispose()

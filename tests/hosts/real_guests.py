"""Real guests for the tests of the libvirt driver: boot sectors on a private host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from hosts.virt.connection import Limits
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.spec import DiskSpec, DomainSpec, Power
from tests.hosts.contract import BOOT_IMAGE, MIB, wait_until
from tests.kvm import KvmHost

# mov dx,3f8h; mov al,'A'; out dx,al; jmp back: floods COM1 for ever
FLOOD = bytes.fromhex("baf803b041eeebfd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)
# cli; hlt; jmp back: halts for ever and costs nothing
HALT = bytes.fromhex("faf4ebfd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)


class Guests:
    """A driver with a pool of its own, and the guests that a test made on it."""

    def __init__(self, host: KvmHost, limits: Limits | None = None) -> None:
        self.host = host
        self.driver = LibvirtDriver(host.uri, limits)
        self.prefix = f"t{uuid4().hex[:8]}"
        self.pool_path = host.new_pool()
        self.driver.ensure_pool(self.prefix, str(self.pool_path))
        self.made: list[UUID] = []

    def spec(self, image: bytes = HALT, **changes: Any) -> DomainSpec:
        """A guest of 32 MB with `image` on its disk, not defined yet."""
        uuid = uuid4()
        self.made.append(uuid)
        volume = f"{uuid.hex[:8]}.raw"
        self.driver.write_volume(self.prefix, volume, image, capacity_bytes=len(image))
        values: dict[str, Any] = {
            "uuid": uuid,
            "name": f"{self.prefix}-{len(self.made)}",
            "vcpus": 1,
            "memory_mib": 32,
            "disks": (DiskSpec(self.prefix, volume, "vda", "raw"),),
            "nics": (),
            "virt_type": "qemu",
            "metadata": {"server": str(len(self.made))},
        }
        return DomainSpec(**(values | changes))

    def running(self, image: bytes = HALT, **changes: Any) -> DomainSpec:
        """A guest that was started a moment ago."""
        spec = self.spec(image, **changes)
        self.driver.define(spec)
        self.driver.start(spec.uuid)
        return spec

    def booted(self) -> DomainSpec:
        """A guest that echoes what is typed."""
        spec = self.running(BOOT_IMAGE)
        log = self.host.dir / "log" / "vpspanel" / f"vps-{spec.uuid}.log"
        wait_until(lambda: b"ready" in log.read_bytes(), 30, f"{spec.name} has booted")
        return spec

    def power(self, uuid: UUID) -> Power:
        seen = self.driver.domain(uuid)
        return Power.MISSING if seen is None else seen.power

    def dispose(self) -> None:
        """Take everything away again."""
        for uuid in self.made:
            self.driver.destroy(uuid)
            self.driver.undefine(uuid)
        for volume in self.driver.volumes(self.prefix):
            self.driver.delete_volume(self.prefix, volume.name)
        self.driver.close()


@pytest.fixture
def guests(kvm_host: KvmHost) -> Iterator[Guests]:
    made = Guests(kvm_host)
    yield made
    made.dispose()

"""libvirt's test driver and real QEMU for the contract's tests."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import libvirt

from hosts.virt.connection import Limits
from hosts.virt.driver import Driver, SerialStream
from hosts.virt.hostinfo import parse
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.spec import DiskSpec, DomainSpec, NicSpec
from tests.hosts.contract import MIB, ContractHost, wait_until
from tests.kvm import KvmHost

SLEEPER = (
    "<domain type='{type}'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>32</memory>\
<vcpu>1</vcpu><os><type>hvm</type></os></domain>"
)

BY_HAND = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{file}'/><target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <interface type='network'>
      <mac address='{mac}'/><source network='{network}'/><model type='virtio'/>
    </interface>
    <serial type='pty'/><console type='pty'/>
    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>
  </devices>
</domain>
"""


class LibvirtHost(ContractHost):
    """What the test driver and QEMU have in common: a second connection beside the driver's."""

    domain_type = ""

    def __init__(self, uri: str, pool_path: str) -> None:
        self.uri = uri
        self.outside = libvirt.open(uri)
        self._foreign: list[UUID] = []
        super().__init__(LibvirtDriver(uri), pool_path)

    def _dispose_rest(self) -> None:
        for uuid in self._foreign:
            domain = self._domain(uuid)
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        for network in self.outside.listAllNetworks():
            if network.name() == self.network:
                network.destroy()
                network.undefine()
        for pool in self.outside.listAllStoragePools():
            if pool.name().startswith(self.prefix):
                pool.destroy()
                pool.undefine()
        self.outside.close()

    def _domain(self, uuid: UUID) -> Any:
        return self.outside.lookupByUUIDString(str(uuid))

    def add_foreign_domain(self, *, running: bool = False) -> UUID:
        uuid = uuid4()
        self._foreign.append(uuid)
        domain = self.outside.defineXML(
            SLEEPER.format(type=self.domain_type, name=self.name("foreign"), uuid=uuid)
        )
        if running:
            domain.create()
        return uuid

    def undefine_behind_its_back(self, uuid: UUID) -> None:
        self._domain(uuid).undefine()

    def bridge_of(self, network: str) -> str:
        return str(self.outside.networkLookupByName(network).bridgeName())

    def starts_with_host(self, pool: str) -> bool:
        return bool(self.outside.storagePoolLookupByName(pool).autostart())

    def running_vcpus(self, uuid: UUID) -> int:
        return int(self._domain(uuid).info()[3])

    def pause(self, uuid: UUID) -> None:
        self._domain(uuid).suspend()

    def another_driver(self) -> Driver:
        return LibvirtDriver(self.uri)


class TestDriverHost(LibvirtHost):
    """libvirt's test driver: guests, pools and networks in the memory of this process."""

    __test__ = False  # not a test class, whatever its name says
    domain_type = "test"

    def __init__(self, pool_path: str) -> None:
        super().__init__("test:///default", pool_path)

    def _disks(self, suffix: str) -> tuple[DiskSpec, ...]:
        volume = self.name(f"{suffix}-disk")
        self.add_foreign_volume(volume, MIB)
        return (DiskSpec(pool=self.pool, volume=volume, target="vda", format="raw"),)

    def _nics(self) -> tuple[NicSpec, ...]:
        return ()  # a card needs a filter, and there are none

    def wait_ready(self, uuid: UUID) -> None:
        """Nothing boots."""

    def add_foreign_volume(self, name: str, size: int) -> None:
        pool = self.outside.storagePoolLookupByName(self.pool)
        pool.createXML(
            f"<volume><name>{name}</name><capacity>{size}</capacity>"
            "<target><format type='raw'/></target></volume>"
        )

    def unreachable(self) -> Driver:
        return LibvirtDriver("test:///nowhere/host.xml")


class QemuHost(LibvirtHost):
    """Real guests, on a private libvirtd whose files lie under `directory`."""

    is_real = True
    ready = b"ready"
    domain_type = "qemu"

    def __init__(self, private: KvmHost) -> None:
        self.private = private
        self._boots: dict[UUID, int] = {}
        self._small = ""
        self._silent: list[socket.socket] = []
        super().__init__(private.uri, str(private.new_pool()))

    def _dispose_rest(self) -> None:
        super()._dispose_rest()
        for sock in self._silent:
            sock.close()
        if self._small:
            self.private.exec("umount", self._small)
        shutil.rmtree(self.pool_path)

    # --- storage ----------------------------------------------------------------

    def add_foreign_volume(self, name: str, size: int) -> None:
        with (Path(self.pool_path) / name).open("wb") as file:
            file.truncate(size)

    def content(self, name: str, length: int) -> bytes:
        with (Path(self.pool_path) / name).open("rb") as file:
            return file.read(length)

    def identity(self, volume: str) -> object:
        return (Path(self.pool_path) / volume).stat().st_ino

    def image_info(self, volume: str) -> str:
        command = ["qemu-img", "info", "-U", "--output=json", f"{self.pool_path}/{volume}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def small_pool(self) -> str:
        self._small = path = str(self.private.new_pool())
        self.private.exec("mount", "-t", "tmpfs", "-o", "size=4m", "small", path)
        name = f"{self.prefix}-small"
        self.driver.ensure_pool(name, path)
        return name

    # --- filters ------------------------------------------------------------------

    def filter_text(self, name: str) -> str:
        return str(self.outside.nwfilterLookupByName(name).XMLDesc())

    def add_foreign_filter(self) -> str:
        return "clean-traffic"  # comes with libvirt

    def rules_in_force(self, uuid: UUID) -> str:
        return self.private.exec("ebtables", "-t", "nat", "-L")

    # --- guests -------------------------------------------------------------------

    def add_foreign_guest(self, spec: DomainSpec, *, running: bool) -> None:
        (disk,), (nic,) = spec.disks, spec.nics
        domain = self.outside.defineXML(
            BY_HAND.format(
                name=spec.name,
                uuid=spec.uuid,
                file=f"{self.pool_path}/{disk.volume}",
                mac=nic.mac,
                network=nic.network,
            )
        )
        domain.setAutostart(True)
        if running:
            domain.create()

    def live_filter(self, uuid: UUID) -> str:
        described = parse(self._domain(uuid).XMLDesc(0))
        found = described.find("devices/interface/filterref")
        return "" if found is None else str(found.get("filter"))

    def birth(self, uuid: UUID) -> object:
        return self.private.qemu_pids()[self._domain(uuid).name()]

    def wait_ready(self, uuid: UUID) -> None:
        log = self.private.dir / "log" / "vpspanel" / f"vps-{uuid}.log"
        seen = self._boots.get(uuid, 0)
        wait_until(lambda: log.read_bytes().count(self.ready) > seen, 30, f"{uuid} has booted")
        self._boots[uuid] = seen + 1

    def leave_traces(self, uuid: UUID) -> None:
        domain = self._domain(uuid)
        domain.snapshotCreateXML("<domainsnapshot><name>before</name></domainsnapshot>")
        domain.create()
        domain.managedSave()

    def restart_daemon(self) -> None:
        self.private.kill_libvirtd()
        self.private.restart_libvirtd()
        self.outside = libvirt.open(self.uri)

    def kill(self, uuid: UUID) -> None:
        pid = self.private.qemu_pids()[self._domain(uuid).name()]
        self.private.exec("kill", "-9", str(pid))

    def press_inside(self, uuid: UUID, what: str) -> None:
        async def press() -> None:
            stream = await self.driver.open_serial(uuid)
            await stream.write({"poweroff": b"O", "reboot": b"R"}[what])
            # What was typed is on its way to the guest as long as nobody closes the stream.
            seen = b""
            async with asyncio.timeout(30):
                while self.ready not in seen and (data := await stream.read()):
                    seen += data
            await stream.close()

        asyncio.run(press())

    async def flood(self, stream: SerialStream) -> None:
        await stream.write(b"F")

    # --- hosts that do not answer ---------------------------------------------------

    def unreachable(self) -> Driver:
        return LibvirtDriver(f"qemu:///system?socket={self.pool_path}/no-such-socket")

    def frozen(self) -> Driver:
        """A daemon that is there and says nothing."""
        path = f"{self.pool_path}/silent"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen(10)
        self._silent.append(sock)
        return LibvirtDriver(f"qemu:///system?socket={path}", Limits(open_deadline=2))

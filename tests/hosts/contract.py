"""The hosts that the driver contract is tested on, and how a test reaches around each driver.

A test speaks to `host.driver`; the other methods of a host are the outside
world: somebody with virsh, the guest itself, a look at the bytes on disk.
"""

from __future__ import annotations

import io
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from hosts.virt.driver import Driver, SerialStream
from hosts.virt.spec import DiskSpec, DomainSpec, FilterSpec, NetworkSpec, NicSpec, Power

KIB = 1024
MIB = 1024 * 1024

# What libvirt's own test driver cannot do. Each line is asserted: the call must
# raise `Unsupported` there, and the tests that need the call run on the other hosts.
GAPS: dict[str, str] = {
    "upload_volume": "virStorageVolUpload is not implemented: no bytes ever reach a volume",
    "write_volume": "for the same reason",
    "download_volume": "virStorageVolDownload is not implemented",
    "grow_volume": "virStorageVolResize is not implemented",
    "ensure_filter": "it has no network filters",
    "delete_filter": "it has no network filters",
    "filters": "it has no network filters",
    "set_password": "virDomainAgentSetResponseTimeout is not implemented",
    "serial_log": "virStorageVolDownload is not implemented, and nothing is written",
    "open_serial": "virDomainOpenConsole is not implemented",
    "open_vnc": "virDomainOpenGraphicsFD is not implemented",
}

# What it can do, but not as a real host does; each has a test that says how it differs.
DIFFERENCES: dict[str, str] = {
    "stats": "it counts nothing: only the power of each guest is known",
    "load": "it tells nothing of memory",
    "reset": "it sends no REBOOT event",
    "define": "it does not look whether a network card's filter is there",
}

# 16-bit code that SeaBIOS loads from the first sector. It arms the ACPI power
# button, writes "ready" to COM1, and then for ever: powers off when the button
# was pressed; echoes what arrives on COM1, except O (power off), R (reset) and
# F (write F without end). Assembled from:
#   xor ax,ax; mov ds,ax; mov dx,602h; mov ax,100h; out dx,ax; mov dx,3f8h; mov si,msg
#   print: lodsb; test al,al; jz loop; out dx,al; jmp print
#   loop: mov dx,600h; in ax,dx; test ah,1; jnz off
#         mov dx,3fdh; in al,dx; test al,1; jz idle; mov dx,3f8h; in al,dx
#         cmp al,'F'; je flood; cmp al,'R'; je reset; cmp al,'O'; je off; out dx,al; jmp loop
#   idle: sti; hlt; jmp loop
#   flood: out dx,al; jmp flood
#   reset: mov dx,0cf9h; mov al,6; out dx,al; jmp reset
#   off: mov dx,604h; mov ax,2000h; out dx,ax; jmp idle
#   msg: db "ready",13,10,0
BOOT_CODE = bytes.fromhex(
    "31c08ed8ba0206b80001efbaf803be557cac84c07403eeebf8ba0006edf6"
    "c401752abafd03eca8017413baf803ec3c46740f3c52740e3c4f7412eeeb"
    "dcfbf4ebd8eeebfdbaf90cb006eeebf8ba0406b80020efebe87265616479"
    "0d0a00"
)
BOOT_IMAGE = BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as `condition()` is true; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class ContractHost:
    """One host with a pool, a network, a filter and a base image, and clean-up for all of it."""

    ready = b"login:"  # what a booted guest has written to its serial port
    is_real = False  # bytes on disk and processes can be looked at

    def __init__(self, driver: Driver, pool_path: str) -> None:
        self.driver = driver
        self.prefix = f"ct{uuid4().hex[:8]}"
        self.pool = f"{self.prefix}-pool"
        self.pool_path = pool_path
        self.network = f"{self.prefix}-net"
        self._guests: list[UUID] = []
        self._filters: list[str] = []
        driver.ensure_pool(self.pool, pool_path)

    # --- making things through the contract ---------------------------------

    def name(self, suffix: str) -> str:
        return f"{self.prefix}-{suffix}"

    def network_spec(self) -> NetworkSpec:
        return NetworkSpec(
            name=self.network,
            bridge=f"v{self.prefix}",
            ipv4_gateway="10.83.0.1/24",
            ipv6_gateway="fd83::1/64",
        )

    def filter_spec(self, suffix: str = "filter", address: str = "10.83.0.7") -> FilterSpec:
        name = f"vps-{self.prefix}-{suffix}"
        if name not in self._filters:
            self._filters.append(name)
        return FilterSpec(
            name=name,
            uuid=uuids.uuid5(uuids.NAMESPACE_DNS, name),
            mac="52:54:00:83:00:07",
            ipv4=(address,),
            ipv6=("fd83:7::/64",),
        )

    def disk(self, name: str) -> DiskSpec:
        """A bootable disk of its own for one guest."""
        image = io.BytesIO(BOOT_IMAGE)
        base = self.name("base")
        self.driver.upload_volume(
            self.pool, base, image, length=MIB, format="raw", capacity_bytes=MIB
        )
        self.driver.create_overlay(self.pool, name, base=base, capacity_bytes=8 * MIB)
        return DiskSpec(pool=self.pool, volume=name, target="vda", format="qcow2")

    def nic(self) -> NicSpec:
        self.driver.ensure_network(self.network_spec())
        spec = self.filter_spec()
        self.driver.ensure_filter(spec)
        return NicSpec(mac=spec.mac, network=self.network, filter_name=spec.name)

    def spec(self, suffix: str = "guest", **changes: Any) -> DomainSpec:
        """A guest as complete as this host can have it; not defined yet."""
        uuid = changes.pop("uuid", None) or uuid4()
        self._guests.append(uuid)
        values: dict[str, Any] = {
            "name": self.name(suffix),
            "vcpus": 1,
            "memory_mib": 32,
            "disks": self._disks(suffix),
            "nics": self._nics(),
            "virt_type": "qemu",
            "title": "a guest",
            "metadata": {"server": "17", "project": "4"},
        }
        return DomainSpec(uuid=uuid, **(values | changes))

    def running(self, suffix: str = "guest") -> UUID:
        """A guest that was started a moment ago."""
        spec = self.spec(suffix)
        self.driver.define(spec)
        self.driver.start(spec.uuid)
        return spec.uuid

    def booted(self) -> UUID:
        """A guest that has finished booting."""
        uuid = self.running()
        self.wait_ready(uuid)
        return uuid

    def forget(self, uuid: UUID) -> None:
        """Leave this guest alone at the end."""
        self._guests.remove(uuid)

    def _disks(self, suffix: str) -> tuple[DiskSpec, ...]:
        return (self.disk(self.name(f"{suffix}-disk")),)

    def _nics(self) -> tuple[NicSpec, ...]:
        return (self.nic(),)

    def power(self, uuid: UUID) -> Power:
        seen = self.driver.domain(uuid)
        return Power.MISSING if seen is None else seen.power

    def wait_power(self, uuid: UUID, power: Power, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while (seen := self.power(uuid)) is not power:
            assert time.monotonic() < end, f"after {seconds} s it is still {seen}"
            time.sleep(0.05)

    def dispose(self) -> None:
        """Take everything off the host again and close the driver."""
        for uuid in self._guests:
            self.driver.destroy(uuid)
            self.driver.undefine(uuid)
        for name in self._filters:
            self.driver.delete_filter(name)
        for volume in self.driver.volumes(self.pool):
            self.driver.delete_volume(self.pool, volume.name)
        self._dispose_rest()
        self.driver.close()

    # --- around the driver, different for each host ---------------------------

    def _dispose_rest(self) -> None:
        """What the contract has no call for."""

    def add_foreign_domain(self, *, running: bool = False) -> UUID:
        """A domain that somebody else made."""
        raise NotImplementedError

    def add_foreign_guest(self, spec: DomainSpec, *, running: bool) -> None:
        """What `spec` says, without mark and filter, made by somebody else to start with the host.

        Where there is QEMU, in the words of somebody else as well: its disk by its file.
        """
        raise NotImplementedError

    def live_filter(self, uuid: UUID) -> str:
        """The filter of the running guest's network card."""
        raise NotImplementedError

    def birth(self, uuid: UUID) -> object:
        """What stays the same as long as a guest is not stopped."""
        raise NotImplementedError

    def undefine_behind_its_back(self, uuid: UUID) -> None:
        """Somebody else takes the definition of a guest away that is off."""
        raise NotImplementedError

    def add_foreign_volume(self, name: str, size: int) -> None:
        """A raw file that somebody else put into the pool."""
        raise NotImplementedError

    def content(self, name: str, length: int) -> bytes:
        """The first `length` bytes of a raw volume."""
        raise NotImplementedError

    def filter_text(self, name: str) -> str:
        """The rules of a filter, in whatever form the host keeps them."""
        raise NotImplementedError

    def add_foreign_filter(self) -> str:
        """A filter that somebody else made; its name."""
        raise NotImplementedError

    def bridge_of(self, network: str) -> str:
        raise NotImplementedError

    def running_vcpus(self, uuid: UUID) -> int:
        """What the running guest has, whatever its definition says."""
        raise NotImplementedError

    def pause(self, uuid: UUID) -> None:
        raise NotImplementedError

    def kill(self, uuid: UUID) -> None:
        """The guest's process dies."""
        raise NotImplementedError

    def press_inside(self, uuid: UUID, what: str) -> None:
        """The guest itself does "poweroff" or "reboot"."""
        raise NotImplementedError

    def small_pool(self) -> str:
        """A pool with no more than 4 MiB of room."""
        raise NotImplementedError

    def wait_ready(self, uuid: UUID) -> None:
        """Return when the guest has booted."""
        raise NotImplementedError

    async def flood(self, stream: SerialStream) -> None:
        """Make the booted guest write to its console without end."""
        raise NotImplementedError

    def starts_with_host(self, pool: str) -> bool:
        """Whether the pool is started when the host boots."""
        raise NotImplementedError

    def identity(self, volume: str) -> object:
        """What stays the same as long as a volume is changed in place."""
        raise NotImplementedError

    def image_info(self, volume: str) -> str:
        """What qemu-img says of a volume, as JSON. Only where `is_real`."""
        raise NotImplementedError

    def leave_traces(self, uuid: UUID) -> None:
        """Give a guest that is off what libvirt keeps beside its definition."""
        raise NotImplementedError

    def restart_daemon(self) -> None:
        """Break every connection to the host for a moment."""
        raise NotImplementedError

    def rules_in_force(self, uuid: UUID) -> str:
        """The filter rules that apply to the running guest now."""
        raise NotImplementedError

    def another_driver(self) -> Driver:
        """A second driver for this host."""
        raise NotImplementedError

    def unreachable(self) -> Driver:
        """A driver for a host of this kind that nothing answers for."""
        raise NotImplementedError

    def frozen(self) -> Driver:
        """A driver for a host that takes calls and never answers."""
        raise NotImplementedError


@dataclass(frozen=True)
class Kind:
    """One way to run the contract's tests."""

    name: str
    marks: tuple[pytest.MarkDecorator, ...]
    gaps: frozenset[str]


KINDS = (
    Kind("fake", (pytest.mark.fake,), frozenset()),
    Kind("fake-file", (pytest.mark.fake,), frozenset()),
    Kind("libvirt-test", (pytest.mark.libvirt,), frozenset(GAPS)),
    Kind("qemu", (pytest.mark.qemu,), frozenset()),
)


def on_hosts_with(*calls: str) -> pytest.MarkDecorator:
    """Run the test on every kind of host that has all of `calls`."""
    return pytest.mark.parametrize(
        "host",
        [
            pytest.param(kind.name, id=kind.name, marks=kind.marks)
            for kind in KINDS
            if not kind.gaps & set(calls)
        ],
        indirect=True,
    )

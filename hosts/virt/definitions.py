"""What the next start of a guest makes it from: definitions read, of guests ours and foreign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt.domains import volume_at
from hosts.virt.hostinfo import is_test_driver, parse
from hosts.virt.spec import DefinitionSeen, DiskFound, NicFound

_KIB_IN = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024,
           "GiB": 1024**2, "G": 1024**2, "TiB": 1024**3, "T": 1024**3}  # fmt: skip
# Devices of which no guest of ours has one.
_DEVICES = ("hostdev", "filesystem", "tpm", "shmem", "nvram")
_OF_DISKS = ("shareable", "encryption", "transient")


def every(connection: Any) -> list[DefinitionSeen]:
    """See `Driver.definitions`. Who goes while they are read is left out."""
    found = []
    for domain in connection.listAllDomains(0):
        try:
            found.append(read(connection, domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def read(connection: Any, domain: Any) -> DefinitionSeen:
    """The definition of one domain."""
    described = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    kind = described.find("os/type")
    return DefinitionSeen(
        uuid=UUID(bytes=domain.UUID()),
        name=domain.name(),
        vcpus=int(described.findtext("vcpu", "1")),
        memory_mib=_memory_mib(described),
        disks=tuple(disks(described, connection)),
        nics=tuple(nics(described)),
        serial=described.find("devices/serial[@type='pty']") is not None,
        screen=_screen(described),
        machine=kind.get("machine", "") if kind is not None else "",
        beyond=tuple(_beyond(connection, domain, described)),
    )


def _memory_mib(described: ET.Element) -> int:
    memory = described.find("memory")
    if memory is None:
        return 0
    return int(int(memory.text or "0") * _KIB_IN.get(memory.get("unit", "KiB"), 1)) // 1024


def disks(described: ET.Element, connection: Any) -> Iterator[DiskFound]:
    """Every disk, and every drive with something in it."""
    for disk in described.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        driver, boot = disk.find("driver"), disk.find("boot")
        if source is None:
            continue  # an empty drive
        yield DiskFound(
            target=target.get("dev", "") if target is not None else "",
            place=_place(source, connection),
            format=driver.get("type", "") if driver is not None else "",
            bus=target.get("bus", "") if target is not None else "",
            device=disk.get("device", "disk"),
            readonly=disk.find("readonly") is not None,
            boot_order=int(boot.get("order", "0")) if boot is not None else None,
        )


def _place(source: ET.Element, connection: Any) -> str:
    if source.get("pool"):
        return f"{source.get('pool')}/{source.get('volume')}"
    if source.get("file"):
        return volume_at(connection, source.get("file", ""))
    return source.get("dev") or source.get("dir") or source.get("name") or ""


def nics(described: ET.Element) -> Iterator[NicFound]:
    """Every network card."""
    for nic in described.iterfind("devices/interface"):
        source, mac = nic.find("source"), nic.find("mac")
        model, reference = nic.find("model"), nic.find("filterref")
        kind = nic.get("type", "")
        yield NicFound(
            mac=mac.get("address", "").lower() if mac is not None else "",
            kind=kind,
            source=source.get(kind, "") if source is not None else "",
            model=model.get("type", "") if model is not None else "",
            filter_name=reference.get("filter", "") if reference is not None else "",
        )


def _screen(described: ET.Element) -> str:
    graphics = described.find("devices/graphics[@type='vnc']")
    if graphics is None:
        return ""
    return "socket" if graphics.find("listen[@type='socket']") is not None else "port"


def _beyond(connection: Any, domain: Any, described: ET.Element) -> Iterator[str]:
    """What a guest of ours cannot have, and what is kept of it beside its definition."""
    yield from (tag for tag in _DEVICES if described.find(f"devices/{tag}") is not None)
    yield from (tag for tag in _OF_DISKS if described.find(f"devices/disk//{tag}") is not None)
    kind = described.find("os/type")
    if described.find("os[@firmware='efi']") is not None or described.find("os/loader") is not None:
        yield "efi"
    if described.find("os/kernel") is not None:
        yield "kernel"
    if kind is not None and kind.get("arch", "x86_64") != "x86_64":
        yield "architecture"
    yield from _kept(connection, domain)


def _kept(connection: Any, domain: Any) -> Iterator[str]:
    if not domain.isPersistent():
        yield "undefined"
    if domain.snapshotNum(0):
        yield "snapshots"
    if not is_test_driver(connection) and domain.listAllCheckpoints(0):
        yield "checkpoints"
    if domain.hasManagedSaveImage(0):
        yield "managed_save"

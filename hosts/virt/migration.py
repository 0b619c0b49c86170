"""Moving a running guest: functions on open connections to both of its hosts.

The panel drives it ("managed, direct" in libvirt's words): it speaks to both
daemons, and only QEMU's own data goes from host to host. So no host holds a
credential for another one. The price is that the panel has to stay: when the
connection that drives the move is lost, both daemons end it by themselves, the
guest goes on where it was, and what had arrived is dropped.

The target knows the guest before it comes, as a definition that is off, with
its filter and its disks. What runs there afterwards has that definition.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt import domains, names, storage
from hosts.virt.errors import InvalidState
from hosts.virt.hostinfo import parse
from hosts.virt.spec import DomainSpec, MoveProgress

FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    # A guest that writes faster than the network carries is slowed down until it fits.
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    # A disk error on the way pauses the guest: better to stay than to arrive broken.
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)
SECRETS_TOO = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
CALLED_OFF_WITHIN = 15.0  # seconds: longer than a host that is silent is listened to
RUNNING_JOBS = (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)


@dataclass(slots=True)
class Move:
    """One move, run in a thread; `at` is looked at from others."""

    spec: DomainSpec
    address: str
    copied: tuple[str, ...]
    bandwidth_mib: int
    at: MoveProgress = field(default_factory=MoveProgress)

    def run(self, source: Any, target: Any) -> None:
        """See `Driver.move`."""
        domain = domains.need_ours(source, self.spec.uuid)
        if not domain.isActive():
            raise InvalidState(f"Domain {domain.name()} is off")
        arriving = domains.need_ours(target, self.spec.uuid)
        if arriving.isActive():
            raise InvalidState(f"Domain {arriving.name()} is not off on its new host")
        described = domain.XMLDesc(SECRETS_TOO)
        files = files_of(target, self.spec)
        domain.migrate3(
            target, self._parameters(described_for(described, self.spec, files)), self._flags()
        )

    def _parameters(self, described: str) -> dict[str, Any]:
        host = f"[{self.address}]" if ":" in self.address else self.address
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: described,
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{host}",
        }
        if _is_literal(self.address):
            # Not on every network of the target: only where the source is told to go.
            parameters[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = self.address
        if self.copied:
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(self.copied)
        if self.bandwidth_mib:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = self.bandwidth_mib
        return parameters

    def _flags(self) -> int:
        # Only what lies above the base: that is on the target already.
        if self.copied:
            return int(FLAGS) | int(libvirt.VIR_MIGRATE_NON_SHARED_INC)
        # libvirt believes only network file systems that it knows to be shared. Safe here: no
        # host caches what guests write (cache=none), and who calls knows that the file is one.
        return int(FLAGS) | int(libvirt.VIR_MIGRATE_UNSAFE)


def _is_literal(address: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(address)
        return True
    return False


def files_of(connection: Any, spec: DomainSpec) -> dict[str, str]:
    """The file of each of its disks, by their targets (vda …). Raises libvirt's error if one is
    missing.
    """
    found = {}
    for disk in spec.disks:
        pool = connection.storagePoolLookupByName(names.object_name(disk.pool))
        found[disk.target] = storage.need_volume(pool, disk.volume).path()
    return found


def described_for(described: str, spec: DomainSpec, files: Mapping[str, str]) -> str:
    """The running guest's own description, with the disks and networks that it finds there.

    Everything that the guest can see stays as it is: libvirt refuses anything else. The disks are
    named by their files: of a volume in a pool, libvirt would not see that it is there already.
    """
    root = parse(described)
    for element in root.iterfind("devices/disk"):
        target = element.find("target")
        file = files[target.get("dev", "")]  # type: ignore[union-attr]
        # The files of this host say nothing about those of another one.
        for stale in [*element.iterfind("backingStore"), *element.iterfind("source")]:
            element.remove(stale)
        element.set("type", "file")
        element.append(ET.Element("source", {"file": file}))
    cards = {nic.mac: nic for nic in spec.nics}
    for element in root.iterfind("devices/interface"):
        nic = cards[element.find("mac").get("address", "")]  # type: ignore[union-attr]
        for stale in [*element.iterfind("source"), *element.iterfind("target")]:
            element.remove(stale)
        kind = "network" if nic.network is not None else "bridge"
        element.set("type", kind)
        element.append(ET.Element("source", {kind: nic.network or nic.bridge or ""}))
    return ET.tostring(root, encoding="unicode")


def progress(connection: Any, uuid: UUID) -> MoveProgress | None:
    """How far it is; None while nothing is on its way."""
    domain = domains.find(connection, uuid)
    figures = domain.jobStats() if domain is not None else {}
    if figures.get("type") not in RUNNING_JOBS:
        return None
    return MoveProgress(
        memory_done_bytes=figures.get("memory_total", 0) - figures.get("memory_remaining", 0),
        memory_bytes=figures.get("memory_total", 0),
        disk_done_bytes=figures.get("disk_total", 0) - figures.get("disk_remaining", 0),
        disk_bytes=figures.get("disk_total", 0),
    )


def call_off(connection: Any, uuid: UUID) -> bool:
    """See `Driver.call_off_move`."""
    domain = domains.find_ours(connection, uuid)
    if domain is None:
        return False
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return False
    return True


def stay(connection: Any, uuid: UUID) -> None:
    """See `Driver.stay`."""
    domain = domains.need_ours(connection, uuid)
    state, _ = domain.state(0)
    if state == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()
    elif not domain.isActive():
        raise InvalidState(f"Domain {domain.name()} is off")

"""Guests: functions on an open connection, and the memory of which look like phantoms.

A daemon that is killed while it starts a guest can come back with a guest that
is "paused, starting up" for ever and has no QEMU; create and destroy of it
hang. Each start passes through that state, so what counts is how long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt import xml
from hosts.virt.errors import (
    AgentUnavailable,
    AlreadyExists,
    ForeignObject,
    HostDegraded,
    InvalidState,
    NotFound,
)
from hosts.virt.hostinfo import is_test_driver, parse
from hosts.virt.spec import DomainSeen, DomainSpec, Power

POWER = {
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: Power.RUNNING,  # on its way to off, not there yet
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: Power.OFF,
    libvirt.VIR_DOMAIN_CRASHED: Power.CRASHED,
}
# Whoever paused it for one of these reasons goes on with it himself.
BUSY_PAUSES = {
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "migrated",
    libvirt.VIR_DOMAIN_PAUSED_SAVE: "saved",
    libvirt.VIR_DOMAIN_PAUSED_DUMP: "dumped",
    libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: "reverted",
    libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT: "snapshotted",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: "migrated",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: "migrated",
}
# Paused at one of the two ends of a move.
MOVING = tuple(reason for reason, doing in BUSY_PAUSES.items() if doing == "migrated")
LEFT = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED)
FORGOTTEN = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN)
NAMES = {"vps": xml.NAMESPACE}
POLL_SECONDS = 0.1


def is_starting(state: int, reason: int) -> bool:
    """True between the start of QEMU and its first instruction, and for a phantom."""
    return (state, reason) == (
        libvirt.VIR_DOMAIN_PAUSED,
        libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
    )


def power_of(state: int, reason: int) -> Power:
    """libvirt's state as ours. A guest that is being started is neither on nor off."""
    return Power.UNKNOWN if is_starting(state, reason) else POWER.get(state, Power.UNKNOWN)


class Phantoms:
    """Since when which guests are starting up, as far as this process has looked."""

    def __init__(self, patience: float = 30.0) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._since: dict[UUID, float] = {}

    def note(self, uuid: UUID, state: int, reason: int) -> bool:
        """Remember what was seen; True if the guest has been starting up for too long."""
        with self._lock:
            if not is_starting(state, reason):
                self._since.pop(uuid, None)
                return False
            since = self._since.setdefault(uuid, time.monotonic())
            return time.monotonic() - since >= self.patience

    def settled(self, domain: Any) -> tuple[int, int]:
        """State and reason once the guest is no longer starting up. Raises `HostDegraded`."""
        uuid = UUID(bytes=domain.UUID())
        while True:
            state, reason = domain.state(0)
            if self.note(uuid, state, reason):
                raise HostDegraded(f"Guest {uuid} is a phantom: it starts up and never gets there")
            if not is_starting(state, reason):
                return state, reason
            time.sleep(POLL_SECONDS)


# --- finding and reading --------------------------------------------------------


def find(connection: Any, uuid: UUID) -> Any | None:
    """The domain or None."""
    try:
        return connection.lookupByUUID(uuid.bytes)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def refuse_foreign(domain: Any) -> None:
    """Raise `ForeignObject` unless the domain carries our metadata."""
    try:
        domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        raise ForeignObject(f"Domain {domain.name()} is not ours") from error


def find_ours(connection: Any, uuid: UUID) -> Any | None:
    """The domain or None. Raises `ForeignObject`."""
    domain = find(connection, uuid)
    if domain is not None:
        refuse_foreign(domain)
    return domain


def need_ours(connection: Any, uuid: UUID) -> Any:
    """The domain. Raises `NotFound`, `ForeignObject`."""
    domain = find_ours(connection, uuid)
    if domain is None:
        raise NotFound(f"No domain {uuid}")
    return domain


def domain_seen(
    domain: Any, state: tuple[int, int], *, autostart: bool, phantoms: Phantoms
) -> DomainSeen:
    """What can be told of one domain."""
    described = parse(domain.XMLDesc(0))
    mark = described.find("metadata/vps:server", NAMES)
    entries = mark.iterfind("vps:entry", NAMES) if mark is not None else ()
    uuid = UUID(bytes=domain.UUID())
    return DomainSeen(
        uuid=uuid,
        name=domain.name(),
        power=power_of(*state),
        ours=mark is not None,
        autostart=autostart,
        phantom=phantoms.note(uuid, *state),
        metadata={entry.get("name", ""): entry.text or "" for entry in entries},
        disks=tuple(_disks(described, domain.connect() if mark is not None else None)),
        moved_away=None if state == FORGOTTEN else state == LEFT,
        between=state[0] == libvirt.VIR_DOMAIN_PAUSED and state[1] in MOVING,
    )


def _disks(described: ET.Element, connection: Any | None) -> Iterable[str]:
    """Of a guest of ours that came from another host, the files are looked up in the pools."""
    for source in described.iterfind("devices/disk/source"):
        if source.get("pool"):
            yield f"{source.get('pool')}/{source.get('volume')}"
        elif connection is not None and source.get("file"):
            yield volume_at(connection, source.get("file", ""))
        else:
            yield source.get("file") or source.get("dev") or source.get("name") or ""


def volume_at(connection: Any, file: str) -> str:
    """ "pool/volume"; the file itself if no pool has it."""
    try:
        volume = connection.storageVolLookupByPath(file)
        return f"{volume.storagePoolLookupByVolume().name()}/{volume.name()}"
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return file


def one(connection: Any, uuid: UUID, phantoms: Phantoms) -> DomainSeen | None:
    """See `Driver.domain`."""
    domain = find(connection, uuid)
    if domain is None:
        return None
    state, reason = domain.state(0)
    autostart = bool(domain.autostart())
    return domain_seen(domain, (state, reason), autostart=autostart, phantoms=phantoms)


def every(connection: Any, phantoms: Phantoms) -> list[DomainSeen]:
    """See `Driver.domains`. States come in one call, autostart in another, names in XML each."""
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    listed = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, nowait)
    only_autostarted = libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART
    autostarted = {domain.UUID() for domain in connection.listAllDomains(only_autostarted)}
    seen = []
    for domain, figures in listed:
        state = (figures.get("state.state", 0), figures.get("state.reason", 0))
        autostart = domain.UUID() in autostarted
        try:
            seen.append(domain_seen(domain, state, autostart=autostart, phantoms=phantoms))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return seen


# --- changing -------------------------------------------------------------------


def define(connection: Any, spec: DomainSpec, phantoms: Phantoms) -> DomainSeen:
    """See `Driver.define`."""
    definition = xml.domain_xml(spec, hypervisor="test" if is_test_driver(connection) else "")
    find_ours(connection, spec.uuid)
    _refuse_taken_name(connection, spec)
    if not is_test_driver(connection):  # it has no filters
        for nic in spec.nics:
            connection.nwfilterLookupByName(nic.filter_name)
    domain = connection.defineXMLFlags(definition, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    state, reason = domain.state(0)
    autostart = bool(domain.autostart())
    return domain_seen(domain, (state, reason), autostart=autostart, phantoms=phantoms)


def _refuse_taken_name(connection: Any, spec: DomainSpec) -> None:
    try:
        holder = connection.lookupByName(spec.name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return
    if holder.UUID() != spec.uuid.bytes:
        raise AlreadyExists(f"The name {spec.name} belongs to domain {holder.UUIDString()}")


UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


def undefine(connection: Any, uuid: UUID) -> bool:
    """See `Driver.undefine`. A running guest would only turn transient: refused."""
    domain = find_ours(connection, uuid)
    if domain is None:
        return False
    if domain.isActive():
        raise InvalidState(f"Domain {domain.name()} is running")
    try:
        domain.undefineFlags(0 if is_test_driver(connection) else UNDEFINE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return False
    return True


def start(connection: Any, uuid: UUID, phantoms: Phantoms) -> None:
    """See `Driver.start`."""
    domain = need_ours(connection, uuid)
    state, reason = phantoms.settled(domain)
    if power_of(state, reason) is Power.RUNNING:
        return
    if state == libvirt.VIR_DOMAIN_PAUSED:
        if reason in BUSY_PAUSES:
            raise InvalidState(f"Domain {domain.name()} is being {BUSY_PAUSES[reason]}")
        domain.resume()
        return
    if state == libvirt.VIR_DOMAIN_CRASHED and domain.isActive():
        domain.destroyFlags(0)
    _refuse_unfiltered(domain)
    try:
        domain.create()
    except libvirt.libvirtError as error:
        # Somebody else may have started it in the same moment.
        lost_race = error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID
        if not (lost_race and domain.isActive()):
            raise


def _refuse_unfiltered(domain: Any) -> None:
    """A card without our filter could use any address: such a guest is not started."""
    for nic in parse(domain.XMLDesc(0)).iterfind("devices/interface"):
        reference = nic.find("filterref")
        if reference is None or not reference.get("filter", "").startswith("vps-"):
            raise InvalidState(f"Domain {domain.name()} has a network card without our filter")


def destroy(connection: Any, uuid: UUID, phantoms: Phantoms) -> None:
    """See `Driver.destroy`. A frozen QEMU takes libvirt some ten seconds to kill."""
    domain = find_ours(connection, uuid)
    if domain is None:
        return
    phantoms.settled(domain)
    try:
        domain.destroyFlags(0)
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        if code == libvirt.VIR_ERR_NO_DOMAIN:
            return
        if code != libvirt.VIR_ERR_OPERATION_INVALID or domain.isActive():
            raise


def shutdown(connection: Any, uuid: UUID, phantoms: Phantoms) -> None:
    """See `Driver.shutdown`."""
    domain = need_ours(connection, uuid)
    phantoms.settled(domain)
    if domain.isActive():
        acpi = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        domain.shutdownFlags(0 if is_test_driver(connection) else acpi)


def reboot(connection: Any, uuid: UUID, phantoms: Phantoms) -> None:
    """See `Driver.reboot`."""
    domain = _need_running(connection, uuid, phantoms)
    domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)


def reset(connection: Any, uuid: UUID, phantoms: Phantoms) -> None:
    """See `Driver.reset`."""
    _need_running(connection, uuid, phantoms).reset(0)


def _need_running(connection: Any, uuid: UUID, phantoms: Phantoms) -> Any:
    domain = need_ours(connection, uuid)
    phantoms.settled(domain)
    if not domain.isActive():
        raise InvalidState(f"Domain {domain.name()} is off")
    return domain


AGENT_SECONDS = 5


def set_password(connection: Any, uuid: UUID, user: str, password: str, phantoms: Phantoms) -> None:
    """See `Driver.set_password`."""
    domain = need_ours(connection, uuid)
    phantoms.settled(domain)
    if not domain.isActive():
        raise AgentUnavailable(f"Domain {domain.name()} is off")
    domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
    domain.setUserPassword(user, password, 0)

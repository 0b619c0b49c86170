"""Guests of somebody else that become ours while they run, and the way back.

The mark comes first and goes last, so that it tells whether there is anything
to undo. The definition is replaced as a whole; what runs keeps its QEMU, and
only its network card is changed: it gets our filter.
"""

from __future__ import annotations

import copy
import json
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt import definitions, domains, seriallog, xml
from hosts.virt.errors import InvalidState, NotFound
from hosts.virt.hostinfo import is_test_driver, parse
from hosts.virt.linked import CHANGE, SLOW, Linked
from hosts.virt.spec import DefinitionSeen, DomainSpec

MARK = libvirt.VIR_DOMAIN_METADATA_ELEMENT


class AdoptCalls(Linked):
    """See `Driver`."""

    def definitions(self) -> list[DefinitionSeen]:
        return self._ask(definitions.every, timeout=CHANGE)

    def describe(self, uuid: UUID) -> str:
        return self._ask(lambda c: describe(c, uuid))

    def take_over(self, spec: DomainSpec) -> None:
        def work(connection: Any) -> None:
            seriallog.ensure_directory(connection)
            take_over(connection, spec)

        self._do(work, timeout=SLOW, guest=spec.uuid)

    def let_go(self, uuid: UUID, described: str) -> None:
        self._do(lambda c: let_go(c, uuid, described), timeout=SLOW, guest=uuid)


def describe(connection: Any, uuid: UUID) -> str:
    """See `Driver.describe`."""
    domain = _need(connection, uuid)
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return json.dumps({"xml": domain.XMLDesc(flags), "autostart": bool(domain.autostart())})


def take_over(connection: Any, spec: DomainSpec) -> None:
    """See `Driver.take_over`."""
    domain = _need(connection, spec.uuid)
    _refuse_another(connection, domain, spec)
    definition = xml.domain_xml(spec, hypervisor="test" if is_test_driver(connection) else "")
    for nic in spec.nics:
        connection.nwfilterLookupByName(nic.filter_name)
    is_on = bool(domain.isActive())
    where = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if is_on else 0)
    domain.setMetadata(MARK, xml.mark_xml(spec.metadata), "vps", xml.NAMESPACE, where)
    domain.setAutostart(False)
    if is_on:
        for nic in spec.nics:
            _guard(domain, nic.mac, _our_reference(nic.filter_name))
    connection.defineXMLFlags(definition, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)


def let_go(connection: Any, uuid: UUID, described: str) -> None:
    """See `Driver.let_go`."""
    domain = domains.find(connection, uuid)
    if domain is None or not _is_marked(domain):
        return
    before = json.loads(described)
    is_on = bool(domain.isActive())
    if is_on:
        for nic in parse(before["xml"]).iterfind("devices/interface"):
            mac = nic.find("mac")
            if mac is not None:
                _guard(domain, mac.get("address", "").lower(), nic.find("filterref"))
    domain.setAutostart(before["autostart"])
    connection.defineXMLFlags(before["xml"], 0)
    if is_on:
        domain.setMetadata(MARK, None, None, xml.NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _need(connection: Any, uuid: UUID) -> Any:
    domain = domains.find(connection, uuid)
    if domain is None:
        raise NotFound(f"No domain {uuid}")
    return domain


def _is_marked(domain: Any) -> bool:
    try:
        domain.metadata(MARK, xml.NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        return False
    return True


def _refuse_another(connection: Any, domain: Any, spec: DomainSpec) -> None:
    """Raise `InvalidState` unless what runs, or would run, has the disks and cards of `spec`."""
    if domain.name() != spec.name:
        raise InvalidState(f"Domain {spec.uuid} is called {domain.name()}, not {spec.name}")
    if not domain.isPersistent():
        raise InvalidState(f"Domain {spec.name} ends when it stops: it is not defined")
    described = parse(domain.XMLDesc(0))
    has = {disk.place for disk in definitions.disks(described, connection)}
    wanted = {f"{disk.pool}/{disk.volume}" for disk in spec.disks}
    if has != wanted:
        raise InvalidState(f"Domain {spec.name} has the disks {sorted(has)}, not {sorted(wanted)}")
    macs = sorted(nic.mac for nic in definitions.nics(described))
    if macs != sorted(nic.mac for nic in spec.nics):
        raise InvalidState(f"Domain {spec.name} has the network cards {macs}")


def _our_reference(filter_name: str) -> ET.Element:
    return ET.Element("filterref", {"filter": filter_name})


def _guard(domain: Any, mac: str, reference: ET.Element | None) -> None:
    """The running guest's card has that filter, or none, and is otherwise as it was."""
    for nic in parse(domain.XMLDesc(0)).iterfind("devices/interface"):
        address, current = nic.find("mac"), nic.find("filterref")
        if address is None or address.get("address", "").lower() != mac:
            continue
        if _same(current, reference):
            continue
        if current is not None:
            nic.remove(current)
        if reference is not None:
            nic.append(copy.deepcopy(reference))
        changed = ET.tostring(nic, encoding="unicode")
        domain.updateDeviceFlags(changed, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _same(one: ET.Element | None, other: ET.Element | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.get("filter") == other.get("filter") and len(one) == len(other)

"""What a host is, and its pools and networks: functions on an open connection.

They run inside `HostLink.call`; libvirt's own errors are translated there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt
import structlog

from hosts.virt import xml
from hosts.virt.errors import AlreadyExists
from hosts.virt.spec import HostSeen, NetworkSpec, PoolSeen

log = structlog.get_logger(__name__)

MIB = 1024**2


def parse(document: str) -> ET.Element:
    """A document that libvirt wrote. It has no DTD, so nothing can be expanded or fetched."""
    return ET.fromstring(document)  # noqa: S314


def is_test_driver(connection: Any) -> bool:
    """libvirt's own, in this process: it refuses flags that every real host has."""
    return bool(connection.getType().lower() == "test")


# --- the host -----------------------------------------------------------------


def probe(connection: Any) -> HostSeen:
    """All facts of a host, in a dozen quick calls."""
    capabilities = parse(connection.getCapabilities())
    virt_type, reason = virt_type_of(connection, capabilities)
    _, _, cpus, *_ = connection.getInfo()
    return HostSeen(
        uuid=_host_uuid(capabilities, connection.getHostname()),
        hostname=connection.getHostname(),
        libvirt_version=version_text(connection.getLibVersion()),
        hypervisor_version=version_text(connection.getVersion()),
        architecture=capabilities.findtext("host/cpu/arch", ""),
        cpu_model=capabilities.findtext("host/cpu/model", ""),
        cpus=cpus,
        memory_mib=_memory_mib(connection),
        virt_type=virt_type,
        virt_reason=reason,
        pools=tuple(pool_seen(pool) for pool in connection.listAllStoragePools(0)),
        networks=tuple(sorted(network.name() for network in connection.listAllNetworks(0))),
        numa_cells=max(1, len(capabilities.findall("host/topology/cells/cell"))),
        filters=_has_filters(connection),
        bridges=_bridges(connection),
    )


def _has_filters(connection: Any) -> bool:
    with suppress(libvirt.libvirtError):
        connection.listAllNWFilters(0)
        return True
    return False


def _bridges(connection: Any) -> tuple[str, ...] | None:
    """The machine's own bridges; None where libvirt was built without the interface driver."""
    with suppress(libvirt.libvirtError):
        every = connection.listAllInterfaces(0)
        described = [parse(interface.XMLDesc(0)) for interface in every]
        return tuple(
            sorted(one.get("name", "") for one in described if one.get("type") == "bridge")
        )
    return None


def version_text(number: int) -> str:
    """libvirt's 9000000 as "9.0.0"."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _host_uuid(capabilities: ET.Element, hostname: str) -> UUID:
    text = capabilities.findtext("host/uuid")
    # Only libvirt's test driver has none; it needs some fixed one.
    return UUID(text) if text else UUID(bytes=hostname.encode()[:16].ljust(16, b"\0"))


def _memory_mib(connection: Any) -> int:
    # getInfo counts the memory of the NUMA cells, which leaves out what was plugged in later.
    with suppress(libvirt.libvirtError):
        total_kib = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)["total"]
        return int(total_kib) // 1024
    return int(connection.getInfo()[1])


def virt_type_of(connection: Any, capabilities: ET.Element) -> tuple[str, str]:
    """ "kvm" or "qemu", and one sentence that says why.

    KVM needs both: libvirt offers it (there is a /dev/kvm), and the processor
    shows vmx or svm. A para-virtual machine has the first without the second,
    and ordinary guests hang on it.
    """
    domains = capabilities.iterfind("guest/arch[@name='x86_64']/domain")
    offered = any(domain.get("type") == "kvm" for domain in domains)
    flag = _virtualization_flag(connection, capabilities)
    if offered and flag:
        return "kvm", f"KVM: the processor shows {flag} and libvirt offers it."
    if offered:
        return "qemu", (
            "Emulation (TCG): libvirt offers KVM, but the processor shows neither vmx nor svm; "
            "guests would hang. Hide /dev/kvm from libvirtd, or it may probe QEMU at every call."
        )
    if flag:
        return "qemu", (
            f"Emulation (TCG): the processor shows {flag}, but libvirt offers no KVM; "
            "load the kvm module and see that /dev/kvm exists."
        )
    return "qemu", "Emulation (TCG): the processor shows neither vmx nor svm."


def _virtualization_flag(connection: Any, capabilities: ET.Element) -> str:
    """vmx, svm, or nothing. A model implies features: libvirt spells them out."""
    cpu = capabilities.find("host/cpu")
    if cpu is None:
        return ""
    names = {feature.get("name") for feature in cpu.iterfind("feature")}
    with suppress(libvirt.libvirtError):
        expand = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        full = parse(connection.baselineCPU([ET.tostring(cpu, encoding="unicode")], expand))
        names |= {feature.get("name") for feature in full.iterfind("feature")}
    return next((flag for flag in ("vmx", "svm") if flag in names), "")


# --- pools --------------------------------------------------------------------


def pool_seen(pool: Any) -> PoolSeen:
    """Its figures as of its last refresh."""
    _state, capacity, _allocation, available = pool.info()
    described = parse(pool.XMLDesc(0))
    return PoolSeen(
        name=pool.name(),
        type=described.get("type", ""),
        path=described.findtext("target/path", ""),
        capacity_bytes=capacity,
        available_bytes=available,
        active=bool(pool.isActive()),
    )


def refresh(pool: Any) -> None:
    """Look at the files again. Refused while an upload runs: then the last look must do."""
    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        log.debug("pool_not_refreshed", pool=pool.name(), error=str(error))


def pool_facts(connection: Any, name: str) -> PoolSeen:
    """Fresh figures of one pool."""
    pool = connection.storagePoolLookupByName(name)
    refresh(pool)
    return pool_seen(pool)


def ensure_pool(connection: Any, name: str, path: str) -> PoolSeen:
    """See `Driver.ensure_pool`."""
    definition = xml.pool_xml(name, path)
    try:
        pool = connection.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        pool = connection.storagePoolDefineXML(definition, 0)
    existing = pool_seen(pool)
    if existing.type != "dir" or existing.path.rstrip("/") != path.rstrip("/"):
        raise AlreadyExists(f"Pool {name} is of type {existing.type} at {existing.path}")
    if not pool.isActive():
        # Makes the directory; one that is there already is left as it is.
        build = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD
        pool.create(0 if is_test_driver(connection) else build)
    if not pool.autostart():
        pool.setAutostart(1)
    return pool_facts(connection, name)


# --- networks -----------------------------------------------------------------


def ensure_network(connection: Any, spec: NetworkSpec) -> NetworkSpec:
    """See `Driver.ensure_network`."""
    definition = xml.network_xml(spec)
    try:
        network = connection.networkLookupByName(spec.name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
            raise
        network = connection.networkDefineXML(definition)
    if not network.isActive():
        network.create()
    if not network.autostart():
        network.setAutostart(1)
    return network_seen(network)


def network_seen(network: Any) -> NetworkSpec:
    """Its bridge and the first address of each family that the host has on it; "" for none."""
    described = parse(network.XMLDesc(0))
    gateways = {"ipv4": "", "ipv6": ""}
    for address in described.iterfind("ip"):
        family = address.get("family", "ipv4")
        prefix = address.get("prefix") or address.get("netmask", "")
        gateways[family] = gateways[family] or f"{address.get('address')}/{prefix}"
    bridge = described.find("bridge")
    return NetworkSpec(
        name=network.name(),
        bridge=bridge.get("name", "") if bridge is not None else "",
        ipv4_gateway=gateways["ipv4"],
        ipv6_gateway=gateways["ipv6"],
    )

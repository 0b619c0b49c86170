"""Counters of guests and of the host itself: functions on an open connection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

import libvirt

from hosts.virt.domains import power_of
from hosts.virt.spec import DomainStats, HostLoad

GROUPS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
KIB_OF_MIB = 1024


def stats(connection: Any) -> list[DomainStats]:
    """See `Driver.stats`."""
    flags = (
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
    )
    return [
        _domain_stats(UUID(bytes=domain.UUID()), figures)
        for domain, figures in connection.getAllDomainStats(GROUPS, flags)
    ]


def _domain_stats(uuid: UUID, figures: dict[str, Any]) -> DomainStats:
    memory_kib = figures.get("balloon.current")
    sums = _sums(figures)
    return DomainStats(
        uuid=uuid,
        power=power_of(figures.get("state.state", 0), figures.get("state.reason", 0)),
        # Without control groups only the virtual processors' own threads are known.
        cpu_time_ns=figures.get("cpu.time", sums.get("vcpu.time")),
        cpu_steal_ns=sums.get("vcpu.delay"),
        memory_mib=None if memory_kib is None else memory_kib // KIB_OF_MIB,
        disk_read_bytes=sums.get("block.rd.bytes"),
        disk_write_bytes=sums.get("block.wr.bytes"),
        disk_read_requests=sums.get("block.rd.reqs"),
        disk_write_requests=sums.get("block.wr.reqs"),
        net_rx_bytes=sums.get("net.rx.bytes"),
        net_tx_bytes=sums.get("net.tx.bytes"),
        net_rx_packets=sums.get("net.rx.pkts"),
        net_tx_packets=sums.get("net.tx.pkts"),
    )


def _sums(figures: dict[str, Any]) -> dict[str, int]:
    """ "block.0.rd.bytes" and its like, added over all devices: "block.rd.bytes"."""
    sums: dict[str, int] = {}
    for key, value in figures.items():
        group, _, rest = key.partition(".")
        device, _, counter = rest.partition(".")
        if device.isdigit() and isinstance(value, int):
            name = f"{group}.{counter}"
            sums[name] = sums.get(name, 0) + value
    return sums


def load(connection: Any) -> HostLoad:
    """See `Driver.load`."""
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    with suppress(libvirt.libvirtError):
        cpu = connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
    with suppress(libvirt.libvirtError):
        memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    idle = cpu.get("idle")
    return HostLoad(
        cpu_busy_ns=None if idle is None else cpu.get("kernel", 0) + cpu.get("user", 0),
        cpu_idle_ns=None if idle is None else idle + cpu.get("iowait", 0),
        memory_total_mib=_mib(memory.get("total")),
        memory_used_mib=_mib(_used(memory)),
    )


def _used(memory: dict[str, int]) -> int | None:
    """What programs hold: caches go when somebody needs the room."""
    if "total" not in memory or "free" not in memory:
        return None
    return memory["total"] - memory["free"] - memory.get("buffers", 0) - memory.get("cached", 0)


def _mib(kib: int | None) -> int | None:
    return None if kib is None else max(0, kib // KIB_OF_MIB)

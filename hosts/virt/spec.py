"""Plain data in and out of a host: what to build, and what was seen.

Everything here is frozen and knows neither Django nor libvirt, so it can be
made in a test, sent over a queue and compared with `==`.
Sizes carry their unit in the name; times are aware UTC datetimes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


class Power(enum.StrEnum):
    """What a host says of a guest."""

    RUNNING = "running"
    OFF = "off"
    PAUSED = "paused"
    CRASHED = "crashed"
    UNKNOWN = "unknown"
    MISSING = "missing"


class EventKind(enum.StrEnum):
    """What a host tells without being asked."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    STOPPED = "stopped"
    REBOOTED = "rebooted"
    PAUSED = "paused"
    RESUMED = "resumed"
    CRASHED = "crashed"
    IO_ERROR = "io_error"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


# --- in ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One disk of a guest. `format` is always explicit: libvirt must never probe."""

    pool: str
    volume: str
    target: str  # vda, vdb …; sda for a CD-ROM
    format: str  # "qcow2" or "raw"
    readonly: bool = False
    boot_order: int | None = None
    cdrom: bool = False  # on SATA, which every firmware boots from


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One network card. `filter_name` must exist on the host before the guest is defined."""

    mac: str
    network: str | None = None  # a libvirt network …
    bridge: str | None = None  # … or a bridge of the host; exactly one of both
    filter_name: str = ""


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """A guest, decided to the last detail: `xml.py` only writes it down."""

    uuid: UUID
    name: str
    vcpus: int
    memory_mib: int
    disks: tuple[DiskSpec, ...]
    nics: tuple[NicSpec, ...]
    virt_type: str  # "kvm" or "qemu" (TCG)
    title: str = ""  # customer text: one text node, never markup
    metadata: Mapping[str, str] = field(default_factory=dict)  # our ids: server, project


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """The addresses that one network card may use; everything else is dropped.

    `ipv4` are addresses, `ipv6` are networks in CIDR form ("2001:db8:1::/64").
    """

    name: str
    uuid: UUID
    mac: str
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A libvirt network of our own: a bridge with static addresses and no DHCP."""

    name: str
    bridge: str
    ipv4_gateway: str  # "10.80.0.1/24"
    ipv6_gateway: str  # "fd80::1/48"


# --- out --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DomainSeen:
    """A guest as the host showed it. `ours` is true only if it carries our metadata."""

    uuid: UUID
    name: str
    power: Power
    ours: bool
    autostart: bool = False
    phantom: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[str, ...] = ()  # "pool/volume" of each disk
    moved_away: bool | None = False  # off since it went on elsewhere; None: why is forgotten
    between: bool = False  # paused because it is leaving, or arriving


@dataclass(frozen=True, slots=True)
class DiskFound:
    """One disk or drive of a definition. `place` is "pool/volume", or a file that no pool has."""

    target: str
    place: str
    format: str
    bus: str = "virtio"
    device: str = "disk"  # disk, cdrom, floppy, lun
    readonly: bool = False
    boot_order: int | None = None


@dataclass(frozen=True, slots=True)
class NicFound:
    """One network card of a definition; `kind` says what `source` is: network, bridge …"""

    mac: str
    kind: str
    source: str
    model: str = "virtio"
    filter_name: str = ""


@dataclass(frozen=True, slots=True)
class DefinitionSeen:
    """What the next start of a guest, ours or foreign, makes it from.

    `beyond` names what it has, or is kept of it, that no guest of ours can
    have: "hostdev", "efi", "snapshots" …; `screen` is "socket", "port" or "".
    """

    uuid: UUID
    name: str
    vcpus: int
    memory_mib: int
    disks: tuple[DiskFound, ...] = ()
    nics: tuple[NicFound, ...] = ()
    serial: bool = True
    screen: str = "socket"
    machine: str = "q35"
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainStats:
    """Counters of one guest since it started; `None` where the host cannot tell at once."""

    uuid: UUID
    power: Power
    cpu_time_ns: int | None = None
    cpu_steal_ns: int | None = None  # ready to run, but the host's CPUs were busy
    memory_mib: int | None = None
    disk_read_bytes: int | None = None
    disk_write_bytes: int | None = None
    disk_read_requests: int | None = None
    disk_write_requests: int | None = None
    net_rx_bytes: int | None = None
    net_tx_bytes: int | None = None
    net_rx_packets: int | None = None
    net_tx_packets: int | None = None


@dataclass(frozen=True, slots=True)
class HostLoad:
    """Counters of a host over all its CPUs since it booted, and its memory.

    `None` where it cannot tell.
    """

    cpu_busy_ns: int | None = None
    cpu_idle_ns: int | None = None
    memory_total_mib: int | None = None
    memory_used_mib: int | None = None  # by programs; caches are not counted
    swap_used_mib: int | None = None
    load_average: float | None = None  # how many ran or waited for a CPU, over the last minute


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    pool: str
    name: str
    capacity_bytes: int
    allocation_bytes: int
    format: str
    file_bytes: int = 0  # what `download_volume` sends
    base: str = ""  # the file that it stands on


@dataclass(frozen=True, slots=True)
class PoolSeen:
    name: str
    type: str  # "dir", "logical" …
    path: str
    capacity_bytes: int
    available_bytes: int
    active: bool


@dataclass(frozen=True, slots=True)
class HostSeen:
    """The answer to a probe."""

    uuid: UUID
    hostname: str
    libvirt_version: str
    hypervisor_version: str
    architecture: str
    cpu_model: str
    cpus: int
    memory_mib: int
    virt_type: str  # "kvm" or "qemu"
    virt_reason: str  # one sentence: why KVM, or why not
    pools: tuple[PoolSeen, ...]
    networks: tuple[str, ...]
    numa_cells: int = 1
    filters: bool = True  # network filters are supported
    bridges: tuple[str, ...] | None = None  # bridges of the machine; None: it cannot tell


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """Something that a host told us. `uuid` is None for events of the connection itself."""

    kind: EventKind
    uuid: UUID | None
    at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """How far a guest on its way to another host is. Memory that changes is sent again."""

    memory_done_bytes: int = 0
    memory_bytes: int = 0
    disk_done_bytes: int = 0
    disk_bytes: int = 0

"""How a machine becomes a host that is sold from.

`enroll_host` asks the machine what it is, prepares a storage pool and, if
asked, a network on it, and writes the rows. It may be repeated: facts are
read again, what staff decided (limits, accepting) stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from hosts.errors import EnrolError
from hosts.models import GIB, Host, HostStatus, Location, StoragePool
from hosts.virt.driver import Driver
from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from hosts.virt.spec import HostSeen, NetworkSpec, PoolSeen

DEFAULT_POOL = "vpspanel"
DEFAULT_POOL_PATH = "/var/lib/libvirt/images/vpspanel"


@dataclass(frozen=True, slots=True)
class Share:
    """What of a machine may be sold. Reserves left at None are `reserve_of` the whole.

    What is left after the reserve is sold as often as the overcommit says.
    """

    vcpus_per_cpu: float = 4.0
    memory_reserve_mib: int | None = None
    disk_reserve_gib: int | None = None
    memory_overcommit: float = 1.0
    disk_overcommit: float = 1.0

    def vcpus(self, cpus: int) -> int:
        """vCPUs that may be sold."""
        return int(cpus * self.vcpus_per_cpu)

    def memory_mib(self, memory_mib: int) -> int:
        """MiB of memory that may be sold."""
        rest = _rest(memory_mib, self.memory_reserve_mib, at_least=1024)
        return int(rest * self.memory_overcommit)

    def disk_gib(self, available_gib: int) -> int:
        """GiB of disk that may be sold."""
        rest = _rest(available_gib, self.disk_reserve_gib, at_least=2)
        return int(rest * self.disk_overcommit)


def share_again(host: Host) -> None:
    """Set what may be sold by the host's overcommit and reserve; the row is not saved."""
    share = Share(
        vcpus_per_cpu=host.cpu_overcommit,
        memory_reserve_mib=host.memory_reserve_mib,
        memory_overcommit=host.memory_overcommit,
    )
    host.vcpus_limit = share.vcpus(host.cpus)
    host.memory_limit_mib = share.memory_mib(host.memory_mib)


def share_pool_again(pool: StoragePool) -> None:
    """The same for the disks of a pool."""
    share = Share(disk_reserve_gib=pool.reserve_gib, disk_overcommit=pool.overcommit)
    pool.limit_gib = share.disk_gib(pool.capacity_gib)


def reserve_of(whole: int, at_least: int) -> int:
    """What the machine itself keeps: a tenth, or `at_least`, but never more than a half."""
    return min(max(whole // 10, at_least), whole // 2)


def _rest(whole: int, reserve: int | None, *, at_least: int) -> int:
    return max(0, whole - (reserve_of(whole, at_least) if reserve is None else reserve))


def enroll_host(
    *,
    name: str,
    location: Location,
    uri: str,
    pool_name: str = DEFAULT_POOL,
    pool_path: str = DEFAULT_POOL_PATH,
    network: NetworkSpec | None = None,
    bridge: str = "",
    share: Share | None = None,
) -> Host:
    """The host `name`, with its facts, one storage pool and what may be sold of both.

    Guests get on `network`, which is made on the machine if it is missing, or
    on `bridge`, which is the operator's. Raises `EnrolError` with what to do.
    """
    if network is not None and bridge:
        raise EnrolError("A host has either a network of ours or a bridge of its own, not both.")
    driver, seen = _probe(uri)
    _refuse_double(name, uri, seen)
    try:
        pool = driver.ensure_pool(pool_name, pool_path)
        if network is not None:
            driver.ensure_network(network)
    except VirtError as error:
        raise EnrolError(f"{name} answers, but could not be prepared: {error}") from error
    wires = {"network": network.name if network else "", "bridge": bridge}
    try:
        return _write(name, location, uri, seen, pool, wires, share or Share())
    except IntegrityError as error:
        _refuse_double(name, uri, seen)
        raise EnrolError(f"{name} was enrolled by somebody else in this moment.") from error


def prepare_network(uri: str, wanted: NetworkSpec) -> NetworkSpec:
    """The network of that name on the machine, made as `wanted` if there is none.

    Raises `EnrolError`, also for one that has no addresses of both families:
    it is somebody else's.
    """
    driver, _ = _probe(uri)
    try:
        found = driver.ensure_network(wanted)
    except VirtError as error:
        raise EnrolError(f"The network {wanted.name} cannot be made: {error}") from error
    if not (found.ipv4_gateway and found.ipv6_gateway):
        raise EnrolError(
            f"There is a network {found.name} on the machine already, without an IPv4 and an IPv6 "
            f"address of its own. Remove it (virsh net-destroy {found.name}; "
            f"virsh net-undefine {found.name}) if nothing needs it."
        )
    return found


def probe_host(uri: str) -> HostSeen:
    """What the machine at `uri` says of itself. Changes nothing. Raises `EnrolError`."""
    return _probe(uri)[1]


def _probe(uri: str) -> tuple[Driver, HostSeen]:
    try:
        driver = driver_for(uri)
        return driver, driver.probe()
    except ValueError as error:
        raise EnrolError(str(error)) from error
    except VirtError as error:
        raise EnrolError(
            f"No libvirt answers at {uri}: {error}. "
            "Is libvirtd running there, and may this user connect to it?"
        ) from error


def _refuse_double(name: str, uri: str, seen: HostSeen) -> None:
    """One machine under two names would be sold twice; one name for two machines loses servers."""
    same = Host.objects.filter(host_uuid=seen.uuid).exclude(name=name).first()
    if same is not None:
        raise EnrolError(
            f"This machine is enrolled already, as {same.name} ({same.uri}). "
            "A second name for it would sell its memory and disks twice."
        )
    other = Host.objects.filter(uri=uri).exclude(name=name).first()
    if other is not None:
        raise EnrolError(
            f"{uri} is the address of {other.name}, but another machine answers there now "
            f"(host UUID {seen.uuid}, known is {other.host_uuid}). Check which machine that is."
        )
    known = Host.objects.filter(name=name).first()
    if known is not None and known.host_uuid not in (None, seen.uuid):
        raise EnrolError(
            f"{name} is another machine: its host UUID is {known.host_uuid}, "
            f"but {uri} says {seen.uuid}. Choose another name for a new machine."
        )


@transaction.atomic
def _write(
    name: str,
    location: Location,
    uri: str,
    seen: HostSeen,
    pool: PoolSeen,
    wires: dict[str, str],
    share: Share,
) -> Host:
    host = Host.objects.select_for_update().filter(name=name).first()
    if host is None:
        host = Host(name=name, location=location, uri=uri, **wires)
        host.cpu_overcommit = share.vcpus_per_cpu
        host.memory_overcommit = share.memory_overcommit
        host.memory_reserve_mib = share.memory_reserve_mib
        host.cpus, host.memory_mib = seen.cpus, seen.memory_mib
        share_again(host)
        host.save()
    elif host.location_id != location.pk:
        raise EnrolError(f"{name} stands in {host.location}; its servers cannot move with a click.")
    record_facts(host, seen)
    Host.objects.filter(pk=host.pk).update(uri=uri, **wires)
    available_gib = pool.available_bytes // GIB
    StoragePool.objects.get_or_create(
        host=host,
        name=pool.name,
        defaults={
            "type": pool.type,
            "path": pool.path,
            "capacity_gib": available_gib,
            "overcommit": share.disk_overcommit,
            "reserve_gib": share.disk_reserve_gib,
            "limit_gib": share.disk_gib(available_gib),
        },
    )
    host.refresh_from_db()
    return host


def record_facts(host: Host, seen: HostSeen) -> None:
    """Write what a probe just said: the machine answers and is what it says it is."""
    now = timezone.now()
    Host.objects.filter(pk=host.pk).update(
        host_uuid=seen.uuid,
        hostname=seen.hostname[:255],
        architecture=seen.architecture[:16],
        cpu_model=seen.cpu_model[:200],
        cpus=seen.cpus,
        memory_mib=seen.memory_mib,
        virt_type=seen.virt_type,
        virt_reason=seen.virt_reason[:500],
        libvirt_version=seen.libvirt_version[:32],
        hypervisor_version=seen.hypervisor_version[:64],
        seen_at=now,
    )
    Host.objects.filter(pk=host.pk).exclude(status=HostStatus.REACHABLE).update(
        status=HostStatus.REACHABLE, status_since=now, status_reason=""
    )

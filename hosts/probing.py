"""Looking a machine over before it becomes a host: steps that staff can watch.

Each step says what was found; what is missing comes with the command that
cures it. Nothing is changed on the machine.
"""

from __future__ import annotations

import asyncio
import enum
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from hosts.models import GIB, Host
from hosts.virt import ssh
from hosts.virt.errors import HostUnreachable, VirtError, WrongHost
from hosts.virt.registry import driver_for
from hosts.virt.spec import DomainSeen, HostSeen
from hosts.virt.tunnel import run

OLDEST_LIBVIRT, OLDEST_QEMU = (8, 0), (6, 0)  # extended L2 entries, statistics without waiting
LEAST_MEMORY_MIB = 512
SKEW_SECONDS = 2.0


class Outcome(enum.StrEnum):
    """How a step ended."""

    GOOD = "good"
    NOTE = "note"  # works, but staff should know
    MISSING = "missing"  # stands in the way


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. `cure` is a command, "" if there is nothing to do."""

    title: str
    outcome: Outcome
    found: str
    cure: str = ""

    def as_dict(self) -> dict[str, str]:
        """For a JSON column."""
        return {**asdict(self), "outcome": self.outcome.value}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the host shall be like."""

    name: str
    uri: str
    pool_name: str
    network: str = ""
    bridge: str = ""


def missing(steps: list[Step]) -> list[Step]:
    """What stands in the way."""
    return [step for step in steps if step.outcome is Outcome.MISSING]


def look_over(plan: Plan) -> Iterator[Step]:
    """The steps, one after the other; the last one says so if the machine cannot be reached."""
    began = time.monotonic()
    try:
        driver = driver_for(plan.uri)
        seen = driver.probe()
        guests = driver.domains()
    except (ValueError, VirtError) as error:
        yield _unreached(plan.uri, error)
        return
    took = time.monotonic() - began
    yield Step("Reach it", Outcome.GOOD, f"{seen.hostname} answers in {took:.1f} s")
    yield _identity(plan, seen)
    yield _versions(seen)
    yield _processor(seen)
    yield _virtualization(seen)
    yield _memory(seen)
    yield _storage(plan, seen)
    yield _network(plan, seen)
    yield _filters(seen)
    yield _clock(plan.uri)
    yield _guests(guests)


def _unreached(uri: str, error: Exception) -> Step:
    if isinstance(error, WrongHost):
        cure = "compare the fingerprint on the machine: ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub"
    elif not isinstance(error, HostUnreachable):
        cure = ""
    elif "permission denied" in str(error).lower():
        cure = "add the panel's key (manage.py host_add --key) to ~/.ssh/authorized_keys there"
    elif ssh.is_ssh(uri):
        cure = "apt-get install libvirt-daemon-system qemu-system-x86 && systemctl start libvirtd"
    else:
        cure = "systemctl start libvirtd, and add this user to the group libvirt"
    return Step("Reach it", Outcome.MISSING, str(error), cure)


def _identity(plan: Plan, seen: HostSeen) -> Step:
    title = "Which machine it is"
    same = Host.objects.filter(host_uuid=seen.uuid).exclude(name=plan.name).first()
    if same is not None:
        return Step(
            title,
            Outcome.MISSING,
            f"Host UUID {seen.uuid} is enrolled already, as {same.name} ({same.uri}).",
            "a copied machine needs a host_uuid of its own in /etc/libvirt/libvirtd.conf",
        )
    known = Host.objects.filter(name=plan.name).values_list("host_uuid", flat=True).first()
    if known not in (None, seen.uuid):
        found = f"{plan.name} has host UUID {known}, but {seen.uuid} answers."
        return Step(title, Outcome.MISSING, found, "choose another name for another machine")
    return Step(title, Outcome.GOOD, f"host UUID {seen.uuid}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _versions(seen: HostSeen) -> Step:
    found = f"libvirt {seen.libvirt_version}, QEMU {seen.hypervisor_version}"
    simulated = seen.libvirt_version == "0.0.0"
    old = (
        _version(seen.libvirt_version) < OLDEST_LIBVIRT
        or _version(seen.hypervisor_version) < OLDEST_QEMU
    )
    if old and not simulated:
        return Step(
            "Versions",
            Outcome.MISSING,
            f"{found}: libvirt 8.0 and QEMU 6.0 are the oldest that do",
            "apt-get install libvirt-daemon-system qemu-system-x86, from a newer release",
        )
    return Step("Versions", Outcome.GOOD, found)


def _processor(seen: HostSeen) -> Step:
    cells = "1 NUMA cell" if seen.numa_cells == 1 else f"{seen.numa_cells} NUMA cells"
    model = seen.cpu_model or "unknown model"
    found = f"{seen.cpus} CPUs, {model}, {seen.architecture}, {cells}"
    return Step("Processor", Outcome.GOOD, found)


def _virtualization(seen: HostSeen) -> Step:
    if seen.virt_type == "kvm":
        return Step("Virtualisation", Outcome.GOOD, seen.virt_reason)
    cure = (
        "modprobe kvm_intel || modprobe kvm_amd"
        if "load the kvm module" in seen.virt_reason
        else ""
    )
    return Step("Virtualisation", Outcome.NOTE, seen.virt_reason, cure)


def _memory(seen: HostSeen) -> Step:
    found = f"{seen.memory_mib} MiB"
    if seen.memory_mib < LEAST_MEMORY_MIB:
        return Step("Memory", Outcome.MISSING, f"{found}: nothing is left to sell")
    return Step("Memory", Outcome.GOOD, found)


def _storage(plan: Plan, seen: HostSeen) -> Step:
    found = ", ".join(
        f"{pool.name} ({pool.type}, {pool.available_bytes / GIB:.0f} GiB free"
        f"{'' if pool.active else ', not started'})"
        for pool in seen.pools
    )
    ours = next((pool for pool in seen.pools if pool.name == plan.pool_name), None)
    if ours is None:
        will = f"{plan.pool_name} will be made"
        return Step("Storage", Outcome.GOOD, f"{found}; {will}" if found else will)
    if ours.type != "dir":
        return Step(
            "Storage",
            Outcome.MISSING,
            f"{found}: disks are sold from directory pools so far",
            f"choose another pool name than {plan.pool_name}",
        )
    return Step("Storage", Outcome.GOOD, found)


def _network(plan: Plan, seen: HostSeen) -> Step:
    bridges = "cannot be told" if seen.bridges is None else ", ".join(seen.bridges) or "none"
    found = f"networks: {', '.join(seen.networks) or 'none'}; bridges: {bridges}"
    if not (plan.network or plan.bridge):
        cure = "give a bridge of the machine, or a network that the panel makes"
        return Step("Network", Outcome.MISSING, f"{found}; guests would have none", cure)
    if plan.bridge and seen.bridges is not None and plan.bridge not in seen.bridges:
        return Step(
            "Network",
            Outcome.MISSING,
            f"{found}; there is no bridge {plan.bridge}",
            f"ip link add {plan.bridge} type bridge; ip link set {plan.bridge} up",
        )
    if plan.network and plan.network not in seen.networks:
        found = f"{found}; {plan.network} will be made"
    return Step("Network", Outcome.GOOD, found)


def _filters(seen: HostSeen) -> Step:
    if seen.filters:
        return Step("Network filters", Outcome.GOOD, "supported: guests use their addresses only")
    return Step(
        "Network filters",
        Outcome.MISSING,
        "libvirt has no network filters: guests could take each other's addresses",
        "apt-get install libvirt-daemon-config-nwfilter ebtables nftables",
    )


def _clock(uri: str) -> Step:
    if not ssh.is_ssh(uri):
        local = "the clock of this machine" if "+" not in uri else "cannot be told over TLS"
        return Step("Clock", Outcome.GOOD, local)
    try:
        before = time.time()
        there = float(asyncio.run(run(uri, "date +%s.%N")))
        after = time.time()
    except (VirtError, ValueError) as error:
        return Step("Clock", Outcome.NOTE, f"cannot be told: {error}")
    # It was read at some time in between: only what lies outside is certain.
    skew = min(there - before, 0) + max(there - after, 0)
    if abs(skew) > SKEW_SECONDS:
        found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the panel's"
        return Step("Clock", Outcome.NOTE, found, "timedatectl set-ntp true")
    return Step("Clock", Outcome.GOOD, f"within {SKEW_SECONDS:g} s of the panel's")


def _guests(guests: list[DomainSeen]) -> Step:
    foreign = [guest.name for guest in guests if not guest.ours]
    ours = len(guests) - len(foreign)
    if foreign:
        names = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
        found = f"{len(foreign)} that the panel did not make and leaves alone: {names}"
        return Step("Guests", Outcome.NOTE, found)
    return Step("Guests", Outcome.GOOD, f"{ours} of ours, no other")

"""Whether a foreign guest can be taken over, and what stands in the way. Pure.

A guest is looked at by whoever looks at hosts (`audit_look.py`); what was seen
of it is kept as JSON with its `Difference`, so that a page can show it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from hosts.models import GIB, Host
from hosts.virt import names
from hosts.virt.spec import DefinitionSeen, DiskFound, DomainSeen, NicFound, Power
from vpspanel.servers.audit_look import Look
from vpspanel.servers.models import ServerType

RESERVED = ("vps-", "img-", ".")  # how names of our own volumes begin
_BEYOND = {
    "hostdev": "It has a device of the host (PCI or USB passthrough), which would not go with it.",
    "filesystem": "It shares a directory with the host, which a server cannot.",
    "tpm": "It has a TPM, which a server does not have.",
    "shmem": "It shares memory with the host, which a server cannot.",
    "nvram": "It has an NVRAM device, which a server does not have.",
    "shareable": "Its disk may be used by several guests at once, which a server's may not.",
    "encryption": "Its disk is encrypted by the host, which a server's is not.",
    "transient": "What it writes to its disk is thrown away when it stops.",
    "efi": "It boots by UEFI; servers boot by BIOS, so it would not start again.",
    "kernel": "It boots a kernel from the host; a server boots from its own disk.",
    "architecture": "Its processor is not x86_64.",
    "undefined": "It vanishes when it stops. Define it first: virsh dumpxml, virsh define.",
    "snapshots": "It has libvirt snapshots. Delete them first: virsh snapshot-delete.",
    "checkpoints": "It has libvirt checkpoints. Delete them first: virsh checkpoint-delete.",
    "managed_save": "It has a saved state. Start it once, or virsh managedsave-remove.",
}


@dataclass(frozen=True, slots=True)
class Guest:
    """A foreign guest as it was seen. The disk's facts are those of its first disk."""

    definition: DefinitionSeen
    power: str
    disk_bytes: int = 0
    base: str = ""  # the file that its disk stands on
    shared_with: tuple[str, ...] = ()  # the guests that are defined with its disk as well

    @property
    def disk(self) -> DiskFound | None:
        """The first disk; drives are none."""
        disks = [disk for disk in self.definition.disks if disk.device in ("disk", "lun")]
        return disks[0] if disks else None

    @property
    def disk_gib(self) -> int:
        """Whole GiB that hold its disk."""
        return -(-self.disk_bytes // GIB)


def guest_of(look: Look, domain: DomainSeen) -> Guest | None:
    """What the look shows of it; None if it was defined a moment ago."""
    definition = look.definitions.get(domain.uuid)
    if definition is None:
        return None
    guest = Guest(definition, domain.power.value)
    if guest.disk is None:
        return guest
    place = guest.disk.place
    pool, _, name = place.partition("/")
    volume = next((one for one in look.volumes.get(pool, []) if one.name == name), None)
    others = [
        one.name
        for one in look.definitions.values()
        if one.uuid != domain.uuid and any(disk.place == place for disk in one.disks)
    ]
    return Guest(
        definition,
        domain.power.value,
        disk_bytes=volume.capacity_bytes if volume else 0,
        base=volume.base if volume else "",
        shared_with=tuple(others),
    )


def facts_of(look: Look, domain: DomainSeen) -> dict[str, Any]:
    """The same as JSON; empty if nothing is known."""
    guest = guest_of(look, domain)
    if guest is None:
        return {}
    facts = asdict(guest)
    facts["definition"]["uuid"] = str(domain.uuid)
    return facts


def guest_from(facts: Mapping[str, Any]) -> Guest | None:
    """The guest that `facts_of` wrote down."""
    if not facts:
        return None
    told = dict(facts["definition"])
    definition = DefinitionSeen(
        **told
        | {
            "uuid": UUID(told["uuid"]),
            "disks": tuple(DiskFound(**disk) for disk in told["disks"]),
            "nics": tuple(NicFound(**nic) for nic in told["nics"]),
            "beyond": tuple(told["beyond"]),
        }
    )
    shared = tuple(facts["shared_with"])
    return Guest(**dict(facts) | {"definition": definition, "shared_with": shared})


# --- what stands in the way ---------------------------------------------------------


def obstacles(guest: Guest, host: Host, pools: Collection[str]) -> list[str]:
    """Why it cannot be taken over as it is, each with what to do; empty if it can.

    `pools` are the names of the host's storage pools that the panel knows.
    """
    found = [_BEYOND.get(word, f"It has something unknown: {word}.") for word in
             guest.definition.beyond]  # fmt: skip
    if guest.power not in (Power.RUNNING, Power.OFF):
        found.append(f"It is {guest.power}. Start it, or shut it down, first.")
    if not _is_name(guest.definition.name, names.object_name):
        found.append("Its name has characters that are no name here: virsh domrename, while off.")
    return [*found, *_of_disks(guest, pools), *_of_cards(guest, host)]


def _of_disks(guest: Guest, pools: Collection[str]) -> Iterator[str]:
    name = guest.definition.name
    drives = [one for one in guest.definition.disks if one.device not in ("disk", "lun")]
    for drive in drives:
        yield (
            f"There is a medium in its drive {drive.target}. Eject it: "
            f"virsh change-media {name} {drive.target} --eject --live --config."
        )
    count = len(guest.definition.disks) - len(drives)
    disk = guest.disk
    if disk is None or count != 1:
        yield f"It has {count} disks; a server has one."
        return
    if disk.device != "disk" or disk.bus != "virtio":
        yield f"Its disk {disk.target} is not a virtio disk, so its system may not find it again."
    if disk.readonly:
        yield f"Its disk {disk.target} is read-only."
    yield from _of_volume(guest, disk, pools)


def _of_volume(guest: Guest, disk: DiskFound, pools: Collection[str]) -> Iterator[str]:
    name = guest.definition.name
    pool, _, volume = disk.place.partition("/")
    if pool not in pools:
        yield f"Its disk {disk.place} lies in no storage pool that the panel has on this host."
        return
    if not _is_name(volume, names.volume_name) or volume.startswith(RESERVED):
        yield f"Its disk is called {volume}, which is kept for the panel's own or is no name here."
    if disk.format != "qcow2":
        yield (
            f"Its disk is {disk.format or 'of no stated format'}, not qcow2. While it runs, "
            f"virsh blockcopy {name} {disk.target} --format qcow2 --pivot makes one of it."
        )
    if guest.base:
        yield (
            f"Its disk stands on {guest.base}. While it runs, "
            f"virsh blockpull {name} {disk.target} --wait makes it stand alone."
        )
    if guest.shared_with:
        yield f"Its disk is also that of {', '.join(guest.shared_with)}."
    if not guest.disk_bytes:
        yield f"The size of its disk {volume} is not known."


def _of_cards(guest: Guest, host: Host) -> Iterator[str]:
    cards = guest.definition.nics
    if len(cards) != 1:
        yield f"It has {len(cards)} network cards; a server has one."
        return
    (card,) = cards
    if card.model != "virtio":
        yield "Its network card is not virtio, so its system may not find it again."
    if not _is_name(card.mac, names.mac_address):
        yield f"Its network card has no usable MAC address: {card.mac}."
    wanted = ("network", host.network) if host.network else ("bridge", host.bridge)
    if (card.kind, card.source) != wanted:
        yield (
            f"Its network card is on the {card.kind} {card.source or '?'}; servers of this host "
            f"are on the {' '.join(wanted)}."
        )


def _is_name(value: str, check: Any) -> bool:
    try:
        check(value)
    except ValueError:
        return False
    return True


def notes(guest: Guest) -> list[str]:
    """What will be different, and from when on."""
    found = []
    if not guest.definition.serial:
        found.append("It has no serial console until its next start.")
    if not guest.definition.screen:
        found.append("It has no screen until its next start.")
    if guest.definition.screen == "port":
        found.append("Its VNC listens on a port of the host until its next start.")
    if "q35" not in guest.definition.machine:
        found.append(
            f"It is a {guest.definition.machine} and a q35 from its next start on: names of "
            "network cards may change, so its system should find the card by its MAC address."
        )
    return found


def unfit(plan: ServerType, guest: Guest) -> str:
    """Why the plan is too small for it, in one sentence; "" if it is not."""
    lacks = []
    if plan.vcpus < guest.definition.vcpus:
        lacks.append(f"{guest.definition.vcpus} vCPUs (the plan: {plan.vcpus})")
    if plan.memory_mib < guest.definition.memory_mib:
        lacks.append(f"{guest.definition.memory_mib} MiB of memory (the plan: {plan.memory_mib})")
    if plan.disk_gib < guest.disk_gib:
        lacks.append(f"{guest.disk_gib} GiB of disk (the plan: {plan.disk_gib})")
    return f"It has {', '.join(lacks)}." if lacks else ""

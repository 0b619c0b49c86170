"""Whether the next start of a guest makes what the records say.

What runs is looked at elsewhere: it keeps its old definition until it stops.
"""

from __future__ import annotations

from collections.abc import Iterator

from hosts.models import Host
from hosts.virt.spec import DefinitionSeen, DiskFound, DiskSpec, DomainSpec, NicFound, NicSpec
from vpspanel.servers.blueprint import Blueprint
from vpspanel.servers.models import Server

# Kept beside a definition, so defining it again would not take it away.
_BESIDE = frozenset({"snapshots", "checkpoints", "managed_save"})
_SCREENS = {"": "no screen", "port": "a screen on a port of the host"}


def wrong_definition(server: Server, host: Host, seen: DefinitionSeen) -> str:
    """In what it differs from the records; "" if it does not.

    While a rescue system is wanted or was started, it may be defined with that.
    """
    blueprint = Blueprint(server, host)
    wrong = list(differences(blueprint.domain(), seen))
    if wrong and (server.rescue_enabled or server.in_rescue):
        wrong = list(differences(blueprint.domain(rescue=True), seen)) and wrong
    return ", ".join(wrong)


def differences(spec: DomainSpec, seen: DefinitionSeen) -> Iterator[str]:
    """What a definition has instead of what `spec` says."""
    if seen.vcpus != spec.vcpus:
        yield f"{seen.vcpus} vCPUs instead of {spec.vcpus}"
    if seen.memory_mib != spec.memory_mib:
        yield f"{seen.memory_mib} MiB of memory instead of {spec.memory_mib}"
    yield from _of_disks(spec, seen)
    yield from _of_cards(spec, seen)
    if not seen.serial:
        yield "no serial port"
    if seen.screen in _SCREENS:
        yield _SCREENS[seen.screen]
    if "q35" not in seen.machine:
        yield f"the machine {seen.machine}"
    yield from (f"what no server has: {word}" for word in seen.beyond if word not in _BESIDE)


def _of_disks(spec: DomainSpec, seen: DefinitionSeen) -> Iterator[str]:
    found = {disk.target: disk for disk in seen.disks}
    for disk in spec.disks:
        there = found.pop(disk.target, None)
        if there is None:
            yield f"no disk {disk.target}"
        else:
            yield from _of_disk(disk, there)
    yield from (f"another disk {disk.target} ({disk.place})" for disk in found.values())


def _of_disk(disk: DiskSpec, there: DiskFound) -> Iterator[str]:
    place = f"{disk.pool}/{disk.volume}"
    if there.place != place:
        yield f"the disk {there.place} instead of {place}"
    if there.format != disk.format:
        yield f"{disk.target} read as {there.format or 'anything'} instead of {disk.format}"
    if there.boot_order != disk.boot_order:
        yield f"another boot order of {disk.target}"
    if (there.bus, there.device, there.readonly) != ("virtio", "disk", disk.readonly):
        yield f"another kind of disk as {disk.target}"


def _of_cards(spec: DomainSpec, seen: DefinitionSeen) -> Iterator[str]:
    if len(seen.nics) != len(spec.nics):
        yield f"{len(seen.nics)} network cards instead of {len(spec.nics)}"
        return
    for card, there in zip(spec.nics, seen.nics, strict=True):
        yield from _of_card(card, there)


def _of_card(card: NicSpec, there: NicFound) -> Iterator[str]:
    kind = "network" if card.network is not None else "bridge"
    source = card.network or card.bridge
    if there.mac != card.mac.lower():
        yield f"the MAC address {there.mac} instead of {card.mac}"
    if (there.kind, there.source) != (kind, source):
        yield f"a card on the {there.kind} {there.source} instead of the {kind} {source}"
    if there.filter_name != card.filter_name:
        yield f"the filter {there.filter_name or '(none)'} instead of {card.filter_name}"
    if there.model != "virtio":
        yield f"a network card {there.model}"

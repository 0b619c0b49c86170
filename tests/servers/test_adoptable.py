"""What stands in the way of taking a guest over: one sentence each, which says what to do."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

import pytest

from hosts.models import GIB, Host
from hosts.virt.spec import DefinitionSeen, DiskFound, NicFound
from vpspanel.servers.adoptable import Guest, guest_from, notes, obstacles, unfit
from vpspanel.servers.models import ServerType

DISK = DiskFound("vda", "vpspanel/old.qcow2", "qcow2")
CARD = NicFound("52:54:00:12:34:56", "network", "vpspanel")
HOST = Host(name="kvm1", network="vpspanel")
GUEST = Guest(DefinitionSeen(uuid4(), "old", 2, 2048, (DISK,), (CARD,)), "running", 10 * GIB)


def why_not(guest: Guest, host: Host = HOST) -> list[str]:
    return obstacles(guest, host, ["vpspanel"])


def with_disk(**changes: Any) -> Guest:
    return defined(disks=(replace(DISK, **changes),))


def with_card(**changes: Any) -> Guest:
    return defined(nics=(replace(CARD, **changes),))


def defined(**changes: Any) -> Guest:
    return replace(GUEST, definition=replace(GUEST.definition, **changes))


def test_one_disk_one_card_in_our_places_can_be_taken_over() -> None:
    assert why_not(GUEST) == []
    assert why_not(replace(GUEST, power="off")) == []
    bridged = with_card(kind="bridge", source="br0")
    assert why_not(bridged, Host(name="kvm2", bridge="br0")) == []


CASES = {
    "paused": (replace(GUEST, power="paused"), "It is paused"),
    "phantom": (replace(GUEST, power="unknown"), "It is unknown"),
    "name": (defined(name="my guest"), "virsh domrename"),
    "no disk": (defined(disks=()), "It has 0 disks"),
    "two disks": (defined(disks=(DISK, replace(DISK, target="vdb"))), "It has 2 disks"),
    "medium": (
        defined(disks=(DISK, DiskFound("sda", "/iso/a.iso", "raw", "sata", "cdrom"))),
        "virsh change-media old sda --eject",
    ),
    "sata": (with_disk(bus="sata", target="sda"), "not a virtio disk"),
    "lun": (with_disk(device="lun"), "not a virtio disk"),
    "read-only": (with_disk(readonly=True), "read-only"),
    "file": (with_disk(place="/srv/old.qcow2"), "lies in no storage pool"),
    "pool": (with_disk(place="iso/old.qcow2"), "lies in no storage pool"),
    "ours": (with_disk(place=f"vpspanel/vps-{uuid4()}-1.qcow2"), "kept for the panel's own"),
    "volume": (with_disk(place="vpspanel/my disk"), "no name here"),
    "raw": (with_disk(format="raw"), "virsh blockcopy old vda --format qcow2"),
    "backing": (replace(GUEST, base="/srv/base.qcow2"), "virsh blockpull old vda"),
    "shared": (replace(GUEST, shared_with=("twin",)), "also that of twin"),
    "size": (replace(GUEST, disk_bytes=0), "size of its disk old.qcow2 is not known"),
    "no card": (defined(nics=()), "It has 0 network cards"),
    "two cards": (defined(nics=(CARD, CARD)), "It has 2 network cards"),
    "e1000": (with_card(model="e1000"), "not virtio"),
    "mac": (with_card(mac="53:54:00:12:34:56"), "no usable MAC"),
    "network": (with_card(source="default"), "servers of this host are on the network vpspanel"),
    "user": (with_card(kind="user", source=""), "on the user ?"),
    "passthrough": (defined(beyond=("hostdev",)), "passthrough"),
    "efi": (defined(beyond=("efi",)), "UEFI"),
    "snapshots": (defined(beyond=("snapshots",)), "virsh snapshot-delete"),
    "transient": (defined(beyond=("undefined",)), "virsh define"),
    "unknown": (defined(beyond=("teleport",)), "unknown: teleport"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stands_in_the_way(name: str) -> None:
    guest, sentence = CASES[name]
    found = why_not(guest)
    assert len(found) == 1, found
    assert sentence in found[0]


def test_what_changes_is_said() -> None:
    assert notes(GUEST) == []
    old = defined(serial=False, screen="", machine="pc-i440fx-7.2")
    assert [note.split()[:4] for note in notes(old)] == [
        ["It", "has", "no", "serial"],
        ["It", "has", "no", "screen"],
        ["It", "is", "a", "pc-i440fx-7.2"],
    ]
    assert "port" in notes(defined(screen="port"))[0]


def test_a_plan_is_at_least_as_large() -> None:
    plan = ServerType(vcpus=2, memory_mib=2048, disk_gib=10)
    assert unfit(plan, GUEST) == ""
    larger = replace(defined(vcpus=4, memory_mib=2049), disk_bytes=10 * GIB + 1)
    assert unfit(plan, larger) == (
        "It has 4 vCPUs (the plan: 2), 2049 MiB of memory (the plan: 2048), "
        "11 GiB of disk (the plan: 10)."
    )


def test_what_was_seen_survives_being_kept() -> None:
    facts = asdict(GUEST)
    facts["definition"]["uuid"] = str(GUEST.definition.uuid)
    assert guest_from(json.loads(json.dumps(facts))) == GUEST
    assert guest_from({}) is None

"""A definition is compared with the records in everything that the panel decides."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from hosts.virt.spec import DefinitionSeen, DiskFound, DiskSpec, DomainSpec, NicFound, NicSpec
from tests.audit import assert_clean
from tests.servers.damage import give_it_more_cpus
from tests.world import World, work
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.audit_definitions import differences
from vpspanel.servers.rescue import enable_rescue

SPEC = DomainSpec(
    uuid4(),
    "vps-1",
    2,
    2048,
    (DiskSpec("p", "d", "vda", "qcow2", boot_order=1), DiskSpec("p", "s", "vdb", "raw", True)),
    (NicSpec("52:54:00:00:00:01", network="n", filter_name="vps-1"),),
    "kvm",
)
DISK = DiskFound("vda", "p/d", "qcow2", boot_order=1)
SEED = DiskFound("vdb", "p/s", "raw", readonly=True)
CARD = NicFound("52:54:00:00:00:01", "network", "n", filter_name="vps-1")
SEEN = DefinitionSeen(SPEC.uuid, "vps-1", 2, 2048, (DISK, SEED), (CARD,), machine="pc-q35-7.2")

CASES = {
    "1 vCPUs instead of 2": {"vcpus": 1},
    "4096 MiB of memory instead of 2048": {"memory_mib": 4096},
    "no disk vdb": {"disks": (DISK,)},
    "another disk vdc (p/x)": {"disks": (DISK, SEED, DiskFound("vdc", "p/x", "raw"))},
    "the disk p/x instead of p/d": {"disks": (replace(DISK, place="p/x"), SEED)},
    "vda read as anything instead of qcow2": {"disks": (replace(DISK, format=""), SEED)},
    "another boot order of vda": {"disks": (replace(DISK, boot_order=None), SEED)},
    "another kind of disk as vdb": {"disks": (DISK, replace(SEED, readonly=False))},
    "0 network cards instead of 1": {"nics": ()},
    "the MAC address x instead of 52:54:00:00:00:01": {"nics": (replace(CARD, mac="x"),)},
    "a card on the bridge b instead of the network n": {
        "nics": (replace(CARD, kind="bridge", source="b"),)
    },
    "the filter (none) instead of vps-1": {"nics": (replace(CARD, filter_name=""),)},
    "a network card e1000": {"nics": (replace(CARD, model="e1000"),)},
    "no serial port": {"serial": False},
    "no screen": {"screen": ""},
    "a screen on a port of the host": {"screen": "port"},
    "the machine pc-i440fx-7.2": {"machine": "pc-i440fx-7.2"},
    "what no server has: hostdev": {"beyond": ("hostdev",)},
}


def test_what_was_defined_is_as_recorded() -> None:
    assert list(differences(SPEC, SEEN)) == []
    assert list(differences(SPEC, replace(SEEN, beyond=("snapshots", "managed_save")))) == []


@pytest.mark.parametrize("sentence", CASES)
def test_each_difference_is_named(sentence: str) -> None:
    assert list(differences(SPEC, replace(SEEN, **CASES[sentence]))) == [sentence]  # type: ignore[arg-type]


def test_a_rescue_is_no_difference(world: World) -> None:
    server = world.running()
    enable_rescue(world.alice, server.pk)
    work()
    assert_clean()
    services.reset(world.alice, server.pk)
    work()
    assert_clean()
    give_it_more_cpus(world, server)
    assert audit().codes() == {"domain_definition"}
    services.reset(world.alice, server.pk)
    work()
    assert_clean()

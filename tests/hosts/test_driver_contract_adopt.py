"""The driver contract: guests of somebody else, which become ours without being stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hosts.virt.errors import ForeignObject, InvalidState, NotFound
from hosts.virt.spec import DefinitionSeen, DiskFound, DomainSpec, NicFound, Power
from tests.hosts.contract import ContractHost, on_hosts_with


def definition_of(host: ContractHost, spec: DomainSpec) -> DefinitionSeen:
    (found,) = [one for one in host.driver.definitions() if one.uuid == spec.uuid]
    return found


@on_hosts_with("define", "upload_volume", "ensure_filter")
def test_definitions_say_what_was_defined(host: ContractHost) -> None:
    spec = host.spec()
    spec = replace(spec, vcpus=2, disks=(replace(spec.disks[0], boot_order=1),))
    host.driver.define(spec)
    found = definition_of(host, spec)
    (disk,), (nic,) = spec.disks, spec.nics
    assert found == DefinitionSeen(
        uuid=spec.uuid,
        name=spec.name,
        vcpus=2,
        memory_mib=32,
        disks=(DiskFound("vda", f"{disk.pool}/{disk.volume}", "qcow2", boot_order=1),),
        nics=(NicFound(nic.mac, "network", host.network, filter_name=nic.filter_name),),
        machine=found.machine,
    )
    assert "q35" in found.machine


@on_hosts_with("define")
def test_definitions_are_those_of_the_next_start(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    host.driver.start(spec.uuid)
    host.driver.define(replace(spec, vcpus=2))
    assert definition_of(host, spec).vcpus == 2
    assert host.running_vcpus(spec.uuid) == 1


def foreign(host: ContractHost, *, running: bool) -> DomainSpec:
    """A guest that somebody else has made, as it is to be once it is ours."""
    spec = host.spec("theirs")
    host.add_foreign_guest(spec, running=running)
    return replace(spec, vcpus=2, metadata={"server": "9"}, disks=(spec.disks[0],))


@on_hosts_with("define", "upload_volume", "ensure_filter")
def test_a_running_guest_is_taken_over_and_let_go(host: ContractHost) -> None:
    spec = foreign(host, running=True)
    before, described = definition_of(host, spec), host.driver.describe(spec.uuid)
    born = host.birth(spec.uuid)
    for _ in range(2):
        host.driver.take_over(spec)
        seen = host.driver.domain(spec.uuid)
        assert seen is not None
        assert (seen.ours, seen.autostart, seen.power) == (True, False, Power.RUNNING)
        assert seen.metadata == {"server": "9"}
        assert seen.disks == (f"{spec.disks[0].pool}/{spec.disks[0].volume}",)
        assert host.live_filter(spec.uuid) == spec.nics[0].filter_name
    assert definition_of(host, spec).vcpus == 2
    for _ in range(2):
        host.driver.let_go(spec.uuid, described)
        seen = host.driver.domain(spec.uuid)
        assert seen is not None
        assert (seen.ours, seen.autostart, seen.power) == (False, True, Power.RUNNING)
        assert host.live_filter(spec.uuid) == ""
    assert definition_of(host, spec) == before
    assert host.birth(spec.uuid) == born, "it was not stopped"
    with pytest.raises(ForeignObject):
        host.driver.destroy(spec.uuid)
    host.driver.take_over(spec)


@on_hosts_with("define", "upload_volume", "ensure_filter")
def test_one_that_is_off_is_taken_over_and_starts_as_ours(host: ContractHost) -> None:
    spec = foreign(host, running=False)
    described = host.driver.describe(spec.uuid)
    host.driver.take_over(spec)
    host.driver.let_go(spec.uuid, described)
    seen = host.driver.domain(spec.uuid)
    assert seen is not None
    assert not seen.ours
    host.driver.take_over(spec)
    host.driver.start(spec.uuid)
    host.wait_ready(spec.uuid)
    assert host.running_vcpus(spec.uuid) == 2


@on_hosts_with("define", "upload_volume", "ensure_filter", "open_serial")
def test_the_console_of_a_guest_that_was_taken_over(host: ContractHost) -> None:
    spec = foreign(host, running=True)
    host.driver.take_over(spec)

    async def look() -> None:
        stream = await host.driver.open_serial(spec.uuid)
        await stream.close()

    asyncio.run(look())


@on_hosts_with("define", "upload_volume", "ensure_filter")
def test_another_guest_than_was_looked_at_is_refused_and_left_alone(host: ContractHost) -> None:
    spec = foreign(host, running=True)
    others = [
        replace(spec, name=f"{spec.name}-2"),
        replace(spec, disks=(replace(spec.disks[0], volume="another"),)),
        replace(spec, nics=(replace(spec.nics[0], mac="52:54:00:83:00:08"),)),
    ]
    for other in others:
        with pytest.raises(InvalidState):
            host.driver.take_over(other)
    missing = replace(spec, nics=(replace(spec.nics[0], filter_name="vps-missing"),))
    with pytest.raises(NotFound):
        host.driver.take_over(missing)
    seen = host.driver.domain(spec.uuid)
    assert seen is not None
    assert not seen.ours
    assert host.live_filter(spec.uuid) == ""
    host.driver.let_go(spec.uuid, host.driver.describe(spec.uuid))
    host.driver.take_over(spec)  # so that it can be cleared away

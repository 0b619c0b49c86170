"""The driver contract: what would break without a volume."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hosts.virt.errors import NotFound
from hosts.virt.spec import DiskSpec
from tests.hosts.contract import MIB, ContractHost, on_hosts_with


@on_hosts_with("volume_users", "create_overlay")
def test_a_volume_has_those_that_stand_on_it_as_users(host: ContractHost) -> None:
    host.add_foreign_volume("base", MIB)
    host.add_foreign_volume("other", MIB)
    assert host.driver.volume_users(host.pool, "base") == []
    for disk in ("disk-2", "disk-1"):
        host.driver.create_overlay(host.pool, disk, base="base", capacity_bytes=MIB)
    assert host.driver.volume_users(host.pool, "base") == ["disk-1", "disk-2"]
    assert host.driver.volume_users(host.pool, "other") == []
    host.driver.delete_volume(host.pool, "disk-1")
    assert host.driver.volume_users(host.pool, "base") == ["disk-2"]


@on_hosts_with("volume_users")
def test_what_is_not_there_has_no_users(host: ContractHost) -> None:
    assert host.driver.volume_users(host.pool, "nothing") == []
    with pytest.raises(NotFound):
        host.driver.volume_users("no-such-pool", "nothing")
    with pytest.raises(ValueError, match="volume"):
        host.driver.volume_users(host.pool, "../outside")


@on_hosts_with("volume_users", "define")
def test_a_guest_uses_what_it_is_defined_with(host: ContractHost) -> None:
    host.add_foreign_volume("cd", MIB)
    spec = host.spec()
    disc = DiskSpec(pool=host.pool, volume="cd", target="vdb", format="raw", readonly=True)
    host.driver.define(replace(spec, disks=(*spec.disks, disc)))
    assert host.driver.volume_users(host.pool, "cd") == [spec.name]
    host.driver.define(spec)
    assert host.driver.volume_users(host.pool, "cd") == []


@on_hosts_with("volume_users", "define", "start")
def test_a_guest_uses_what_it_was_started_with(host: ContractHost) -> None:
    host.add_foreign_volume("cd", MIB)
    spec = host.spec()
    disc = DiskSpec(pool=host.pool, volume="cd", target="vdb", format="raw", readonly=True)
    host.driver.define(replace(spec, disks=(*spec.disks, disc)))
    host.driver.start(spec.uuid)
    host.driver.define(spec)
    assert host.driver.volume_users(host.pool, "cd") == [spec.name], "until its next start"
    host.driver.destroy(spec.uuid)
    assert host.driver.volume_users(host.pool, "cd") == []


@on_hosts_with("volume_users", "upload_volume", "define", "start")
def test_what_is_below_the_disk_of_a_running_guest_is_used(host: ContractHost) -> None:
    """Also when its own file is in no pool any more, or in another."""
    uuid = host.running()
    seen = host.driver.domain(uuid)
    assert seen is not None
    assert set(host.driver.volume_users(host.pool, host.name("base"))) >= {
        seen.disks[0].partition("/")[2]
    }


@on_hosts_with("volume_users", "upload_volume", "define", "ensure_filter")
def test_guests_of_somebody_else_count(host: ContractHost) -> None:
    spec = host.spec()
    host.add_foreign_guest(spec, running=False)
    assert host.driver.volume_users(host.pool, spec.disks[0].volume) == [spec.name]
    host.driver.take_over(spec)  # so that it is taken away like the others

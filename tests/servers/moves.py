"""A world with two hosts, and where a server lives in it."""

from __future__ import annotations

from typing import Any

import pytest

from hosts.models import CapacityClaim, Host
from hosts.virt.spec import Power
from tests.audit import assert_clean
from tests.world import World, due_now, make_host, work
from vpspanel.actions.models import Action
from vpspanel.servers.models import Server


@pytest.fixture
def other(world: World) -> Host:
    """A second host, as good as the first."""
    host = make_host(world.location)
    world.hosts.append(host)
    return host


def ended(action: Action, rounds: int = 8) -> Action:
    """The action, when a worker has done all that it can."""
    for _ in range(rounds):
        work()
        due_now()
    action.refresh_from_db()
    return action


def lives_on(world: World, server: Server, host: Host, power: Power) -> None:
    """The records name the host, and it alone has anything of the server."""
    server.refresh_from_db()
    assert server.host == host
    assert server.power_seen == power.value
    claim = CapacityClaim.objects.get(owner=server.uuid)
    assert (claim.host, claim.pool.name) == (host, server.pool)
    for one in world.hosts:
        driver = world.driver(one)
        seen = driver.domain(server.uuid)
        volumes = {volume.name for volume in driver.volumes("vpspanel")}
        own = {server.disk_volume(), server.seed_volume}
        if one == host:
            assert seen is not None
            assert (seen.power, seen.ours) == (power, True)
            assert own <= volumes
            assert server.filter_name in driver.filters()
        else:
            assert seen is None
            assert not any(str(server.uuid) in name for name in volumes)
            assert server.filter_name not in driver.filters()
        one.refresh_from_db()
        assert one.vcpus_used == (claim.vcpus if one == host else 0)
    assert_clean()


def update(row: Any, **changes: Any) -> None:
    type(row).objects.filter(pk=row.pk).update(**changes)

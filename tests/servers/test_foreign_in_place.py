"""Somebody has made a guest by hand where a server is to be built."""

from __future__ import annotations

import pytest

from hosts.models import CapacityClaim
from hosts.virt.spec import Power
from tests.world import World, due_now, make_world, work
from vpspanel.servers.models import Server

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_a_guest_with_the_same_uuid_is_left_alone_and_the_order_fails_clean(db: None) -> None:
    """CHECKS 40"""
    world: World = make_world()
    ordered = world.order()
    driver, uuid = world.driver(), ordered.server.uuid
    driver.add_foreign_domain("by-hand", uuid=uuid, running=True)
    while work():
        due_now()
    ordered.action.refresh_from_db()
    assert (ordered.action.state, ordered.action.error_code) == ("error", "foreign_object")
    seen = driver.domain(uuid)
    assert seen is not None
    assert (seen.name, seen.power, seen.ours) == ("by-hand", Power.RUNNING, False)
    assert not [one.name for one in driver.volumes("vpspanel") if str(uuid) in one.name]
    assert driver.filters() == []
    assert not CapacityClaim.objects.exists()
    assert Server.objects.get(pk=ordered.server.pk).lifecycle == "deleted"
